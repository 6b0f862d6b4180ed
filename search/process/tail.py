"""Whole lines of a pipe, and of a file that grows, is rotated, or begins anew."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import select
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.data.log_lines import LONGEST_LINE
from lstm_sweep.models.data.reader import GZIP, HEAD, check_head
from lstm_sweep.models.errors import InputError, shown, why_not

#: seconds between two looks for more lines
LOOK_S = 0.2
#: bytes that are read at a time, and of a line that has no end yet
READ_BYTES, MOST_REST = 1 << 17, 4 * LONGEST_LINE
#: bytes by which a file is known again
HEAD_BYTES = 256
#: what follows the name of a file that was rotated: numbers, dates
ROTATED = r"[.-]\d[\d.:TZ_-]*"


class Input(ABC):
    """Whole lines as they come."""

    def __init__(self) -> None:
        #: a line without an end, and bytes of it beyond what is looked at
        self._rest, self._dropped = b"", 0
        #: bytes before that line
        self._offset = 0

    @abstractmethod
    def read(self) -> bytes | None:
        """Whole lines, with one kind of line end; none if there are none now, None at the end."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until there may be more."""

    def position(self) -> dict[str, Any] | None:
        """Where to go on, as plain values; None if one cannot."""
        return None

    def _whole(self, read: bytes) -> bytes:
        end = read.rfind(b"\n") + 1
        if not end:
            kept = read[: MOST_REST - len(self._rest)]
            self._rest += kept
            self._dropped += len(read) - len(kept)
            return b""
        begin = read.find(b"\n") if self._dropped else 0
        lines = self._rest + read[begin:end]
        if not self._offset:
            lines = lines.removeprefix(b"\xef\xbb\xbf")
        self._offset += len(self._rest) + self._dropped + end
        self._rest, self._dropped = read[end:], 0
        return lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _flushed(self) -> bytes:
        """The line that gets no end."""
        return self._whole(b"\n") if self._rest else b""


class Pipe(Input):
    """Lines of a pipe, such as standard input."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor, self._ended = descriptor, False

    @override
    def read(self) -> bytes | None:
        if self._ended:
            return None
        if not select.select([self._descriptor], [], [], 0)[0]:
            return b""
        if read := os.read(self._descriptor, READ_BYTES):
            return self._whole(read)
        self._ended = True
        return self._flushed()

    @override
    def wait(self) -> None:
        select.select([self._descriptor], [], [], LOOK_S)


class Tail(Input):
    """Lines of a file that grows, is rotated, or begins anew."""

    def __init__(
        self, path: Path, say: Callable[[str], None], position: Mapping[str, Any] | None = None
    ) -> None:
        """Go on at a `position` of a file that may have been rotated since."""
        super().__init__()
        self._path, self._say = path, say
        self._descriptor: int | None = None
        #: device and inode of the file that is read, its first bytes, and bytes that were read
        self._file, self._head, self._at = (0, 0), b"", 0
        if position is not None:
            self._resume(position)
        elif not self._open(path):
            say(f"{path} is not there yet: waiting for it")

    @override
    def wait(self) -> None:
        time.sleep(LOOK_S)

    @override
    def position(self) -> dict[str, Any] | None:
        if self._descriptor is None:
            return None
        self._learn_head(self._descriptor)
        head = base64.b64encode(self._head).decode()
        return {"file": [*self._file], "offset": self._offset, "head": head}

    @override
    def read(self) -> bytes:
        if self._descriptor is None:
            self._open(self._path)
        if self._descriptor is None:
            return b""
        if read := os.read(self._descriptor, READ_BYTES):
            if not self._at:
                self._check(read[:HEAD])
            self._learn_head(self._descriptor)
            self._at += len(read)
            return self._whole(read)
        return self._at_end(self._descriptor)

    def _check(self, head: bytes) -> None:
        if head.startswith(GZIP):
            raise InputError(f"{self._path}: is packed by gzip, expected a text that grows")
        check_head(self._path, head)

    def _open(self, path: Path, offset: int = 0, head: bytes = b"") -> bool:
        """Read a file from an offset, whose first bytes were `head`; whether it is there."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if path.parent.is_dir():
                return False
            raise InputError(f"--follow {shown(str(path))}: no such folder, expected one") from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"--follow {shown(str(path))}: {why_not(error)}, expected a file to read"
            ) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise InputError(
                f"--follow {shown(str(path))}: is no file, expected one, or `--follow -` for "
                f"standard input"
            )
        self._close()
        os.lseek(descriptor, offset, os.SEEK_SET)
        self._descriptor, self._file = descriptor, (status.st_dev, status.st_ino)
        self._head, self._at, self._offset = head, offset, offset
        self._rest, self._dropped = b"", 0
        self._learn_head(descriptor)
        return True

    def _learn_head(self, descriptor: int) -> None:
        if len(self._head) < HEAD_BYTES:
            now = os.pread(descriptor, HEAD_BYTES, 0)
            self._head = now if now.startswith(self._head) else self._head

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _at_end(self, descriptor: int) -> bytes:
        """Where to go on after all that is there."""
        try:
            there = self._path.stat()
        except OSError:
            return b""  # it was renamed, and no other one made yet
        if (there.st_dev, there.st_ino) != self._file:
            after = [
                path for path, its in self._rotated() if its > os.fstat(descriptor).st_mtime_ns
            ]
            # who writes may go on with the old file until there is something in the new one
            if (not there.st_size and not after) or os.fstat(descriptor).st_size > self._at:
                return b""
            left = self._flushed()
            self._open(after[0] if after else self._path)
            return left
        if there.st_size >= self._at and self._begins(descriptor):
            return b""
        offset, head = self._offset, self._head
        if copy := self._same(offset, head, [path for path, _ in self._rotated()]):
            self._say(f"{self._path} begins anew: going on there after the rest of {copy.name}")
            self._open(copy, offset, head)
            return b""
        self._say(f"{self._path} has shrunk or begins otherwise: going on from its beginning")
        left = self._flushed()
        self._open(self._path)
        return left

    def _begins(self, descriptor: int) -> bool:
        return os.pread(descriptor, len(self._head), 0) == self._head

    def _rotated(self) -> list[tuple[Path, int]]:
        """Files that this one was before, the oldest first, and when they were changed."""
        name, found = re.escape(self._path.name), []
        for entry in os.scandir(self._path.parent):
            if not re.fullmatch(name + ROTATED, entry.name) or not entry.is_file():
                continue
            with contextlib.suppress(FileNotFoundError):  # it may be renamed meanwhile
                status = entry.stat()
                if (status.st_dev, status.st_ino) != self._file:
                    found.append((Path(entry.path), status.st_mtime_ns))
        return sorted(found, key=lambda one: one[1])

    def _same(
        self, offset: int, head: bytes, paths: Sequence[Path], *, inode: object = None
    ) -> Path | None:
        """The last of some files that begins alike and is as long, of this inode if one is given.

        An empty file has but its inode to be known by.
        """
        for path in reversed(paths):
            try:
                with path.open("rb") as file:
                    alike = file.read(len(head)) == head and (head or inode)
                status = path.stat()
            except OSError:
                continue
            is_it = inode is None or (status.st_dev, status.st_ino) == inode
            if alike and is_it and status.st_size >= offset:
                return path
        return None

    def _resume(self, position: Mapping[str, Any]) -> None:
        offset, head = position["offset"], base64.b64decode(position["head"], validate=True)
        paths = [*(path for path, _ in self._rotated()), self._path]
        inode = tuple(position["file"])
        same = self._same(offset, head, paths, inode=inode) or self._same(offset, head, paths)
        if same:
            self._open(same, offset, head)
            return
        if offset:
            self._say(
                f"{self._path} is another file than the one that was read, which is not found: "
                f"lines between may be lost; going on from its beginning"
            )
        self._open(self._path)
