"""Sweeps on one machine share its slots: a lock of the system for each slot in use.

A driver locks a file for each of its trials that runs, for as long as it runs; the system drops the
locks of a process that ends, however it ends. Who finds all slots locked waits until one is free.

The service gives its drivers a quota beside that: a file with the most that they may use. A
driver that uses more, since its trials end their rounds first, says so in a file beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from typing_extensions import override

from lstm_sweep.search.process.files import replace_text

#: variable that names the folder of the locks, or is `off`
VARIABLE = "LSTM_SWEEP_SLOTS"
#: variable that names the file with the quota of a driver that a service has started
QUOTA = "LSTM_SWEEP_QUOTA"
#: name of the folder within that for temporary files, which all users share
FOLDER = "lstm-sweep-slots"
#: suffixes of the files of slots, and of what a driver tells its service: how many slots it could
#: use, and how many it has that it is to give back
SLOT, DEMAND, SURPLUS = ".slot", ".demand", ".surplus"


def shared_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    given = environment.get(VARIABLE, "")
    if given == "off":
        return None
    folder = Path(given) if given else Path(tempfile.gettempdir()) / FOLDER
    with contextlib.suppress(OSError):  # such as one that another driver creates at this moment
        folder.mkdir(parents=True)
        folder.chmod(0o1777)  # other users have sweeps too
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(folder.lstat().st_mode):
            return folder
    return None


class SlotSharing:
    """The slots that one driver uses of those of its machine; `names` are all of these."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._names, self._folder = list(names), folder
        #: descriptors of the slots in use, by name
        self._held: dict[str, int] = {}

    def take(self, preferred: str) -> tuple[str, str]:
        """Lock a slot: its name, and why there is none; one of the two is empty."""
        for name in sorted(self._names, key=lambda name: name != preferred):
            if name not in self._held and (lock := self._lock(name)) is not None:
                self._held[name] = lock
                return name, ""
        count = len(self._names)
        every = "the only slot" if count == 1 else f"all {count} slots"
        return "", f"other sweeps use {every} of this machine"

    def give_back(self, name: str) -> None:
        os.close(self._held.pop(name))

    def close(self) -> None:
        for name in list(self._held):
            self.give_back(name)

    def _lock(self, name: str) -> int | None:
        """None if another process has locked it; one whose file cannot be opened is not shared."""
        with contextlib.suppress(OSError):
            return _locked(self._folder / f"{name.replace('/', '_')}{SLOT}")
        return os.open(os.devnull, os.O_RDONLY)


class Quota:
    """What a driver may use, by the file that its service writes, and what it says beside it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        #: what was said last in each file; None: nothing
        self._said: dict[str, int | None] = {}
        self._say(SURPLUS, None)  # an earlier driver of this sweep may have had too many

    @classmethod
    def given(cls) -> Self | None:
        """That of this driver, as its service names it; None without a service."""
        file = os.environ.get(QUOTA)
        return cls(Path(file)) if file else None

    def most(self) -> int:
        return (read_quota(self._file) or (1 << 30,))[0]

    def why(self) -> str:
        _, why, _ = read_quota(self._file) or (0, "", 0.0)
        return why or "the service gives it no more slots"

    def demand(self, count: int, slots: int) -> None:
        """Say how many slots could be used; `slots` are those that there are for the sweep now."""
        self._say(DEMAND, count)

    def surplus(self, used: int) -> int:
        count = max(0, used - self.most())
        self._say(SURPLUS, count or None)
        return count

    def _say(self, suffix: str, count: int | None) -> None:
        if suffix in self._said and self._said[suffix] == count:
            return
        self._said[suffix] = count
        file = self._file.with_suffix(suffix)
        with contextlib.suppress(OSError):
            if count is None:
                file.unlink(missing_ok=True)
            else:
                replace_text(file, str(count))


#: seconds for which a driver that had a slot too many asks for no more
CONTENT_S = 120.0


class Share(Quota):
    """What a driver may use of a cluster: it asks for no more slots than were of use to it."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is the quota; the demand is written beside it."""
        super().__init__(file)
        self._clock, self._content_until = clock, 0.0

    @override
    def demand(self, count: int, slots: int) -> None:
        """Say how many of the slots could be used; if all of them, perhaps more could be.

        A slot costs an agent to be started, so one that was of no use is not asked for again soon.
        """
        now = self._clock()
        if count < slots:
            self._content_until = now + CONTENT_S
        self._say(DEMAND, count if now < self._content_until else None)


def _locked(path: Path) -> int | None:
    """A descriptor that locks a file, which all users may read; None if another has locked it."""
    with contextlib.suppress(FileExistsError):
        created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(created, 0o644)
        os.close(created)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: nothing is shared
        pass
    return descriptor


def read_quota(file: Path) -> tuple[int, str, float] | None:
    """What `write_quota` has written; None if there is nothing of that, which allows all slots."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return int(found["slots"]), str(found["why"]), float(found["since"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_quota(file: Path, slots: int, why: str, since: float) -> None:
    """Let the driver that watches a file use so many slots at most.

    `since` is when it got its first slot or lost its last one, in seconds since 1970.
    """
    replace_text(file, json.dumps({"slots": slots, "why": why, "since": since}))
