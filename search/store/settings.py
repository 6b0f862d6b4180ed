"""`mlflow.yaml` -> frozen `Settings`, if it is the user's; nothing else reads that file.

A password is sent to no server that only a file names which may be somebody else's.
"""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import platformdirs

from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.models.yaml_file import read_yaml
from lstm_sweep.search.process import secrets
from lstm_sweep.search.process.secrets import SECRET_OPTION, login
from lstm_sweep.search.process.workdir import PROGRAM

FILE = "mlflow.yaml"
KEYS = (
    "tracking_uri", "artifacts", "experiment", "allowed_hosts", "request_timeout_s",
    "server_processes",
)  # fmt: skip
SCHEMES = ("sqlite", "postgresql", "mysql", "http", "https")
#: seconds until a request to a server fails: the default and the maximum
REQUEST_TIMEOUT_S, LONGEST_TIMEOUT_S = 30, 3600
#: processes of a server at most; each takes about 260 MB
MOST_PROCESSES = 64
#: host names, with the length limit of the DNS
HOST = re.compile(r"(?!.{254})[0-9A-Za-z_]([0-9A-Za-z_-]*[0-9A-Za-z])?(\.[0-9A-Za-z_-]+)*")
#: control characters and unpaired surrogates, which no address or name may contain
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
#: advice for a setting whose kind of address has no known variable for its password
OTHERWISE = {
    "tracking_uri": "the whole address in MLFLOW_TRACKING_URI",
    "artifacts": "what it takes to log in there",
}
#: error numbers of paths that are invalid whether or not a file exists
NO_PATH = {errno.ELOOP: "its links lead in a circle", errno.ENAMETOOLONG: "it is too long"}


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
    request_timeout_s: int = REQUEST_TIMEOUT_S
    #: processes of the server that `ui` starts, which answer requests side by side
    server_processes: int = 1

    @property
    def is_server(self) -> bool:
        """Whether runs are stored by a tracking server."""
        return self.tracking_uri.startswith(("http://", "https://"))

    @property
    def mlflow_uri(self) -> str:
        """Address of the store for MLflow, with a driver."""
        return with_driver(self.tracking_uri)

    @property
    def address(self) -> str:
        """Address of a tracking server for browsers: without a login."""
        return f"{self.tracking_uri.partition('://')[0]}://{secrets.login(self.tracking_uri)[2]}"

    @property
    def database_file(self) -> Path | None:
        """File of an SQLite store; None for another store."""
        prefix = "sqlite:///"
        if not self.tracking_uri.startswith(prefix):
            return None
        return Path(self.tracking_uri.removeprefix(prefix))

    @property
    def above(self) -> Path | None:
        """The nearest folder above that has a store, if there is none in the usual place here."""
        file = self.database_file
        if file is None or file.exists():
            return None
        return next((at for at in file.parent.parents if (at / file.name).is_file()), None)

    def __str__(self) -> str:
        where = str(self.database_file or without_password(self.tracking_uri))
        return f"{where} ({self.origin})"


def load(folder: Path, environment: Mapping[str, str] = os.environ, *, given: str = "") -> Settings:
    """Read the `mlflow.yaml` of `folder` or the nearest folder above it.

    Its relative paths are relative to its own folder. The variable `MLFLOW_TRACKING_URI` takes
    precedence over the file, as with MLflow, and is relative to `folder`. `LSTM_SWEEP_SETTINGS`
    names another file, whose owner is not checked. A `given` address takes precedence over all.

    Raises:
        InputError: the file cannot be read or may be another user's, a key or value is invalid, or
            a password would be sent to a server that the user has not approved.
    """
    folder = folder.resolve()
    named = environment.get(NAMED)
    file = folder / named if named else _nearest(folder)
    values = _read(file, is_named=bool(named)) if file else {}
    base = file.parent if file else folder
    origin = f"by {file}" if file else f"no {FILE} here or above"
    uri = values.get("tracking_uri", "sqlite:///mlflow.db")
    if given:  # by the command line, which every user of the machine can read
        _refuse_password(given, "--store", OTHERWISE["tracking_uri"])
    if stated := given or environment.get("MLFLOW_TRACKING_URI"):
        uri, origin = stated, "as given" if given else "by MLFLOW_TRACKING_URI"
        base = folder
        values.pop("artifacts", None)  # they are for the store that the file names
    elif file and not named:
        for key in ("tracking_uri", "artifacts"):
            check_server(key, values.get(key, ""), file, environment)
    secrets.hide_address(uri)
    uri = _checked_uri(uri, base, origin)
    default = None if uri.startswith("http") else "mlartifacts"
    artifacts = values.get("artifacts", default)
    if artifacts and "://" not in artifacts:
        artifacts = _absolute("artifacts", base / artifacts).as_uri()
    experiment = values.get("experiment", "lstm-sweep")
    return Settings(
        uri,
        artifacts,
        experiment,
        origin,
        values.get("allowed_hosts", ()),
        values.get("request_timeout_s", REQUEST_TIMEOUT_S),
        values.get("server_processes", 1),
    )


def _nearest(folder: Path) -> Path | None:
    here = (at / FILE for at in (folder, *folder.parents))
    return next((path for path in here if os.path.lexists(path)), None)


def _read(file: Path, *, is_named: bool) -> dict[str, Any]:
    expected = "expected a YAML file, or nothing of this name"
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{file}: it is no file, {expected}")
        if not is_named:
            check_owner(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}, {expected}") from None
    given = read_yaml(file)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"{file}: found a {type(given).__name__}, expected a mapping of settings")
    return {key: _checked(key, value, file) for key, value in given.items()}


def _checked(key: object, value: Any, file: Path) -> Any:
    """The checked value of a setting."""
    if key not in KEYS:
        raise InputError(f"{file}: '{key}' is no setting: {one_of(str(key), list(KEYS))}")
    if key == "allowed_hosts":
        return _hosts(value, file)
    if key == "request_timeout_s":
        return _whole(key, value, file, LONGEST_TIMEOUT_S, "whole seconds")
    if key == "server_processes":
        return _whole(key, value, file, MOST_PROCESSES, "a whole number")
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{file}: {key} is {shown(value)}, expected text")
    is_address = key == "tracking_uri" or (key == "artifacts" and "://" in value)
    if is_address:
        _refuse_password(value, f"{file}: {key}", OTHERWISE[key])
    if UNWRITABLE.search(value):
        raise InputError(f"{file}: {key} is {shown(value)}, expected text in one line")
    return value


def _refuse_password(uri: str, what: str, otherwise: str) -> None:
    """Refuse an address with a password where others may read it."""
    if not holds_password(uri):
        return
    secrets.hide_address(uri)
    raise InputError(
        f"{what} holds a password, expected the address without it, and "
        f"{variable_of(uri, otherwise)} in the environment"
    )


def _hosts(value: object, file: Path) -> tuple[str, ...]:
    expected = "expected names or addresses of the server, without port, such as runs.example.org"
    if not isinstance(value, list):
        raise InputError(f"{file}: allowed_hosts is {shown(value)}, expected a list: {expected}")
    for host in value:
        if not isinstance(host, str) or not (_is_ip(host) or _is_name(host)):
            raise InputError(f"{file}: allowed_hosts has {shown(host)}, {expected}")
    return tuple(dict.fromkeys(host.lower() for host in value))


def _is_ip(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host)) and "%" not in host
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    return bool(HOST.fullmatch(host)) and not re.fullmatch(r"[0-9.]+", host)


def _whole(key: str, value: object, file: Path, most: int, kind: str) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(f"{file}: {key} is {shown(value)}, expected {kind} from 1 to {most:,}")
    return value


def _checked_uri(uri: str, base: Path, origin: str) -> str:
    kind = scheme(uri)
    if "://" not in uri or kind not in SCHEMES:
        raise InputError(
            f"tracking_uri is '{without_password(uri)}' ({origin}): expected an address "
            f"that begins with "
            f"{', '.join(f'{known}://' for known in SCHEMES)}"
        )
    if kind != "sqlite":
        return uri
    path = uri.partition(":///")[2]
    if not path or uri.startswith("sqlite:////"):
        path = uri.removeprefix("sqlite:///")
    if not path or not uri.startswith("sqlite:///"):
        raise InputError(
            f"tracking_uri is '{without_password(uri)}' ({origin}): expected sqlite:///FILE"
        )
    return f"sqlite:///{_absolute('tracking_uri', base / path)}"


def _absolute(key: str, path: Path) -> Path:
    """An absolute path, which need not exist."""
    try:
        path.stat()
    except OSError as error:
        if why := NO_PATH.get(error.errno or 0):
            raise InputError(f"{key} is {shown(str(path))}: {why}, expected another") from None
    return path.resolve()


#: environment variable with the path of the settings file, which is then used unchecked
NAMED = "LSTM_SWEEP_SETTINGS"
#: environment variables whose values clients send to a server, by the scheme of its address
OF_SERVERS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
SENT = {
    "http": OF_SERVERS,
    "https": OF_SERVERS,
    "mlflow-artifacts": OF_SERVERS,
    "postgresql": ("PGPASSWORD",),
    "mysql": ("MYSQL_PWD",),
}
#: file from which MLflow reads a password for any server if no variable is set
CREDENTIALS = Path("~/.mlflow/credentials")
#: bytes of the list of servers that are read
LIST_BYTES = 1 << 20


def check_owner(file: Path) -> None:
    """Refuse a settings file that another user may have placed there.

    The file, a link to it and its folder must belong to this user or to root, and the file must
    not be writable by everybody.

    Raises:
        InputError: another user owns one of them, or the file is writable by everybody.
        OSError: there is no such file.
    """
    found = [(file, file.lstat()), (file, file.stat()), (file.parent, file.parent.stat())]
    expected = (
        f"expected one of your own: copy it to your working folder, or set {NAMED} to its path, "
        f"if you trust it"
    )
    for path, status in found:
        if status.st_uid not in (os.geteuid(), 0):
            kind = "folder" if path == file.parent else "file"
            raise InputError(
                f"{file}: the {kind} belongs to another user, number {status.st_uid}, {expected}"
            )
    if found[1][1].st_mode & stat.S_IWOTH:
        raise InputError(f"{file}: every user may write to it, {expected}")


def check_server(key: str, uri: str, file: Path, environment: Mapping[str, str]) -> None:
    """Refuse to send a password to a server that only the settings file names.

    The file may come from somebody else, for example in a cloned repository.

    Raises:
        InputError: a password is set for servers of this kind, and the user's own list of servers
            does not contain this one.
    """
    secret = _secret_for(uri, environment)
    if not secret or _plain(uri) in _servers():
        return
    where = _list()
    raise InputError(
        f"{file}: {key} is {without_password(uri)}, which would be sent your password "
        f"({secret}), and which only this file names; if you trust it, add the address to "
        f"{where or 'the list of your servers'}, or set MLFLOW_TRACKING_URI to it, or {NAMED} to "
        f"this file"
    )


def _secret_for(uri: str, environment: Mapping[str, str]) -> str:
    """Name of the secret that would be sent to this address; "" if there is none."""
    sent = SENT.get(scheme(uri).lower(), ())
    if given := next((name for name in sent if environment.get(name)), ""):
        return given
    try:
        kept = CREDENTIALS.expanduser()
        return str(kept) if sent is OF_SERVERS and kept.exists() else ""
    except (OSError, RuntimeError):  # this user has no home
        return ""


def _list() -> Path | None:
    """File in which the user names servers, one address in each line; None without a home."""
    try:
        return platformdirs.user_config_path(PROGRAM, appauthor=False) / "servers"
    except RuntimeError:
        return None


def _servers() -> set[str]:
    file = _list()
    try:
        if file is None or not file.is_file():
            return set()
        with file.open(encoding="utf-8") as stream:
            return {_plain(line) for line in stream.read(LIST_BYTES).splitlines()}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{file}: {why}, expected the address of a server in each line") from None


def _plain(uri: str) -> str:
    return uri.strip().rstrip("/")


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
