"""Files to and from a service: data that it lacks are sent, bundles fetched and unpacked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lstm_sweep.models.data.source import existing, file_groups
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions.connection import BROKEN, Connection, NoAnswerError, RefusedError

#: bytes that are read at once
READ_BYTES = 1 << 20
#: how often data are sent from their beginning if the connection breaks
SENDS = 5
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


def send_data(connection: Connection, data: str) -> str:
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
    for tries in range(1, SENDS + 1):
        found = connection.send("POST", "corpora", document=announced).document()
        if found["is_there"]:
            break
        try:
            _send(connection, path, files, corpus_id)
            break
        except NoAnswerError as error:
            if tries == SENDS:
                raise
            connection.say(f"{error}; sending {path.name} again")
            connection.sleep(WAIT_S)
    return f"corpus:{corpus_id}"


def _files(path: Path) -> Iterator[_File]:
    for group in file_groups(path).values():
        for file in group:
            inside = file.relative_to(path).as_posix() if path.is_dir() else path.name
            inside.encode()
            yield _File.of(file, inside)


def _send(connection: Connection, path: Path, files: list[_File], corpus_id: str) -> None:
    kind, size, body = OCTETS, files[0].size, files[0].content()
    if path.is_dir():
        headers = [file.header() for file in files]
        size = sum(len(header) for header in headers) + TAR_END
        size += sum(file.size + -file.size % TAR_BLOCK for file in files)
        kind, body = TAR, _tar(files, headers)
    connection.say(f"sending {path.name}, {sum(file.size for file in files):,} bytes")
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


#: header with the digest of a whole file (RFC 9530)
DIGEST = "Repr-Digest"
#: bytes of a file at most
LONGEST_DOWNLOAD = 16 << 30
#: seconds before a download that has broken goes on, and how often it does without a further byte;
#: while a service makes a file it may send nothing for longer than a connection waits
AGAIN_S, TRIES = 2.0, 30


def download(
    connection: Connection,
    to: Path,
    *path: str,
    most: int = LONGEST_DOWNLOAD,
    **query: object,
) -> Mapping[str, str]:
    """Write what a path of the service answers to file `to`; return the headers of the answer.

    The service may take long until it answers. Its answer has a digest, by which it is checked.

    Raises:
        RefusedError: the service refuses.
        NoAnswerError: it does not answer for a while.
        InputError: what has come has another digest, none, or too many bytes.
    """
    found = _Download(connection, path, query, most)
    tries = 0
    with to.open("wb") as file:
        while True:
            before = found.received
            try:
                found.receive(file)
                break
            except NoAnswerError as error:
                tries = 0 if found.received > before else tries + 1
                if tries >= TRIES:
                    raise
                connection.say(f"{error}; asking for the rest")
            connection.sleep(AGAIN_S)
            # whether it is there at all; it may still be making what was asked for
            connection.get("health")
    found.check()
    return found.headers


class _Download:
    """What has come so far."""

    def __init__(
        self, connection: Connection, path: tuple[str, ...], query: Mapping[str, object], most: int
    ) -> None:
        self._connection, self._path, self._query = connection, path, query
        self._most = most
        self.received = 0
        self.headers: dict[str, str] = {}
        self._digest = hashlib.sha256()

    def receive(self, file: IO[bytes]) -> None:
        """Receive the rest.

        Raises:
            NoAnswerError: the connection has broken.
        """
        wanted = {"Accept-Encoding": "identity"}
        if self.received:
            wanted |= {"Range": f"bytes={self.received}-", "If-Range": self.headers["etag"]}
        with self._connection.open(*self._path, headers=wanted, **self._query) as response:
            given = {name.lower(): value for name, value in response.headers.items()}
            if response.status != 206:  # it begins anew
                self.received, self._digest = 0, hashlib.sha256()
                file.seek(0)
                file.truncate()
                self.headers = given
            left = int(given.get("content-length", "-1"))
            while left:
                try:
                    block = response.read(READ_BYTES)
                except BROKEN as error:
                    raise self._connection.no_answer(error) from None
                if not block:
                    raise self._connection.no_answer(OSError("the answer has broken off"))
                left -= len(block)
                self.received += len(block)
                if self.received > self._most:
                    raise InputError(
                        f"{self._connection.address}: it sends more than {self._most:,} bytes, "
                        f"expected at most as many"
                    )
                self._digest.update(block)
                file.write(block)

    def check(self) -> None:
        """Compare the digest with that of the answer.

        Raises:
            InputError: it is another one.
        """
        given = self.headers.get(DIGEST.lower(), "")
        found = re.search(r"sha-256=:([A-Za-z0-9+/=]{44}):", given)
        try:
            expected = base64.b64decode(found[1], validate=True) if found else None
        except binascii.Error:
            expected = None
        if expected != self._digest.digest():
            what = "no digest" if expected is None else f"digest {expected.hex()}"
            raise InputError(
                f"{self._connection.address}: what it has sent has digest "
                f"{self._digest.hexdigest()}, and it says {what}: expected the same"
            )


#: files in a bundle, and bytes of all of them, at most
MOST_FILES, MOST_UNPACKED = 10_000, 32 << 30
#: characters of a path in it
LONGEST = 500
#: what no name in it may have, since systems give it a meaning
FORBIDDEN = ("\\", ":", "\0")
#: whatever `zipfile` raises if a file is none, not whole, or packed in a way that it does not know
#: (a kind of `RuntimeError`)
BAD = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)


def unpack(file: Path, to: Path, *, most_bytes: int = MOST_UNPACKED) -> None:
    """Unpack the one folder in a zip file as the new folder `to`.

    All names are checked before anything is written: none is absolute or has `..` in it, none is
    a link, none is there twice. Files get the permissions of this user's new files.

    Raises:
        InputError: it is no such file, or it cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            found = _checked(packed, most_bytes)
            to.mkdir()
            for entry, parts in found:
                _write(packed, entry, to.joinpath(*parts))
    except InputError:
        raise
    except BAD as error:
        raise InputError(f"the bundle is no whole zip file ({error}), expected one") from None
    except OSError as error:
        raise InputError(
            f"the bundle cannot be unpacked to {to.parent}: {error.strerror or error}, expected a "
            f"folder to write to"
        ) from None


def _checked(
    packed: zipfile.ZipFile, most_bytes: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """The files in a zip file, and where they belong below its one folder."""
    found, seen, total = list[tuple[zipfile.ZipInfo, tuple[str, ...]]](), set[tuple[str, ...]](), 0
    entries = packed.infolist()
    if not 0 < len(entries) <= MOST_FILES:
        raise InputError(f"the bundle has {len(entries):,} files, expected 1 to {MOST_FILES:,}")
    for entry in entries:
        parts = _parts(entry.orig_filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _bad(entry, "a link or a device")
        total += entry.file_size
        if total > most_bytes:
            raise InputError(f"the bundle has more than {most_bytes:,} bytes, expected fewer")
        if entry.is_dir():
            continue
        if len(parts) < 2 or (found and parts[0] != found[0][1][0]):
            raise _bad(entry, "a path that is not below its one folder")
        if parts in seen:
            raise _bad(entry, "a path that is there twice")
        seen.add(parts)
        found.append((entry, parts))
    return [(entry, parts[1:]) for entry, parts in found]


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path in a zip file."""
    parts = tuple(name.removesuffix("/").split("/"))
    bad_part = any(part in ("", ".", "..") or not part.isprintable() for part in parts)
    if bad_part or len(name) > LONGEST or any(sign in name for sign in FORBIDDEN):
        raise InputError(
            f"the bundle has the path {shown(name)}, expected one below its folder without '..'"
        )
    return parts


def _bad(entry: zipfile.ZipInfo, what: str) -> InputError:
    return InputError(f"the bundle has {shown(entry.filename)}, {what}: expected files alone")


def _write(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> None:
    """Write a file of a zip file, which is checked by its sum and has no more than it says."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(entry) as source, to.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
