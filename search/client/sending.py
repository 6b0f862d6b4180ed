"""Sends data to a service: first what they are called, and then all of them, if it lacks them."""

from __future__ import annotations

import hashlib
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.models.data.source import existing, file_groups
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.client.connection import Connection, NoAnswerError, RefusedError

#: bytes that are read at once
READ_BYTES = 1 << 20
#: how often data are sent from their beginning if the connection breaks
TRIES = 5
#: seconds before they are sent again
WAIT_S = 2.0
#: media types of a file and of a folder that is sent
OCTETS, TAR = "application/octet-stream", "application/x-tar"
#: bytes of a block of a tar file, and of its end
TAR_BLOCK, TAR_END = 512, 1024


def corpus_id_of(name: str, digests: Mapping[str, str], *, is_folder: bool) -> str:
    """The ID of a corpus: 32 hexadecimal digits of the SHA-256 of what `sha256sum` says of it.

    `digests` are the SHA-256 of its files by their paths, of a corpus of one file by its name.
    """
    lines = [f"{name}{'/' if is_folder else ''}\n"]
    lines += [f"{digests[path]}  {path}\n" for path in sorted(digests)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


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

    def content(self) -> Iterator[bytes]:
        """As many bytes as it had."""
        left = self.size
        with self.path.open("rb") as file:
            while left:
                block = file.read(min(READ_BYTES, left))
                if not block:
                    raise _changed(self.path)
                left -= len(block)
                yield block

    def header(self) -> bytes:
        """What stands before it in a tar file."""
        entry = tarfile.TarInfo(self.name)
        entry.size = self.size
        return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def send_data(
    connection: Connection,
    data: str,
    say: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Send a file or folder; what the service calls it, `corpus:ID`.

    The service is asked first whether it has them, and would take them. If the connection breaks
    all is sent again.

    Raises:
        InputError: there are no such data, or they change while they are sent.
        RefusedError: the service refuses them.
        NoAnswerError: it does not answer for long.
    """
    path = existing(data).resolve()
    try:
        files = list(_files(path))
        path.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path!r}: its name is no text, expected one in UTF-8") from None
    digests = {file.name: file.sha256 for file in files}
    corpus_id = corpus_id_of(path.name, digests, is_folder=path.is_dir())
    size = sum(file.size for file in files)
    announced = {"id": corpus_id, "name": path.name, "bytes": size}
    for tries in range(1, TRIES + 1):
        found = connection.send("POST", "corpora", document=announced).document()
        if found["is_there"]:
            break
        try:
            _send(connection, path, files, corpus_id, say)
            break
        except NoAnswerError as error:
            if tries == TRIES:
                raise
            say(f"{error}; sending {path.name} again")
            sleep(WAIT_S)
    return f"corpus:{corpus_id}"


def _files(path: Path) -> Iterator[_File]:
    for group in file_groups(path).values():
        for file in group:
            inside = file.relative_to(path).as_posix() if path.is_dir() else path.name
            inside.encode()
            yield _File.of(file, inside)


def _send(
    connection: Connection,
    path: Path,
    files: list[_File],
    corpus_id: str,
    say: Callable[[str], None],
) -> None:
    kind, size, body = OCTETS, files[0].size, files[0].content()
    if path.is_dir():
        headers = [file.header() for file in files]
        size = sum(len(header) for header in headers) + TAR_END
        size += sum(file.size + -file.size % TAR_BLOCK for file in files)
        kind, body = TAR, _tar(files, headers)
    say(f"sending {path.name}, {sum(file.size for file in files):,} bytes")
    try:
        connection.put(
            "corpora", corpus_id, body=body, size=size, kind=kind, query={"name": path.name}
        )
    except RefusedError as error:
        if error.status == 409:
            raise _changed(path) from None
        raise
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, expected a readable file") from None


def _tar(files: list[_File], headers: list[bytes]) -> Iterator[bytes]:
    for file, header in zip(files, headers, strict=True):
        yield header
        yield from file.content()
        yield bytes(-file.size % TAR_BLOCK)
    yield bytes(TAR_END)


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: it has changed while it was sent, expected a file that stays")
