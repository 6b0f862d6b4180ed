"""Which settings files are obeyed, and which servers get a password: those that the user named."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.workdir import PROGRAM
from lstm_sweep.search.store import address

#: names the settings file itself, whoever it belongs to and whatever servers it names
NAMED = "LSTM_SWEEP_SETTINGS"
#: what is sent to a server of a kind if it is set, by whoever speaks to it
OF_SERVERS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
SENT = {
    "http": OF_SERVERS,
    "https": OF_SERVERS,
    "mlflow-artifacts": OF_SERVERS,
    "postgresql": ("PGPASSWORD",),
    "mysql": ("MYSQL_PWD",),
}
#: where MLflow finds a password for any server if no variable has one
CREDENTIALS = Path("~/.mlflow/credentials")
#: bytes of the list of servers that are read, at most
LIST_BYTES = 1 << 20


def check_owner(file: Path) -> None:
    """Refuse settings that somebody else may have put there: files here are obeyed unasked.

    The file, a link to it and its folder must be this user's or the system's, and nobody else may
    write to the file.

    Raises:
        InputError: they are not.
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
    """Refuse to send a password to a server that a file names, and its user has not named himself.

    A file may have come with a folder of somebody else, such as a clone of a repository.

    Raises:
        InputError: there is a password for this kind of server, which is not in the user's list.
    """
    secret = _secret_for(uri, environment)
    if not secret or _plain(uri) in _servers():
        return
    where = _list()
    raise InputError(
        f"{file}: {key} is {address.without_password(uri)}, which would be sent your password "
        f"({secret}): expected that you name this address yourself, as a line in "
        f"{where or 'the list of your servers'}, or in MLFLOW_TRACKING_URI, or this file in {NAMED}"
    )


def _secret_for(uri: str, environment: Mapping[str, str]) -> str:
    """What a server at this address would be sent; nothing if there is no secret for it."""
    sent = SENT.get(address.scheme(uri).lower(), ())
    if given := next((name for name in sent if environment.get(name)), ""):
        return given
    try:
        kept = CREDENTIALS.expanduser()
        return str(kept) if sent is OF_SERVERS and kept.exists() else ""
    except (OSError, RuntimeError):  # without a home there is nothing in it
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
