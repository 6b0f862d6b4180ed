"""Uploaded files, by their digest, and the corpora that are made of them.

`files/DIGEST` is a whole file, `parts/DIGEST` one that is being sent. `corpora/ID/` has the file or
folder of a corpus, whose files are hard links to those, and `corpora/ID.json` says what it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.service.bodies import CORPUS_ID, SHA256, CorpusSubmission
from lstm_sweep.search.service.corpus_paths import check_paths
from lstm_sweep.search.service.http_settings import API, Limits
from lstm_sweep.search.service.problems import ProblemError

#: bytes that are read at once to compute a digest
READ_BYTES = 1 << 20
#: seconds after which what was sent is deleted, if no more of it comes and no corpus has it
KEPT_S = 7 * 24 * 3600.0
#: seconds between two looks at all files, at least
LOOK_EVERY_S = 60.0
#: files that begin or end, and corpora that are made, at once; the threads of others are their own
THREADS = 8


@dataclass(frozen=True)
class Upload:
    """How much of a file is there."""

    sha256: str
    offset: int
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        """The upload as JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class UploadedCorpus:
    """A corpus that was uploaded."""

    id: str
    name: str
    files: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The corpus as JSON."""
        return {"data": f"corpus:{self.id}", **vars(self)}


class Uploads:
    """Uploaded files and corpora in a folder; it may be called from any thread."""

    def __init__(
        self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._clock = limits, clock
        self.limiter = CapacityLimiter(THREADS)
        self._files, self._parts = folder / "files", folder / "parts"
        self._corpora = folder / "corpora"
        for own in (folder, self._files, self._parts, self._corpora):
            own.mkdir(mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        #: files that are being received, and how many bytes they will have
        self._receiving = dict[str, int]()
        #: bytes that are there of each file that is not being received
        self._sizes = dict[str, int]()
        self._looked = clock()
        self._look()

    def state(self, sha256: str) -> Upload:
        """How much of a file is there."""
        with contextlib.suppress(FileNotFoundError):
            return Upload(sha256, (self._files / sha256).stat().st_size, complete=True)
        try:
            return Upload(sha256, (self._parts / sha256).stat().st_size, complete=False)
        except FileNotFoundError:
            return Upload(sha256, 0, complete=False)

    @contextlib.contextmanager
    def receiving(self, sha256: str, offset: int, total: int) -> Iterator[Receiver]:
        """Receive more of a file, from `offset` on; what has come stays if it is broken off.

        Raises:
            ProblemError: more of it is received just now, or it is elsewhere, or it is too large.
        """
        with self._lock:
            if sha256 in self._receiving:
                raise ProblemError(409, f"file {sha256}: it is being received, expected one sender")
            self._receiving[sha256] = 0
        try:
            there = self.state(sha256)
            if there.offset != offset or there.complete:
                raise ProblemError(
                    409,
                    f"file {sha256}: Upload-Offset is {offset}, expected {there.offset}, which are "
                    f"there",
                    offset=there.offset,
                )
            with self._lock:
                self._check_room(total, offset)
                self._receiving[sha256] = total
            self._parts.mkdir(mode=0o700, exist_ok=True)
            with (self._parts / sha256).open("ab") as file:
                yield Receiver(file, self._parts / sha256, offset, total)
        finally:
            with self._lock:
                del self._receiving[sha256]
                self._note(sha256)

    def finish(self, sha256: str) -> Upload:
        """Take a file whose last byte has come.

        Raises:
            ProblemError: its content has another digest; it is deleted.
        """
        part = self._parts / sha256
        digest = hashlib.sha256()
        with part.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            with self._lock:
                part.unlink(missing_ok=True)
                self._note(sha256)
            raise ProblemError(
                422,
                f"file {sha256}: what was sent has digest {digest.hexdigest()}, expected the same; "
                f"it was deleted",
            )
        part.chmod(0o400)
        with self._lock:
            part.replace(self._files / sha256)
            self._note(sha256)
        return self.state(sha256)

    def _check_room(self, total: int, offset: int) -> None:
        limits = self._limits
        if total > limits.file_bytes:
            raise ProblemError(
                413, f"the file has {total:,} bytes, expected at most {limits.file_bytes:,}"
            )
        if self._clock() - self._looked >= LOOK_EVERY_S:
            self._looked = self._clock()
            self._look()
        coming = (size - self._sizes.get(name, 0) for name, size in self._receiving.items())
        used = sum(self._sizes.values()) + sum(size for size in coming if size > 0)
        if used + total - offset > limits.uploads_bytes:
            raise ProblemError(
                507,
                f"uploads take {used:,} bytes, and this file {total - offset:,} more: expected at "
                f"most {limits.uploads_bytes:,}; delete corpora that nobody needs",
            )
        check_free(self._files, total - offset, limits)

    def _note(self, sha256: str) -> None:
        """Note how much of a file is there, with the lock."""
        self._sizes[sha256] = self.state(sha256).offset
        if not self._sizes[sha256]:
            del self._sizes[sha256]

    def _look(self) -> None:
        """Delete what was sent long ago and is in no corpus, and see how large the rest is."""
        self._sizes.clear()
        for file in (*self._files.iterdir(), *self._parts.iterdir()):
            with contextlib.suppress(OSError):
                found = file.stat()
                is_old = found.st_nlink == 1 and time.time() - found.st_mtime > KEPT_S
                if is_old and file.name not in self._receiving:
                    file.unlink()
                else:
                    self._sizes[file.name] = found.st_size

    def make_corpus(self, given: CorpusSubmission) -> UploadedCorpus:
        """Make a corpus of uploaded files; the same one again is the same corpus.

        Raises:
            InputError: a name or path is none, or there are too many.
            ProblemError: some of the files are not there.
        """
        paths = {one.path: one.sha256 for one in given.files}
        check_paths(given, list(paths), self._limits.files)
        is_folder = given.is_folder or list(paths) != [given.name]
        written = json_text([given.name, is_folder, sorted(paths.items())])
        corpus_id = hashlib.sha256(written.encode()).hexdigest()[:32]
        with self._lock:
            missing = sorted({one for one in paths.values() if not self.state(one).complete})
            if missing:
                raise ProblemError(
                    409,
                    f"corpus {shown(given.name)}: {len(missing)} of its files are not uploaded, "
                    f"expected all of them to be sent to {API}/uploads/SHA256 first",
                    missing=missing,
                )
            size = sum(self.state(sha256).offset for sha256 in paths.values())
            corpus = UploadedCorpus(corpus_id, given.name, len(paths), size)
            if not (self._corpora / f"{corpus_id}.json").exists():
                self._make(corpus, paths, is_folder)
        return corpus

    def _make(self, corpus: UploadedCorpus, paths: dict[str, str], is_folder: bool) -> None:
        place = self._corpora / corpus.id
        shutil.rmtree(place, ignore_errors=True)  # left by a process that was killed
        top = place / corpus.name if is_folder else place
        for path, sha256 in paths.items():
            file = top / path
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(self._files / sha256, file)
        about = place.with_suffix(".json")
        about.with_suffix(".new").write_text(json_text(vars(corpus)), encoding="utf-8")
        about.with_suffix(".new").replace(about)

    def corpora(self) -> list[UploadedCorpus]:
        """All corpora, by name."""
        found = filter(None, map(_read_corpus, self._corpora.glob("*.json")))
        return sorted(found, key=lambda corpus: (corpus.name, corpus.id))

    def corpus(self, corpus_id: str) -> UploadedCorpus:
        """A corpus.

        Raises:
            ProblemError: there is none with this ID.
        """
        if not re.fullmatch(CORPUS_ID, corpus_id) or not (
            found := _read_corpus(self._corpora / f"{corpus_id}.json")
        ):
            raise ProblemError(
                404, f"corpus {shown(corpus_id)}: there is none, expected one of GET {API}/corpora"
            )
        return found

    def path_of(self, corpus_id: str) -> Path:
        """The file or folder of a corpus.

        Raises:
            ProblemError: there is none with this ID.
        """
        return self.folder_of(corpus_id) / self.corpus(corpus_id).name

    def folder_of(self, corpus_id: str) -> Path:
        """The folder in which a corpus lies."""
        return self._corpora / corpus_id

    def delete(self, corpus_id: str) -> None:
        """Delete a corpus, and those of its files that no other one has."""
        place = self.folder_of(corpus_id)
        with self._lock:
            own = {file.stat().st_ino for file in place.rglob("*")}
            (self._corpora / f"{corpus_id}.json").unlink(missing_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            for file in self._files.iterdir():
                found = file.stat()
                if found.st_nlink == 1 and found.st_ino in own:
                    file.unlink()
                    self._note(file.name)


class Receiver:
    """Writes what comes of a file."""

    def __init__(self, file: Any, path: Path, offset: int, total: int) -> None:
        self._file, self._path = file, path
        self.offset, self._total = offset, total

    @property
    def is_whole(self) -> bool:
        """Whether the last byte has come."""
        return self.offset == self._total

    def write(self, block: bytes) -> None:
        """Write what has come.

        Raises:
            ProblemError: more has come than the file has, or the disk is full.
        """
        if self.offset + len(block) > self._total:
            raise ProblemError(
                413, f"more was sent than Upload-Length, expected {self._total:,} bytes"
            )
        try:
            self._file.write(block)
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, self.offset)
            raise ProblemError(507, f"the file cannot be written: {error.strerror}") from None
        self.offset += len(block)


def check_free(folder: Path, wanted: int, limits: Limits) -> None:
    """Refuse what would not leave enough of the disk free.

    Raises:
        ProblemError: so it is.
    """
    free = shutil.disk_usage(folder).free
    if free - wanted < limits.free_bytes:
        raise ProblemError(
            507,
            f"the disk has {free:,} bytes free, expected {wanted:,} and {limits.free_bytes:,} that "
            f"stay free",
        )


def check_sha256(given: str) -> None:
    """Refuse what is no digest.

    Raises:
        InputError: it is none.
    """
    if not re.fullmatch(SHA256, given):
        raise InputError(f"file {shown(given)}: expected its SHA-256, 64 hexadecimal digits")


def _read_corpus(file: Path) -> UploadedCorpus | None:
    """What a file says of a corpus; None if it is gone, or says something else."""
    try:
        return UploadedCorpus(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
