"""Files to and from a service: data that it lacks are sent, bundles fetched and unpacked."""

from __future__ import annotations

import base64
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.models.data.source import all_files, existing
from lstm_sweep.models.errors import InputError, refusing, shown
from lstm_sweep.search.actions.connection import BROKEN, Connection, RefusedError, headers_of

#: bytes that are read at once
READ_BYTES = 1 << 20
#: media types of a file and of a folder that is sent
OCTETS, TAR = "application/octet-stream", "application/x-tar"
#: what begins the name of data that a service was sent, and that it has itself
CORPUS, SERVER = "corpus:", "server:"
#: bytes of a block of a tar file, and of its end
TAR_BLOCK, TAR_END = 512, 1024
#: header with the digest of a whole file (RFC 9530)
DIGEST = "repr-digest"
#: bytes of a file that is fetched, files in a bundle, and bytes of all of them, at most
LONGEST_DOWNLOAD, MOST_FILES, MOST_UNPACKED = 16 << 30, 10_000, 32 << 30
#: whatever `zipfile` raises if a file is none, not whole, or packed in a way that it does not know
#: (a kind of `RuntimeError`)
BAD = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    EOFError,
    ValueError,
    IndexError,
)


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
        name.encode()
        with refusing(str(path), "expected a readable file"), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(path, name, file.tell(), digest)

    def content(self) -> Iterator[bytes]:
        """As many bytes as it had."""
        left = self.size
        try:
            with self.path.open("rb") as file:
                while left:
                    block = file.read(min(READ_BYTES, left))
                    if not block:
                        raise _changed(self.path)
                    left -= len(block)
                    yield block
        except OSError:  # urllib would take it for a connection that breaks
            raise _changed(self.path) from None

    @property
    def header(self) -> bytes:
        """What stands before it in a tar file."""
        entry = tarfile.TarInfo(self.name)
        entry.size = self.size
        return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def send_data(connection: Connection, data: str, field: str = "data") -> str:
    """Send a file or folder; what the service calls it, `corpus:ID`.

    The service is asked first whether it has them, and would take them. If the connection breaks
    all is sent again.
    """
    path = existing(data, field).resolve()
    is_folder = path.is_dir()
    try:
        path.name.encode()
        files = [
            _File.of(file, file.relative_to(path).as_posix() if is_folder else path.name)
            for file in all_files(path, empty=is_folder)  # what is read says whether one may be
        ]
    except UnicodeEncodeError:
        raise InputError(f"{path!r}: its name is no text, expected one in UTF-8") from None
    digests = {file.name: file.sha256 for file in files}
    corpus_id = corpus_id_of(path.name, digests, is_folder=is_folder)
    size = sum(file.size for file in files)
    announced = {"id": corpus_id, "name": path.name, "bytes": size}
    if is_folder:
        size = sum(len(file.header) + file.size + -file.size % TAR_BLOCK for file in files)
        size += TAR_END
    headers = {"Content-Length": str(size), "Content-Type": TAR if is_folder else OCTETS}

    def send() -> None:
        if connection.send("POST", "corpora", document=announced).document().get("is_there"):
            return
        connection.say(f"sending {path.name}, {announced['bytes']:,} bytes")
        body, query = _tar(files) if is_folder else files[0].content(), {"name": path.name}
        try:
            connection.open(
                "PUT", "corpora", corpus_id, query=query, headers=headers, body=body
            ).close()
        except RefusedError as error:
            if error.status == 409:
                raise _changed(path) from None
            raise

    connection.again(send, f"sending {path.name} again")
    return f"{CORPUS}{corpus_id}"


def _tar(files: list[_File]) -> Iterator[bytes]:
    for file in files:
        yield file.header
        yield from file.content()
        yield bytes(-file.size % TAR_BLOCK)
    yield bytes(TAR_END)


def _changed(path: Path) -> InputError:
    return InputError(f"{path}: it has changed while it was sent, expected a file that stays")


def download(
    connection: Connection,
    to: Path,
    *path: str,
    most: int = LONGEST_DOWNLOAD,
    **query: object,
) -> Mapping[str, str]:
    """Write what a path of the service answers to file `to`; return the headers of the answer.

    Its answer has a digest, by which it is checked. If the connection breaks it is fetched again.
    """
    plain = {"Accept-Encoding": "identity"}

    def fetch() -> Mapping[str, str]:
        digest, received = hashlib.sha256(), 0
        with (
            to.open("wb") as file,
            connection.open("GET", *path, query=query, headers=plain) as response,
        ):
            headers = headers_of(response)
            expected = int(headers.get("content-length", "-1"))
            if not 0 <= expected <= most:
                said = "does not say how many" if expected < 0 else f"sends {expected:,}"
                raise InputError(
                    f"{connection.address}: it {said} bytes, expected at most {most:,}"
                )
            while received != expected:
                try:
                    block = response.read(READ_BYTES)
                except BROKEN as error:
                    raise connection.no_answer(error) from None
                if not block:
                    raise connection.no_answer(OSError("the answer has broken off"))
                received += len(block)
                digest.update(block)
                file.write(block)
        said = headers.get(DIGEST, "none")
        found = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        if found != said:
            raise InputError(
                f"{connection.address}: what it has sent has digest {found}, and it says "
                f"{shown(said)}: expected the same"
            )
        return headers

    return connection.again(fetch)


def unpack(file: Path, to: Path, *, most_bytes: int = MOST_UNPACKED) -> Path:
    """Unpack a zip file in the new folder `to`; the one folder that is in it.

    `zipfile` leaves out what in a name leads elsewhere, such as `..`; links become files, and
    files get the permissions of this user's new files.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            entries = packed.infolist()
            size = sum(entry.file_size for entry in entries)
            if len(entries) > MOST_FILES or size > most_bytes:
                raise InputError(
                    f"the bundle has {len(entries):,} files of {size:,} bytes, expected at most "
                    f"{MOST_FILES:,} of {most_bytes:,}"
                )
            packed.extractall(to)
    except InputError:
        raise
    except BAD as error:
        raise InputError(f"the bundle is no whole zip file ({error}), expected one") from None
    except OSError as error:
        raise InputError(
            f"the bundle cannot be unpacked to {to.parent}: {error.strerror or error}, expected a "
            f"folder to write to"
        ) from None
    folders = list(to.iterdir()) if to.is_dir() else []
    if len(folders) != 1 or not folders[0].is_dir():
        raise InputError(f"the bundle has {len(folders)} files or folders, expected one folder")
    return folders[0]
