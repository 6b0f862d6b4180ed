"""Addresses of stores: their parts, and which package connects to them."""

from __future__ import annotations

import importlib.util
from urllib.parse import parse_qsl

from lstm_sweep.search.process.secrets import SECRET_OPTION, login

#: drivers for addresses of databases that name none
DRIVERS = {"postgresql": "psycopg2", "mysql": "mysqldb"}
#: modules of drivers whose name differs from that of the driver
MODULES = {"mysqldb": "MySQLdb", "mysqlconnector": "mysql", "mariadbconnector": "mariadb"}
#: packages that an extra of this program installs
EXTRA = {
    "psycopg2": "lstm-sweep[server]",
    "boto3": "lstm-sweep[server]",
    "onnx": "lstm-sweep[onnx]",
    "onnxruntime": "lstm-sweep[onnx]",
}
#: environment variables for the password of an address
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
    """The address with the password or token masked, and without options."""
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
    """Whether an address contains a password, a token or a secret option."""
    if scheme(uri) in ("sqlite", "file"):  # a path, which may contain any character
        return False
    name, password, _ = login(uri)
    options = parse_qsl(uri.partition("?")[2])
    return (
        bool(password)
        or (bool(name) and uri.startswith("http"))
        or any(SECRET_OPTION.search(key.lower()) for key, _ in options)
    )


def variable_of(uri: str, otherwise: str) -> str:
    """The environment variables for the password of an address; `otherwise` if none is known."""
    return VARIABLES.get(scheme(uri), otherwise)


def with_driver(uri: str) -> str:
    """The address with a driver, since SQLAlchemy's default driver depends on its version."""
    kind, colon, rest = uri.partition("://")
    driver = DRIVERS.get(kind)
    return f"{kind}+{driver}://{rest}" if colon and driver else uri


def with_timeout(uri: str, seconds: int) -> str:
    """The address with a time limit for connecting to PostgreSQL, unless it has one."""
    if not uri.startswith("postgresql+psycopg") or "connect_timeout=" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}connect_timeout={seconds}"


def lacking(uri: str) -> str:
    """Which driver of a database is missing, and how to install it; else ""."""
    kind = scheme(uri)
    driver = uri.partition("://")[0].partition("+")[2] or DRIVERS.get(kind, "")
    if kind not in DRIVERS or not driver:
        return ""
    return missing(MODULES.get(driver, driver))


def missing(module: str) -> str:
    """That a module is missing, and how to install it; "" if it is installed."""
    if module.isidentifier() and importlib.util.find_spec(module) is not None:
        return ""
    if module in EXTRA:
        return f"it needs {module}, expected: pip install {EXTRA[module]}"
    return f"it needs the module {module}, expected that to be installed"
