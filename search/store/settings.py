"""`mlflow.yaml` -> frozen `Settings`, if it is the user's; nothing else reads that file.

A password is sent to no server that only a file names which may be somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import platformdirs

from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import InputError, one_of, refusing, shown
from lstm_sweep.search.process import secrets
from lstm_sweep.search.process.files import PROGRAM

FILE = "mlflow.yaml"
SCHEMES = ("sqlite", "postgresql", "mysql", "http", "https")
#: settings that are whole numbers: what they are, and the largest; a server process takes 260 MB
WHOLE = {"request_timeout_s": ("whole seconds", 3600), "server_processes": ("a whole number", 64)}
#: host names, with the length limit of the DNS
HOST = re.compile(r"(?!.{254})[0-9A-Za-z_]([0-9A-Za-z_-]*[0-9A-Za-z])?(\.[0-9A-Za-z_-]+)*")
#: control characters and unpaired surrogates, which no address or name may contain
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
#: environment variable with the path of the settings file, whose owner is then not checked
NAMED = "LSTM_SWEEP_SETTINGS"


@dataclass(frozen=True)
class Settings:
    """Where runs are stored; paths are absolute."""

    #: `sqlite:////path`, another database, or the address of a tracking server
    tracking_uri: str
    #: place of the files of new experiments; None: the tracking server chooses
    artifacts: str | None
    experiment: str
    #: source of these settings, for messages
    origin: str
    #: further host names under which the server that `ui` starts may be requested
    allowed_hosts: tuple[str, ...] = ()
    #: seconds until a request to a tracking server, or a connection to a database, fails
    request_timeout_s: int = 30
    #: processes of the server that `ui` starts, which answer requests side by side
    server_processes: int = 1

    @property
    def is_server(self) -> bool:
        return self.tracking_uri.startswith(("http://", "https://"))

    @property
    def mlflow_uri(self) -> str:
        """Address of the store for MLflow: with a driver, and a time limit for PostgreSQL."""
        kind, colon, rest = self.tracking_uri.partition("://")
        if driver := DRIVERS.get(kind):  # SQLAlchemy's default depends on its version
            kind = f"{kind}+{driver}"
        uri = f"{kind}{colon}{rest}"
        has_limit = "connect_timeout=" in uri or "PGCONNECT_TIMEOUT" in os.environ
        if not has_limit and kind.startswith("postgresql+psycopg"):
            uri += f"{'&' if '?' in uri else '?'}connect_timeout={self.request_timeout_s}"
        return uri

    @property
    def lacks(self) -> str:
        """Which driver of a database is missing, and how to install it; else ""."""
        kind = scheme(self.tracking_uri)
        if kind not in DRIVERS:
            return ""
        driver = self.tracking_uri.partition("://")[0].partition("+")[2] or DRIVERS[kind]
        return missing(MODULES.get(driver, driver))

    @property
    def address(self) -> str:
        """Address of a tracking server for browsers: without a login."""
        return f"{self.tracking_uri.partition('://')[0]}://{secrets.login(self.tracking_uri)[2]}"

    @property
    def database_file(self) -> Path | None:
        prefix = "sqlite:///"
        is_file = self.tracking_uri.startswith(prefix)
        return Path(self.tracking_uri.removeprefix(prefix)) if is_file else None

    @property
    def above(self) -> Path | None:
        """The nearest folder above that has a store, if there is none in the usual place here."""
        file = self.database_file
        if file is None or file.exists():
            return None
        return next((at for at in file.parent.parents if (at / file.name).is_file()), None)

    def __str__(self) -> str:
        return f"{self.database_file or without_password(self.tracking_uri)} ({self.origin})"


KEYS = tuple(field.name for field in fields(Settings) if field.name != "origin")


def load(folder: Path, environment: Mapping[str, str] = os.environ, *, given: str = "") -> Settings:
    """Read the `mlflow.yaml` of `folder` or the nearest folder above it.

    Its relative paths are relative to its own folder. `MLFLOW_TRACKING_URI` takes precedence over
    the file and is relative to `folder`, a `given` address over both.
    """
    folder = folder.resolve()
    named = environment.get(NAMED)
    above = (at / FILE for at in (folder, *folder.parents))
    file = folder / named if named else next(filter(os.path.lexists, above), None)
    values = _read(file, is_named=bool(named)) if file else {}
    base, origin = (file.parent, f"by {file}") if file else (folder, f"no {FILE} here or above")
    if given:  # by the command line, which every user of the machine can read
        _refuse_password(given, "--store")
    if stated := given or environment.get("MLFLOW_TRACKING_URI"):
        base, origin = folder, "as given" if given else "by MLFLOW_TRACKING_URI"
        values.pop("artifacts", None)  # they are for the store that the file names
        values["tracking_uri"] = stated
    elif file and not named:
        for key in ("tracking_uri", "artifacts"):
            _check_server(key, values.get(key, ""), file, environment)
    uri = values.pop("tracking_uri", "sqlite:///mlflow.db")
    secrets.hide_address(uri)
    uri = _checked_uri(uri, base, origin)
    artifacts = values.pop("artifacts", None if uri.startswith("http") else "mlartifacts")
    if artifacts and "://" not in artifacts:
        artifacts = _absolute("artifacts", base / artifacts).as_uri()
    return Settings(uri, artifacts, values.pop("experiment", "lstm-sweep"), origin, **values)


def _read(file: Path, *, is_named: bool) -> dict[str, Any]:
    expected = "expected a YAML file, or nothing of this name"
    with refusing(str(file), expected):
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{file}: it is no file, {expected}")
        if not is_named:
            _check_owner(file)
        values = read_yaml(file)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{file}: found a {type(values).__name__}, expected a mapping of settings")
    return {key: _checked(key, value, file) for key, value in values.items()}


def _checked(key: object, value: Any, file: Path) -> Any:
    if key not in KEYS:
        raise InputError(f"{file}: '{key}' is no setting: {one_of(str(key), list(KEYS))}")
    if key == "allowed_hosts":
        return _hosts(value, file)
    wrong = f"{file}: {key} is {shown(value)}, expected"
    if key in WHOLE:
        kind, most = WHOLE[key]
        if type(value) is not int or not 1 <= value <= most:
            raise InputError(f"{wrong} {kind} from 1 to {most:,}")
        return value
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{wrong} text")
    if key == "tracking_uri" or (key == "artifacts" and "://" in value):
        _refuse_password(value, f"{file}: {key}")
    if UNWRITABLE.search(value):
        raise InputError(f"{wrong} text in one line")
    return value


def _hosts(value: object, file: Path) -> tuple[str, ...]:
    expected = "expected names or addresses of the server, without port, such as runs.example.org"
    if not isinstance(value, list):
        raise InputError(f"{file}: allowed_hosts is {shown(value)}, expected a list: {expected}")
    for host in value:
        if not isinstance(host, str) or not _is_host(host):
            raise InputError(f"{file}: allowed_hosts has {shown(host)}, {expected}")
    return tuple(dict.fromkeys(map(str.lower, value)))


def _is_host(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host)) and "%" not in host
    return bool(HOST.fullmatch(host)) and not re.fullmatch(r"[0-9.]+", host)


def _checked_uri(uri: str, base: Path, origin: str) -> str:
    wrong = f"tracking_uri is '{without_password(uri)}' ({origin}): expected"
    if "://" not in uri or scheme(uri) not in SCHEMES:
        kinds = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(f"{wrong} an address that begins with {kinds}")
    if scheme(uri) != "sqlite":
        return uri
    path = uri.removeprefix("sqlite:///")
    if path in ("", uri):
        raise InputError(f"{wrong} sqlite:///FILE")
    return f"sqlite:///{_absolute('tracking_uri', base / path)}"


def _absolute(key: str, path: Path) -> Path:
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            why = f"{key} is {shown(str(path))}: {error.strerror}, expected another"
            raise InputError(why) from None
    return path.resolve()


# --- addresses ------------------------------------------------------------------------------------

#: drivers for addresses of databases that name none
DRIVERS = {"postgresql": "psycopg2", "mysql": "mysqldb"}
#: modules of drivers whose name differs from that of the driver
MODULES = {"mysqldb": "MySQLdb", "mysqlconnector": "mysql", "mariadbconnector": "mariadb"}
#: extras of this program that install a package
EXTRA = {"psycopg2": "server", "boto3": "server", "onnx": "onnx", "onnxruntime": "onnx"}


def scheme(uri: str) -> str:
    """Kind of a store: `postgresql` of `postgresql+psycopg2://host/runs`."""
    return uri.partition("://")[0].partition("+")[0].lower()


def without_password(uri: str) -> str:
    """The address with the password or token masked, and without options."""
    name, password, rest = secrets.login(uri)
    kind, colon, _ = uri.partition("://")
    if not colon:
        return f"***@{rest}" if name else uri
    if password:
        name = f"{name}:***"
    elif name and kind.startswith("http"):
        name = "***"
    return f"{kind}://{name}{'@' if name else ''}{rest.partition('?')[0]}"


def holds_password(uri: str) -> bool:
    if scheme(uri) in ("sqlite", "file"):  # a path, which may contain any character
        return False
    name, password, _ = secrets.login(uri)
    options = (key.lower() for key, _ in parse_qsl(uri.partition("?")[2]))
    is_token = bool(name) and uri.startswith("http")
    return bool(password) or is_token or any(map(secrets.SECRET_OPTION.search, options))


def missing(module: str) -> str:
    """That a module is missing, and how to install it; "" if it is installed."""
    if module.isidentifier() and importlib.util.find_spec(module) is not None:
        return ""
    if module in EXTRA:
        return f"it needs {module}, expected: pip install lstm-sweep[{EXTRA[module]}]"
    return f"it needs the module {module}, expected that to be installed"


# --- trust ----------------------------------------------------------------------------------------

#: environment variables whose values clients send to a server
OF_SERVERS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
SENT = dict.fromkeys(("http", "https", "mlflow-artifacts"), OF_SERVERS) | {
    "postgresql": ("PGPASSWORD",),
    "mysql": ("MYSQL_PWD",),
}
#: where a password belongs, by the scheme of the address that it is for
PASSWORD_PLACES = {
    "postgresql": "PGPASSWORD",
    "http": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "https": "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    "mysql": "the whole address in MLFLOW_TRACKING_URI",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
#: file from which MLflow reads a password for any server if no variable is set
CREDENTIALS = Path("~/.mlflow/credentials")


def _refuse_password(uri: str, what: str) -> None:
    if not holds_password(uri):
        return
    secrets.hide_address(uri)
    place = PASSWORD_PLACES.get(scheme(uri), "what it takes to log in there")
    raise InputError(
        f"{what} holds a password, expected the address without it, and {place} in the environment"
    )


def _check_owner(file: Path) -> None:
    """Refuse a settings file that another user may have placed there.

    The file, a link to it and its folder must belong to this user or to root, and the file must
    not be writable by everybody.
    """
    expected = (
        f"expected one of your own: copy it to your working folder, or set {NAMED} to its path, "
        f"if you trust it"
    )
    status = file.stat()
    for kind, owned in (("file", file.lstat()), ("file", status), ("folder", file.parent.stat())):
        if owned.st_uid not in (os.geteuid(), 0):
            raise InputError(
                f"{file}: the {kind} belongs to another user, number {owned.st_uid}, {expected}"
            )
    if status.st_mode & stat.S_IWOTH:
        raise InputError(f"{file}: every user may write to it, {expected}")


def _check_server(key: str, uri: str, file: Path, environment: Mapping[str, str]) -> None:
    """Refuse to send a password to a server that the settings file and no list of the user names.

    The file may come from somebody else, for example in a cloned repository.
    """
    sent = SENT.get(scheme(uri), ())
    secret = next((name for name in sent if environment.get(name)), "")
    with contextlib.suppress(RuntimeError):  # this user has no home
        kept = CREDENTIALS.expanduser()
        if sent is OF_SERVERS and kept.exists():
            secret = secret or str(kept)
    approved, lines = platformdirs.user_config_path(PROGRAM, appauthor=False) / "servers", ""
    with contextlib.suppress(OSError):
        lines = approved.read_text(encoding="utf-8", errors="replace")
    known = {line.strip().rstrip("/") for line in lines.splitlines()}
    if secret and uri.strip().rstrip("/") not in known:
        raise InputError(
            f"{file}: {key} is {without_password(uri)}, which would be sent your password "
            f"({secret}), and which only this file names; if you trust it, add the address to "
            f"{approved}, or set MLFLOW_TRACKING_URI to it, or {NAMED} to this file"
        )
