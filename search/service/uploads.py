"""Corpora that clients have sent: each one by one request, which is written as it comes.

`corpora/ID/content/NAME` is the file or folder of a corpus, and `corpora/ID/about.json` says what
it is. While a corpus comes it lies in a folder in `coming`, which becomes `corpora/ID` in one step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
import tarfile
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from anyio import CapacityLimiter

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.actions.transfers import corpus_id_of
from lstm_sweep.search.process.whole_files import replace_text
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.schemas import CORPUS_ID, LONGEST_CORPUS
from lstm_sweep.search.service.settings import API, Limits

#: bytes of the disk that a file or folder takes at least, and of which its content takes whole ones
BLOCK = 4096
#: bytes of the disk that a corpus takes without its files: two folders
NEW_BYTES = 2 * BLOCK
#: bytes of a name in a path, as file systems have them; bytes and parts of a path
LONGEST_NAME, LONGEST_PATH, MOST_PARTS = 255, 1_000, 20
#: inodes that uploads leave free, on file systems that have a fixed number of them
FREE_INODES = 10_000
#: bytes of a header of a tar file, and of a path or attributes that stand in an entry of their own
TAR_BLOCK, LONGEST_ATTRIBUTES = 512, 16 << 10
#: requests whose bytes are written at once; the threads of others are their own
THREADS = 8

log = logging.getLogger("lstm_sweep.service")


@dataclass(frozen=True)
class UploadedCorpus:
    """A corpus that was sent."""

    id: str
    name: str
    files: int
    bytes: int
    #: who has sent it first; empty if nobody had to log in
    owner: str
    #: bytes of the disk that it takes
    disk_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The corpus as JSON."""
        return {"data": f"corpus:{self.id}", **vars(self)}


class Uploads:
    """Uploaded corpora in a folder that no other process changes; it may be called by any thread.

    `naming` is held from the moment a request names a corpus until a sweep has it, and while
    whether a sweep needs a corpus is looked at and the corpus is deleted.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._limits = limits
        self.limiter = CapacityLimiter(THREADS)
        self._coming, self._corpora = folder / "coming", folder / "corpora"
        shutil.rmtree(self._coming, ignore_errors=True)  # left by a process that was killed
        for own in (folder, self._coming, self._corpora):
            own.mkdir(mode=0o700, exist_ok=True)
        self.naming = threading.RLock()
        self._lock = threading.Lock()
        #: corpora that are there, by their ID
        self._there = _read_corpora(self._corpora)
        self._receivers = list[Receiver]()

    def announce(self, corpus_id: str, name: str, size: int, owner: str) -> UploadedCorpus | None:
        """The corpus with this ID if it is there; else None, and there is room for it just now.

        Raises:
            InputError: its name is none.
            ProblemError: it is too large, or there is no room for it.
        """
        check_name(name)
        with self._lock:
            if corpus_id in self._there:
                return self._there[corpus_id]
            self._check_size(size)
            self._check_count(owner)
            self._check_room(_blocks(size))
        return None

    def receive(self, name: str, owner: str, *, is_folder: bool) -> Receiver:
        """Receive a corpus; whoever does it closes the receiver.

        Raises:
            InputError: its name is none.
            ProblemError: too many are there, or are received just now.
        """
        check_name(name)
        with self._lock:
            self._check_count(owner)
            own = sum(one.owner == owner for one in self._receivers)
            if own >= self._limits.coming_per_user or len(self._receivers) >= self._limits.coming:
                raise ProblemError(
                    429,
                    f"{len(self._receivers)} corpora are received just now, {own} of yours: "
                    f"expected fewer than {self._limits.coming}, and "
                    f"{self._limits.coming_per_user} of yours",
                )
            self._check_room(NEW_BYTES + BLOCK)
            place = Path(tempfile.mkdtemp(dir=self._coming))
            receiver = Receiver(self, place, name, owner, is_folder=is_folder, limits=self._limits)
            self._receivers.append(receiver)
        return receiver

    def reserve(self, receiver: Receiver, disk_bytes: int) -> None:
        """Let what a receiver has take so many bytes of the disk, and a block more.

        Raises:
            ProblemError: there is no room for them.
        """
        with self._lock:
            more = disk_bytes - receiver.disk_bytes
            self._check_room(more + BLOCK)
            receiver.disk_bytes = disk_bytes

    def take(self, receiver: Receiver, corpus: UploadedCorpus) -> UploadedCorpus:
        """Take what a receiver has as a corpus; the same one again is the same corpus.

        Raises:
            ProblemError: the user has too many by now.
        """
        with self._lock:
            if corpus.id not in self._there:
                self._check_count(receiver.owner)
                replace_text(receiver.place / "about.json", json_text(vars(corpus)), lasting=True)
                self._set_aside(corpus.id)
                receiver.place.rename(self._corpora / corpus.id)
                self._there[corpus.id] = corpus
            return self._there[corpus.id]

    def leave(self, receiver: Receiver) -> None:
        """Forget a receiver, and delete what it has of a corpus that was not taken."""
        with self._lock:
            if receiver in self._receivers:
                self._receivers.remove(receiver)
        shutil.rmtree(receiver.place, ignore_errors=True)

    def corpora(self) -> list[UploadedCorpus]:
        """All corpora, by name."""
        with self._lock:
            return sorted(self._there.values(), key=lambda corpus: (corpus.name, corpus.id))

    def corpus(self, corpus_id: str) -> UploadedCorpus:
        """A corpus.

        Raises:
            ProblemError: there is none with this ID.
        """
        with self._lock:
            found = self._there.get(corpus_id)
        if found is None:
            raise ProblemError(
                404, f"corpus {shown(corpus_id)}: there is none, expected one of GET {API}/corpora"
            )
        return found

    def path_of(self, corpus_id: str) -> Path:
        """The file or folder of a corpus.

        Raises:
            ProblemError: there is none with this ID.
        """
        return self.folder_of(corpus_id) / "content" / self.corpus(corpus_id).name

    def folder_of(self, corpus_id: str) -> Path:
        """The folder in which a corpus lies."""
        return self._corpora / corpus_id

    def delete(self, corpus_id: str) -> None:
        """Delete a corpus."""
        with self._lock:
            gone = self._set_aside(corpus_id)
            self._there.pop(corpus_id, None)
        if gone:
            shutil.rmtree(gone, ignore_errors=True)

    def _set_aside(self, corpus_id: str) -> Path | None:
        """Where a folder is now, which the next start deletes; None: there is none."""
        if not self.folder_of(corpus_id).exists():
            return None
        gone = Path(tempfile.mkdtemp(dir=self._coming))
        return self.folder_of(corpus_id).rename(gone)

    def _check_size(self, size: int) -> None:
        if size > self._limits.corpus_bytes:
            raise too_large(self._limits)

    def _check_count(self, owner: str) -> None:
        """Refuse one more corpus of a user."""
        limits, there = self._limits, self._there.values()
        own = sum(corpus.owner == owner for corpus in there)
        if own >= limits.corpora_per_user or len(there) >= limits.corpora:
            raise ProblemError(
                507,
                f"there are {len(there):,} corpora, {own:,} of them yours: expected fewer than "
                f"{limits.corpora:,}, and {limits.corpora_per_user:,} of yours; delete those that "
                f"nobody needs",
            )

    def _check_room(self, more: int) -> None:
        used = sum(corpus.disk_bytes for corpus in self._there.values())
        used += sum(receiver.disk_bytes for receiver in self._receivers)
        if used + more > self._limits.uploads_bytes:
            raise ProblemError(
                507,
                f"uploads take {used:,} bytes of the disk, and this one {more:,} more: expected at "
                f"most {self._limits.uploads_bytes:,}; delete corpora that nobody needs",
            )
        check_free(self._corpora, more, self._limits)


class Receiver:
    """Writes the files of a corpus as they come."""

    def __init__(
        self,
        uploads: Uploads,
        place: Path,
        name: str,
        owner: str,
        *,
        is_folder: bool,
        limits: Limits,
    ) -> None:
        self._uploads, self._limits, self._is_folder = uploads, limits, is_folder
        #: folder that becomes that of the corpus
        self.place = place
        self.name, self.owner = name, owner
        #: bytes of the disk that are reserved for it
        self.disk_bytes = NEW_BYTES
        #: digests of files that are whole, by their path, and folders that they lie in
        self._digests = dict[str, str]()
        self._folders = set[str]()
        self._file: IO[bytes] | None = None
        self._path, self._size, self._digest = "", 0, hashlib.sha256()
        #: bytes of the disk of all that is whole, and bytes of the content of all
        self._whole, self._bytes = NEW_BYTES, 0
        top = place / "content" / name if is_folder else place / "content"
        self._top = top
        top.mkdir(mode=0o700, parents=True)

    def begin(self, path: str) -> None:
        """Begin with a file; `path` is relative to the folder, or the name of a corpus of a file.

        Raises:
            InputError: it is no path, or was given before, or there are too many.
            ProblemError: there is no room for it.
        """
        parts = check_path(path)
        if len(self._digests) >= self._limits.files:
            raise InputError(f"there are over {self._limits.files:,} files, expected fewer")
        folders = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if path in self._digests:
            raise InputError(f"path {shown(path)} is given twice, expected each once")
        if path in self._folders or folders & self._digests.keys():
            raise InputError(f"{shown(path)} is a file and a folder, expected one of them")
        if len(self._folders | folders) > self._limits.files:
            raise InputError(f"there are over {self._limits.files:,} folders, expected fewer")
        self._reserve(BLOCK * (1 + len(folders - self._folders)))
        self._folders |= folders
        try:
            (self._top / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = (self._top / path).open("xb")
        except FileExistsError:  # where names differ by upper and lower case alone
            raise InputError(f"path {shown(path)} is given twice, expected each once") from None
        except OSError as error:
            raise _unwritable(error) from None
        self._path, self._size, self._digest = path, 0, hashlib.sha256()

    def write(self, block: bytes) -> None:
        """Write what has come of the file that was begun.

        Raises:
            ProblemError: the corpus is too large, or there is no room for it.
        """
        assert self._file
        self._bytes += len(block)
        if self._bytes > self._limits.corpus_bytes:
            raise too_large(self._limits)
        self._size += len(block)
        self._reserve(_blocks(self._size), is_whole=False)
        self._digest.update(block)
        try:
            self._file.write(block)
        except OSError as error:
            raise _unwritable(error) from None

    def end(self) -> None:
        """End the file that was begun.

        Raises:
            ProblemError: the disk is full.
        """
        assert self._file
        try:
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o400)
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _unwritable(error) from None
        self._file = None
        self._whole += _blocks(self._size)
        self._digests[self._path] = self._digest.hexdigest()

    def finish(self, corpus_id: str | None = None) -> UploadedCorpus:
        """Take what has come as a corpus; `corpus_id` is that which its client has computed.

        Raises:
            InputError: there are no files.
            ProblemError: the ID of what has come is another one.
        """
        if not self._digests:
            raise InputError("there are no files, expected some")
        found = corpus_id_of(self.name, self._digests, is_folder=self._is_folder)
        if corpus_id not in (None, found):
            raise ProblemError(
                409,
                f"corpus {corpus_id}: what was sent has the ID {found}, expected the same; it was "
                f"deleted",
                found=found,
            )
        files, size = len(self._digests), self._bytes
        made = UploadedCorpus(found, self.name, files, size, self.owner, self.disk_bytes)
        return self._uploads.take(self, made)

    def close(self) -> None:
        """Delete what has come, unless it was taken."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.close()
        self._uploads.leave(self)

    def _reserve(self, more: int, *, is_whole: bool = True) -> None:
        """Reserve room for a file or folder, or for what has come of one that is not whole."""
        self._uploads.reserve(self, self._whole + more)
        self._whole += more if is_whole else 0


class TarReader:
    """Reads a tar file as it comes: files alone, in the formats ustar, pax and GNU.

    Entries of folders are passed over, and whatever is no file or folder is refused.
    """

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        self._receiver, self._limits = receiver, limits
        self._held = bytearray()
        self._entries, self._ended = 0, False
        #: what the content of the entry is, its bytes that have not come, and those behind it
        self._kind, self._left, self._padding = "", 0, 0
        #: attributes that come, and what they say of the next entry
        self._attributes = bytearray()
        self._long: dict[str, str] = {}

    def write(self, block: bytes) -> None:
        """Read what has come.

        Raises:
            InputError: it is no tar file, or has something in it that a corpus cannot have.
            ProblemError: there is no room for it.
        """
        if self._ended:
            return
        self._held += block
        while self._step():
            pass

    def end(self) -> None:
        """Say that all has come.

        Raises:
            InputError: the tar file ends within an entry.
        """
        if self._left or self._padding or (self._held and not self._ended):
            raise InputError("the tar file breaks off, expected all of it")

    def _step(self) -> bool:
        """Read a part of an entry; whether there was one."""
        if self._left:
            part = bytes(self._held[: self._left])
            del self._held[: len(part)]
            self._left -= len(part)
            self._take(part)
        elif self._padding:
            passed = min(self._padding, len(self._held))
            del self._held[:passed]
            self._padding -= passed
        elif len(self._held) >= TAR_BLOCK and not self._ended:
            header = bytes(self._held[:TAR_BLOCK])
            del self._held[:TAR_BLOCK]
            self._begin(header)
            return True
        else:
            return False
        return bool(self._held)

    def _begin(self, header: bytes) -> None:
        if not any(header):  # the end, or padding before it
            self._ended = True
            return
        try:
            entry = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.TarError, ValueError):
            raise InputError("a part of it is no tar file, expected one without errors") from None
        self._entries += 1
        if self._entries > 4 * self._limits.files + 4:
            raise InputError(f"there are over {self._limits.files:,} files, expected fewer")
        try:
            size = int(self._long.pop("size", entry.size))
        except ValueError:
            size = -1
        if size < 0:
            raise InputError("an entry of the tar file has no size, expected one")
        self._left, self._padding = size, -size % TAR_BLOCK
        if entry.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            if size > LONGEST_ATTRIBUTES:
                raise InputError(
                    f"an entry of the tar file has {size:,} bytes of attributes, expected at most "
                    f"{LONGEST_ATTRIBUTES:,}"
                )
            self._kind = {b"x": "pax", b"g": "", b"L": "name"}[entry.type]
            self._attributes.clear()
        else:
            self._begin_content(entry, self._long.pop("path", entry.name))
            self._long.clear()
        if not self._left:
            self._take(b"")

    def _begin_content(self, entry: tarfile.TarInfo, path: str) -> None:
        if entry.isdir():
            if self._left:
                raise InputError(f"folder {shown(path)} has content, expected none")
            self._kind = ""
        elif entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            self._kind = "file"
            self._receiver.begin(path.removeprefix("./"))
        else:
            raise InputError(f"{shown(path)} is no file, expected files and folders alone")

    def _take(self, part: bytes) -> None:
        """Take what has come of the content of an entry."""
        if self._kind == "file":
            if part:
                self._receiver.write(part)
            if not self._left:
                self._receiver.end()
        elif self._kind:
            self._attributes += part
            if not self._left:
                self._long |= _attributes(self._kind, bytes(self._attributes))


def _attributes(kind: str, content: bytes) -> dict[str, str]:
    """What an entry says of the next one: its `path` and `size`, if they are long."""
    try:
        if kind == "name":
            return {"path": content.rstrip(b"\0").decode()}
        found = {}
        while content:
            length = int(content.partition(b" ")[0])
            if not 5 <= length <= len(content):
                raise ValueError
            record, content = content[:length], content[length:]
            name, _, value = record.partition(b" ")[2].decode().rstrip("\n").partition("=")
            found[name] = value
        if any(name.startswith("GNU.sparse") for name in found):
            raise InputError("the tar file has files with holes, expected one without --sparse")
        return {name: found[name] for name in ("path", "size") if name in found}
    except ValueError:
        raise InputError("an entry of the tar file has attributes that are none") from None


def check_name(name: str) -> None:
    """Refuse what can be no name of a corpus.

    Raises:
        InputError: so it is.
    """
    if len(name) > LONGEST_CORPUS:
        raise InputError(
            f"name {shown(name)} has {len(name)} characters, expected at most {LONGEST_CORPUS}"
        )
    _check_part(name, f"name is {shown(name)}")


def check_path(path: str) -> list[str]:
    """The parts of the path of a file in a corpus.

    Raises:
        InputError: it is none, or too long.
    """
    parts = path.split("/")
    if len(parts) > MOST_PARTS or len(path) > LONGEST_PATH:
        raise InputError(
            f"path {shown(path)} has {len(parts)} parts and {len(path):,} characters, expected at "
            f"most {MOST_PARTS} and {LONGEST_PATH:,}"
        )
    for part in parts:
        _check_part(part, f"path is {shown(path)}")
    return parts


def _check_part(part: str, what: str) -> None:
    """Refuse a part of a path that could lead elsewhere, or that a file system does not take."""
    try:
        length = len(part.encode())
    except UnicodeEncodeError:
        length = 0
    bad = part in ("", ".", "..") or "/" in part or "\\" in part or not part.isprintable()
    if bad or not 0 < length <= LONGEST_NAME:
        raise InputError(
            f"{what}: expected names of files and folders, without `..`, `\\` and control "
            f"characters"
        )


def check_free(folder: Path, wanted: int, limits: Limits) -> None:
    """Refuse what would not leave enough of the disk free.

    Raises:
        ProblemError: so it is.
    """
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


def too_large(limits: Limits) -> ProblemError:
    """The refusal of a corpus that has too many bytes."""
    return ProblemError(
        413, f"the corpus is too large, expected at most {limits.corpus_bytes:,} bytes"
    )


def _blocks(size: int) -> int:
    """Bytes of the disk that so many bytes of content take."""
    return -(-size // BLOCK) * BLOCK


def _unwritable(error: OSError) -> ProblemError:
    return ProblemError(507, f"the file cannot be written: {error.strerror}")


def _read_corpora(folder: Path) -> dict[str, UploadedCorpus]:
    """The corpora in a folder; one without about.json is deleted, others are kept."""
    found = dict[str, UploadedCorpus]()
    for place in folder.iterdir():
        try:
            corpus = _read_corpus(place / "about.json")
        except FileNotFoundError:
            shutil.rmtree(place, ignore_errors=True)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            log.error("%s: it is left out of the corpora: %s", place, why)
        else:
            found[corpus.id] = corpus
    return found


def _read_corpus(file: Path) -> UploadedCorpus:
    """What a file says of the corpus in its folder; OSError or ValueError if it says none."""
    given = json.loads(file.read_text(encoding="utf-8"))
    known = dataclasses.fields(UploadedCorpus)
    of = given if isinstance(given, dict) else {}
    is_whole = all(type(of.get(one.name)).__name__ == one.type for one in known)
    if not is_whole or of["id"] != file.parent.name or not re.fullmatch(CORPUS_ID, of["id"]):
        raise ValueError("about.json has another form, expected the fields of this corpus")
    return UploadedCorpus(**{one.name: of[one.name] for one in known})
