"""Addresses of stores: their parts, and which package connects to them."""

from __future__ import annotations

import importlib.util
from urllib.parse import parse_qsl

from lstm_sweep.search.process.secrets import SECRET_OPTION, login

#: drivers by which SQLAlchemy speaks to a database whose address names none
DRIVERS = {"postgresql": "psycopg2", "mysql": "mysqldb"}
#: modules of drivers that are called otherwise
MODULES = {"mysqldb": "MySQLdb", "mysqlconnector": "mysql", "mariadbconnector": "mariadb"}
#: packages that come with an extra of this program
EXTRA = {"psycopg2": "lstm-sweep[server]", "boto3": "lstm-sweep[server]"}
#: variables that hold the password of an address in its place
VARIABLES = {
    "postgresql": "PGPASSWORD",
    "http": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "https": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}


def scheme(uri: str) -> str:
    """Kind of a store: `postgresql` of `postgresql+psycopg2://host/runs`."""
    return uri.partition("://")[0].partition("+")[0]


def without_password(uri: str) -> str:
    """The address without what may be secret: a password, and options after a question mark."""
    name, password, rest = login(uri)
    kind, colon, _ = uri.partition("://")
    if not colon:
        return f"***@{rest}" if name else uri
    if password:
        name = f"{name}:***"
    elif name and kind.startswith("http"):
        name = "***"
    return f"{kind}://{name}{'@' if name else ''}{rest.partition('?')[0]}"


def holds_password(uri: str) -> bool:
    """Whether a password stands in an address; of a server, a token too."""
    if scheme(uri) in ("sqlite", "file"):  # a path, which may have any sign
        return False
    name, password, _ = login(uri)
    options = parse_qsl(uri.partition("?")[2])
    return (
        bool(password)
        or (bool(name) and uri.startswith("http"))
        or any(SECRET_OPTION.search(key.lower()) for key, _ in options)
    )


def variable_of(uri: str, otherwise: str) -> str:
    """Which variables hold the password of an address."""
    return VARIABLES.get(scheme(uri), otherwise)


def with_driver(uri: str) -> str:
    """The address with the driver of a database, where SQLAlchemy would choose by its version."""
    kind, colon, rest = uri.partition("://")
    driver = DRIVERS.get(kind)
    return f"{kind}+{driver}://{rest}" if colon and driver else uri


def with_timeout(uri: str, seconds: int) -> str:
    """The address with the seconds that a connection to PostgreSQL may take, unless it has them."""
    if not uri.startswith("postgresql+psycopg") or "connect_timeout=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}connect_timeout={seconds}"


def lacking(uri: str) -> str:
    """Which package is missing for a database, and how to get it; else nothing."""
    kind = scheme(uri)
    driver = uri.partition("://")[0].partition("+")[2] or DRIVERS.get(kind, "")
    if kind not in DRIVERS or not driver:
        return ""
    return missing(MODULES.get(driver, driver))


def missing(module: str) -> str:
    """That a module is missing, and how to get it; nothing if it is there."""
    if module.isidentifier() and importlib.util.find_spec(module) is not None:
        return ""
    if module in EXTRA:
        return f"it needs {module}, expected: pip install {EXTRA[module]}"
    return f"it needs the module {module}, expected that to be installed"
