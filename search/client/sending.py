"""Sends files to a service, by their digest: what it has is not sent again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.source import existing, file_groups
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import Connection, NoAnswerError, RefusedError

#: bytes that are read at once to compute a digest
READ_BYTES = 1 << 20
#: how often a file is gone on with after its connection has broken without a further byte
TRIES = 5
#: seconds before a file is gone on with
WAIT_S = 2.0


@dataclass(frozen=True)
class _File:
    path: Path
    #: its path below the corpus, with `/`
    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str) -> _File:
        digest, size = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while block := file.read(READ_BYTES):
                    digest.update(block)
                    size += len(block)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}, expected a readable file") from None
        return cls(path, name, size, digest.hexdigest())


def send_data(
    connection: Connection,
    data: str,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Send a file or folder; what the service calls it, `corpus:ID`.

    A connection that breaks is made again, and the rest is sent; so are files that the service has
    deleted meanwhile.

    Raises:
        InputError: there are no such data, or they change while they are sent.
        RefusedError: the service refuses them.
        NoAnswerError: it does not answer for long.
    """
    path = existing(data).resolve()
    files = list(_files(path))
    body = {
        "name": path.name,
        "files": [{"path": file.name, "sha256": file.sha256} for file in files],
        "is_folder": path.is_dir(),
    }
    lacks, tries = {file.sha256 for file in files}, 0
    while True:
        for file in files:
            if file.sha256 in lacks:
                _send(connection, file, say, sleep)
        try:
            made = connection.send("POST", "corpora", document=body)
        except RefusedError as error:
            lacks, tries = set(error.more.get("missing", ())), tries + 1
            if not lacks or tries > TRIES:
                raise
        else:
            return str(made.document()["data"])


def _files(path: Path) -> Iterator[_File]:
    for group in file_groups(path).values():
        for file in group:
            inside = file.relative_to(path).as_posix() if path.is_dir() else path.name
            yield _File.of(file, inside)


def _send(
    connection: Connection,
    file: _File,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Send what the service lacks of a file."""
    tries, before = 0, -1
    while True:
        state = connection.get("uploads", file.sha256).document()
        if state["complete"]:
            return
        tries = 0 if state["offset"] > before else tries + 1
        before = state["offset"]
        try:
            _send_from(connection, file, before, say)
        except (NoAnswerError, RefusedError) as error:
            is_elsewhere = isinstance(error, RefusedError) and error.status in (408, 409)
            if tries >= TRIES or not (is_elsewhere or isinstance(error, NoAnswerError)):
                raise
            say(f"{error}; sending the rest of {file.path.name}")
            sleep(WAIT_S)


def _send_from(
    connection: Connection, file: _File, offset: int, say: Callable[[str], None]
) -> dict[str, Any]:
    left = file.size - offset
    say(f"sending {file.path.name}, {left:,} bytes")
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(file.size)}
    with file.path.open("rb") as opened:
        opened.seek(offset)
        try:
            sent: dict[str, Any] = connection.put_bytes(
                "uploads", file.sha256, body=opened, size=left, headers=headers
            )
        except RefusedError as error:
            if error.status == 422:
                raise InputError(
                    f"{file.path}: it has changed while it was sent, expected a file that stays"
                ) from None
            raise
    return sent
