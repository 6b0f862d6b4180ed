"""Which settings files are used and which servers are sent a password: those of the user."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.workdir import PROGRAM
from lstm_sweep.search.store import address

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
        f"{file}: {key} is {address.without_password(uri)}, which would be sent your password "
        f"({secret}), and which only this file names; if you trust it, add the address to "
        f"{where or 'the list of your servers'}, or set MLFLOW_TRACKING_URI to it, or {NAMED} to "
        f"this file"
    )


def _secret_for(uri: str, environment: Mapping[str, str]) -> str:
    """Name of the secret that would be sent to this address; "" if there is none."""
    sent = SENT.get(address.scheme(uri).lower(), ())
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
