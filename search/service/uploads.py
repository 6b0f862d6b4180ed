"""Corpora that clients have sent.

Each corpus comes by one request, and is written as it comes. `corpora/ID/content/NAME` is its file
or folder, and `corpora/ID/about.json` says what it is. While it comes it lies in a folder in
`coming`, which becomes `corpora/ID` in one step.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from anyio import CapacityLimiter, from_thread
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from typing_extensions import override
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions.transfers import CORPUS, SERVER, corpus_id_of
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.settings import API, Limits
from lstm_sweep.search.values.documents import Document

#: bytes of the disk that a file or folder takes at least, and of which its content takes whole ones
BLOCK = 4096
READ_BYTES = 1 << 20
#: bytes of a name in a path, as file systems have them; bytes and parts of a path
LONGEST_NAME, LONGEST_PATH, MOST_PARTS = 255, 1_000, 20
#: inodes that uploads leave free, on file systems that have a fixed number of them
FREE_INODES = 10_000
#: bytes of a tar file that may stand between two files
LONGEST_HEADERS = 64 << 10
#: bytes that are read of a body that is refused, so that the client reads the refusal, and seconds
READ_AFTER_REFUSAL, READ_AFTER_REFUSAL_S = 64 << 20, 30.0
#: what names a corpus, and characters of the name that its client gives it
CORPUS_ID, LONGEST_CORPUS = "[0-9a-f]{32}", 200
#: the file that says what a corpus is
ABOUT = "about.json"

log = logging.getLogger("lstm_sweep.service")


@dataclass(frozen=True)
class UploadedCorpus(Document):
    """An uploaded corpus."""

    id: str
    #: name of its file or folder
    name: str
    files: int
    bytes: int
    #: who has sent it first; empty if nobody had to log in
    owner: str
    #: bytes of the disk that it takes
    disk_bytes: int
    #: what a sweep calls it
    data: str


class Uploads:
    """Uploaded corpora in a folder of this process alone; any thread may call it.

    `naming` is held from the moment a request names a corpus until a sweep has it, and while
    whether a sweep needs a corpus is looked at and the corpus is deleted.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.limits = limits
        #: of threads that receive a body; one more is there to be refused
        self.limiter = CapacityLimiter(limits.coming + 1)
        self.coming, self._corpora = folder / "coming", folder / "corpora"
        shutil.rmtree(self.coming, ignore_errors=True)  # left by a process that was killed
        for own in (folder, self.coming, self._corpora):
            own.mkdir(mode=0o700, exist_ok=True)
        self.naming = threading.RLock()
        self._lock = threading.Lock()
        self._there = _read_corpora(self._corpora)
        self._receivers = list[Receiver]()

    def announce(self, corpus_id: str, name: str, size: int) -> bool:
        """Whether the corpus with this ID is there; if it is not, it would be taken just now."""
        check_name(name)
        with self._lock:
            if corpus_id in self._there:
                return True
            self.check_size(size)
            self._check_room(size)
        return False

    def receive(self, name: str, owner: str, *, is_folder: bool) -> Receiver:
        check_name(name)
        with self._lock:
            own = sum(one.owner == owner for one in self._receivers)
            if own >= self.limits.coming_per_user or len(self._receivers) >= self.limits.coming:
                raise ProblemError(
                    429,
                    f"{len(self._receivers)} corpora are received just now, {own} of yours: "
                    f"expected fewer than {self.limits.coming}, and "
                    f"{self.limits.coming_per_user} of yours",
                )
            place = Path(tempfile.mkdtemp(dir=self.coming))
            receiver = Receiver(self, place, name, owner, is_folder=is_folder)
            self._receivers.append(receiver)
        return receiver

    def reserve(self, receiver: Receiver, more: int) -> None:
        """Let what a receiver has take so many bytes more of the disk, or fewer."""
        with self._lock:
            if more > 0:
                self._check_room(more)
            receiver.disk_bytes += more

    def take(self, receiver: Receiver, corpus: UploadedCorpus) -> UploadedCorpus:
        """Take what a receiver has as a corpus; the same one again is the same corpus."""
        with self._lock:
            if corpus.id not in self._there:
                replace_text(receiver.place / ABOUT, json_text(corpus.to_dict()), lasting=True)
                self._remove(corpus.id)  # one that could not be read at the start
                receiver.place.rename(self.folder_of(corpus.id))
                self._there[corpus.id] = corpus
            return self._there[corpus.id]

    def leave(self, receiver: Receiver) -> None:
        with self._lock:
            if receiver in self._receivers:
                self._receivers.remove(receiver)
        shutil.rmtree(receiver.place, ignore_errors=True)

    def corpora(self) -> list[UploadedCorpus]:
        with self._lock:
            return sorted(self._there.values(), key=lambda corpus: (corpus.name, corpus.id))

    def corpus(self, corpus_id: str) -> UploadedCorpus:
        found = self._there.get(corpus_id)
        if found is None:
            raise ProblemError(
                404, f"corpus {shown(corpus_id)}: there is none, expected one of GET {API}/corpora"
            )
        return found

    def path_of(self, corpus_id: str) -> Path:
        return self.folder_of(corpus_id) / "content" / self.corpus(corpus_id).name

    def folder_of(self, corpus_id: str) -> Path:
        return self._corpora / corpus_id

    def delete(self, corpus_id: str) -> None:
        with self._lock:
            self._there.pop(corpus_id, None)
            self._remove(corpus_id)

    def _remove(self, corpus_id: str) -> None:
        """Delete the folder of a corpus if it is there; the next start does what a kill leaves."""
        aside = Path(tempfile.mkdtemp(dir=self.coming))
        with contextlib.suppress(FileNotFoundError):
            self.folder_of(corpus_id).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def check_size(self, size: int) -> None:
        if size > self.limits.corpus_bytes:
            most = self.limits.corpus_bytes
            raise ProblemError(413, f"the corpus is too large, expected at most {most:,} bytes")

    def _check_room(self, more: int) -> None:
        used = sum(corpus.disk_bytes for corpus in self._there.values())
        used += sum(receiver.disk_bytes for receiver in self._receivers)
        if used + more > self.limits.uploads_bytes:
            raise ProblemError(
                507,
                f"uploads take {used:,} bytes of the disk, and this one {more:,} more: expected at "
                f"most {self.limits.uploads_bytes:,}; delete corpora that nobody needs",
            )
        check_free(self._corpora, more, self.limits)


class Receiver:
    """Writes the files of a corpus as they come."""

    def __init__(
        self, uploads: Uploads, place: Path, name: str, owner: str, *, is_folder: bool
    ) -> None:
        self._uploads, self._is_folder = uploads, is_folder
        #: folder that becomes that of the corpus
        self.place = place
        self.name, self.owner = name, owner
        #: bytes of the disk that are reserved for it
        self.disk_bytes = 0
        #: digests of files that are whole, by their path, and their bytes
        self._digests, self._bytes = dict[str, str](), 0
        #: bytes of the files of a form, which lie there until they are those of the corpus
        self._held = 0
        self._top = place / "content"

    def name_it(self, name: str, *, is_folder: bool) -> None:
        """Say what the corpus of a form is, of which nothing is written."""
        check_name(name)
        self.name, self._is_folder = name, is_folder

    def hold(self, more: int) -> None:
        self._uploads.check_size(self._held + more)
        self._uploads.reserve(self, more)
        self._held += more

    def write(self, path: str, content: Iterable[bytes]) -> int:
        """Write a file as it comes, `path` in the folder or its name; how many bytes it had."""
        check_path(path)
        digest, size, most = hashlib.sha256(), 0, self._uploads.limits.files
        if len(self._digests) >= most:
            raise InputError(f"there are over {most:,} files, expected fewer")
        target = self._top / (self.name if self._is_folder else "") / path
        inside = (one for one in target.parents if one.is_relative_to(self._top))
        folders = sum(not one.exists() for one in inside)
        # the file, and the rest of its last block
        self._uploads.reserve(self, (2 + folders) * BLOCK)
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb") as file:
                for block in content:
                    size += len(block)
                    self._uploads.check_size(self._bytes + size)
                    self._uploads.reserve(self, len(block))
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fchmod(file.fileno(), 0o400)
                os.fsync(file.fileno())
        except (FileExistsError, NotADirectoryError):
            said = "is given twice, or as a file and a folder, expected each once"
            raise InputError(f"path {shown(path)} {said}") from None
        except OSError as error:
            raise ProblemError(507, f"the file cannot be written: {error.strerror}") from None
        self._bytes += size
        self._digests[path] = digest.hexdigest()
        return size

    def finish(self, corpus_id: str | None = None) -> UploadedCorpus:
        """Take what has come as a corpus; `corpus_id` is that which its client has computed."""
        if not self._digests:
            raise InputError("there are no files, expected some")
        self._uploads.reserve(self, -self._held)
        found = corpus_id_of(self.name, self._digests, is_folder=self._is_folder)
        if corpus_id not in (None, found):
            raise ProblemError(
                409,
                f"corpus {corpus_id}: what was sent has the ID {found}, expected the same; it was "
                f"deleted",
            )
        corpus = UploadedCorpus(
            id=found,
            name=self.name,
            files=len(self._digests),
            bytes=self._bytes,
            owner=self.owner,
            disk_bytes=self.disk_bytes,
            data=f"{CORPUS}{found}",
        )
        return self._uploads.take(self, corpus)

    def close(self) -> None:
        self._uploads.leave(self)


def unpack(body: SentBody, receiver: Receiver) -> None:
    """Receive the files of a tar file as it comes; what is no file or folder is refused."""
    bounded: Any = _Bounded(body)
    try:
        with tarfile.open(fileobj=bounded, mode="r|", encoding="utf-8", errors="strict") as opened:
            tar: Any = opened
            while entry := tar.next():
                tar.members = []  # which it would keep
                path = entry.name.removeprefix("./")
                if entry.isdir():
                    continue
                is_file = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and entry.size >= 0
                if not is_file or entry.issparse():
                    raise InputError(f"{shown(path)} is no file, expected files and folders alone")
                bounded.left = entry.size + LONGEST_HEADERS
                content: Any = tar.extractfile(entry)
                receiver.write(path, iter(partial(content.read, READ_BYTES), b""))
                bounded.left = LONGEST_HEADERS
    except InputError:
        raise
    except (tarfile.TarError, ValueError) as error:
        raise InputError(f"the tar file cannot be read: {error}") from None
    while body.read(READ_BYTES):  # padding
        pass


class _Bounded:
    """A tar file of which between two files only so much is read: `tarfile` keeps it in memory."""

    def __init__(self, body: SentBody) -> None:
        self._body, self.left = body, LONGEST_HEADERS

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise InputError(
                f"a file of the tar file has over {LONGEST_HEADERS:,} bytes of attributes, "
                f"expected less"
            )
        return self._body.read(size)


class SentBody:
    """The body of a request as a file, which a thread reads as it comes."""

    def __init__(self, request: Request) -> None:
        self._stream, self._held = request.stream(), bytearray()

    def read(self, size: int) -> bytes:
        """So many bytes, or as many as are left; refused if it breaks off or pauses."""
        while len(self._held) < size and (part := from_thread.run(self._part)):
            self._held += part
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    async def _part(self) -> bytes:
        try:
            return await anext(self._stream, b"")
        except ClientDisconnect:
            raise ProblemError(400, "the connection has broken, expected all of it") from None

    async def pass_over(self) -> None:
        came = 0
        with contextlib.suppress(TimeoutError, ClientDisconnect, HTTPException):
            async with asyncio.timeout(READ_AFTER_REFUSAL_S):
                async for part in self._stream:
                    came += len(part)
                    if came > READ_AFTER_REFUSAL:
                        return


#: the field of several files, which are the sessions of a corpus
FILES = "files"
#: bytes of a field of a form, parts that it has at most, and bytes that are read at once: with what
#: is kept of those before, as it may belong to a boundary, they are no more than those of a field
FIELD_BYTES, FORM_PARTS, FORM_BLOCK = 64 << 10, 100, 32 << 10


def receive_form(
    uploads: Uploads, owner: str, body: SentBody, content_type: str, fields: dict[str, str]
) -> None:
    """Fill in the fields of a form; if it has files, `data` is the corpus that they become."""
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "").encode()
    if kind != "multipart/form-data" or not boundary:
        raise ProblemError(415, "the body is no form with a file: expected multipart/form-data")
    with contextlib.ExitStack() as scratch:
        receiver = uploads.receive("form", owner, is_folder=False)
        scratch.callback(receiver.close)
        container: Any = lambda **_: scratch.enter_context(_Held(receiver))  # noqa: E731
        parser = MultiPartParser(
            container, FIELD_BYTES, buffer_size=FORM_BLOCK, max_form_parts=FORM_PARTS
        )
        stream: Any = _Blocks(body, boundary)
        try:
            found, files = parser.parse(stream, boundary, None)
        except RequestEntityTooLarge:
            much = f"over {FORM_PARTS} parts, or a field or headers of over {FIELD_BYTES:,} bytes"
            raise ProblemError(413, f"the form has {much}, expected less") from None
        except ValueError:
            raise ProblemError(400, "the body is no form that can be read") from None
        except OSError as error:
            raise ProblemError(507, f"the file cannot be written: {error.strerror}") from None
        fields |= found.to_dict()
        if sent := [one for one in files.items(multi=True) if one[1].filename]:
            fields["data"] = f"{CORPUS}{_corpus_of(sent, receiver).id}"
        elif place := fields.get("place", "").strip():
            fields["data"] = f"{SERVER}{place}"


class _Held(io.FileIO):
    """A file of a form, which takes of the disk what its receiver may."""

    def __init__(self, receiver: Receiver) -> None:
        descriptor, path = tempfile.mkstemp(dir=receiver.place)
        super().__init__(descriptor, "r+")
        Path(path).unlink()
        self._receiver = receiver

    @override
    def write(self, block: Any) -> int:
        self._receiver.hold(len(block))
        return super().write(block)


def _corpus_of(sent: Sequence[tuple[str, FileStorage]], receiver: Receiver) -> UploadedCorpus:
    names = [PurePath((file.filename or "").replace("\\", "/")).name or "data" for _, file in sent]
    is_folder = {field for field, _ in sent} == {FILES}
    if len(sent) > 1 and not is_folder:
        raise InputError("the form has a file beside others: expected one, or several sessions")
    receiver.name_it("sessions" if is_folder else names[0], is_folder=is_folder)
    for name, (_, file) in zip(names, sent, strict=True):
        if not receiver.write(name, iter(partial(file.stream.read, READ_BYTES), b"")):
            raise InputError(f"file '{file.filename}': it is empty, expected a text")
    return receiver.finish()


class _Blocks:
    """The blocks of a form: none ends one byte behind a boundary, which werkzeug takes for data."""

    def __init__(self, body: SentBody, boundary: bytes) -> None:
        self._body, self._mark, self._end = body, b"--" + boundary, b""

    def read(self, size: int) -> bytes:
        found = block = self._body.read(size)
        while block:
            self._end = (self._end + block)[-len(self._mark) - 1 :]
            if not self._end.startswith(self._mark):
                break
            block = self._body.read(1)
            found += block
        return found


def check_name(name: str) -> None:
    _check_part(name, f"name is {shown(name)}")


def check_path(path: str) -> None:
    parts = path.split("/")
    if len(parts) > MOST_PARTS or len(path) > LONGEST_PATH:
        raise InputError(
            f"path {shown(path)} has {len(parts)} parts and {len(path):,} characters, expected at "
            f"most {MOST_PARTS} and {LONGEST_PATH:,}"
        )
    for part in parts:
        _check_part(part, f"path is {shown(path)}")


def _check_part(part: str, what: str) -> None:
    """Refuse a part of a path that could lead elsewhere, or that a file system does not take."""
    bad = part in ("", ".", "..") or "/" in part or "\\" in part or not part.isprintable()
    if bad or len(part.encode("utf-8", "replace")) > LONGEST_NAME:
        raise InputError(
            f"{what}: expected names of files and folders, without `..`, `\\` and control "
            f"characters"
        )


def check_free(folder: Path, wanted: int, limits: Limits) -> None:
    """Refuse what would not leave enough of the disk free."""
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free - wanted < limits.free_bytes:
        raise ProblemError(
            507,
            f"the disk has {free:,} bytes free, expected {wanted:,} and {limits.free_bytes:,} that "
            f"stay free",
        )
    if disk.f_files and disk.f_favail < min(FREE_INODES, disk.f_files // 100):
        raise ProblemError(507, f"the disk has room for {disk.f_favail:,} files, expected more")


def _read_corpora(folder: Path) -> dict[str, UploadedCorpus]:
    """The corpora in a folder; those that cannot be read are left alone."""
    found, names = {}, [one.name for one in dataclasses.fields(UploadedCorpus)]
    for place in folder.iterdir():
        try:
            about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
            found[place.name] = UploadedCorpus(**{name: about[name] for name in names})
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("%s: it is left out of the corpora: %s", place, error)
    return found
