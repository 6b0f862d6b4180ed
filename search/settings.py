"""`mlflow.yaml` -> frozen `Settings`; nothing else reads that file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from models.errors import InputError, one_of, read_yaml, shown
from search import faults

FILE = "mlflow.yaml"
KEYS = ("tracking_uri", "artifacts", "experiment", "auth")
AUTH = ("basic",)
SCHEMES = ("sqlite", "postgresql", "mysql", "http", "https")


@dataclass(frozen=True)
class Settings:
    """Where runs are kept. Paths are absolute."""

    #: `sqlite:////path`, another database, or the address of a tracking server
    tracking_uri: str
    #: where new experiments keep their files; None leaves it to the tracking server
    artifacts: str | None
    experiment: str
    #: what these settings were taken from, for people
    origin: str
    #: how the server that `ui` starts knows its users: `basic`; None: it asks nobody
    auth: str | None = None

    @property
    def is_server(self) -> bool:
        """Whether runs are written through a tracking server."""
        return self.tracking_uri.startswith(("http://", "https://"))

    @property
    def address(self) -> str:
        """Address of a tracking server as a browser is given it: without a login."""
        return f"{self.tracking_uri.partition('://')[0]}://{_login(self.tracking_uri)[2]}"

    @property
    def database_file(self) -> Path | None:
        """File of an SQLite store."""
        prefix = "sqlite:///"
        if not self.tracking_uri.startswith(prefix):
            return None
        return Path(self.tracking_uri.removeprefix(prefix))

    def __str__(self) -> str:
        where = str(self.database_file or _without_password(self.tracking_uri))
        return f"{where} ({self.origin})"


def load(folder: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the `mlflow.yaml` of `folder` or the nearest folder above it.

    Relative paths in it start at its own folder; without such a file, at `folder`. The variable
    `MLFLOW_TRACKING_URI` goes before the file, as MLflow's users expect, and starts at `folder`.

    Raises:
        InputError: an unknown key, or a value that is no address.
    """
    folder = folder.resolve()
    file = next((at / FILE for at in (folder, *folder.parents) if (at / FILE).is_file()), None)
    values = _read(file) if file else {}
    base = file.parent if file else folder
    origin = f"by {file}" if file else f"no {FILE} here or above"
    uri = values.get("tracking_uri", "sqlite:///mlflow.db")
    if environment.get("MLFLOW_TRACKING_URI"):
        uri, origin = environment["MLFLOW_TRACKING_URI"], "by MLFLOW_TRACKING_URI"
        base = folder
        values.pop("artifacts", None)  # they belong to the store that the file names
    _hide_secrets(uri)
    uri = _checked_uri(uri, base, origin)
    default = None if uri.startswith("http") else "mlartifacts"
    artifacts = values.get("artifacts", default)
    if artifacts and "://" not in artifacts:
        artifacts = (base / artifacts).resolve().as_uri()
    experiment = values.get("experiment", "lstm-sweep")
    return Settings(uri, artifacts, experiment, origin, values.get("auth"))


def _read(file: Path) -> dict[str, str]:
    given = read_yaml(file)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"{file}: found a {type(given).__name__}, expected a mapping of settings")
    for key, value in given.items():
        if key not in KEYS:
            raise InputError(f"{file}: '{key}' is no setting: {one_of(str(key), list(KEYS))}")
        if key == "auth" and value not in AUTH:
            raise InputError(
                f"{file}: auth is {shown(value)}, expected {' or '.join(AUTH)}, or no such line"
            )
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{file}: {key} is {value!r}, expected text")
    return given


def _checked_uri(uri: str, base: Path, origin: str) -> str:
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in SCHEMES:
        raise InputError(
            f"tracking_uri is '{_without_password(uri)}' ({origin}): expected an address that "
            f"begins with "
            f"{', '.join(f'{known}://' for known in SCHEMES)}"
        )
    if scheme != "sqlite":
        return uri
    path = uri.partition(":///")[2]
    if not path or uri.startswith("sqlite:////"):
        path = uri.removeprefix("sqlite:///")
    if not path or not uri.startswith("sqlite:///"):
        raise InputError(
            f"tracking_uri is '{_without_password(uri)}' ({origin}): expected sqlite:///FILE"
        )
    return f"sqlite:///{(base / path).resolve()}"


def _login(uri: str) -> tuple[str, str, str]:
    """Name and password of an address, and what follows them.

    A password may hold anything, if nobody has quoted it; so it ends at the last `@`.
    """
    login, _, rest = (uri.partition("://")[2] or uri).rpartition("@")
    name, _, password = login.partition(":")
    return name, password, rest


def _hide_secrets(uri: str) -> None:
    name, password, _ = _login(uri)
    if password != name:  # as in `mlflow:mlflow@`, where it is none
        faults.hide(password)
    if uri.startswith("http") and not password:
        faults.hide(name)  # a token
    for key, value in parse_qsl(uri.partition("?")[2]):
        if any(word in key.lower() for word in ("pass", "token", "secret", "key")):
            faults.hide(value)


def _without_password(uri: str) -> str:
    """The address without what may be secret: a password, and options after a question mark."""
    name, password, rest = _login(uri)
    scheme, colon, _ = uri.partition("://")
    if not colon:
        return f"***@{rest}" if name else uri
    if password:
        name = f"{name}:***"
    elif name and scheme.startswith("http"):
        name = "***"
    return f"{scheme}://{name}{'@' if name else ''}{rest.partition('?')[0]}"
