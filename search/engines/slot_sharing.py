"""Sweeps on one machine share its slots: a lock of the system for each slot in use.

A driver locks a file for each of its trials that runs, for as long as it runs; the system drops the
locks of a process that ends, however it ends. Drivers also say by a file each, which they keep
locked, how many slots they could use and of which GPUs or cores, and each computes from those that
could use its own the same fair shares. A driver with more than its share lets trials wait. Where
there are more sweeps than slots, they take turns of `TURN_S`.

The service gives its drivers an allotment beside that: a file with the most that they may use. They
claim no more than that from the others, so that no share goes to one that may not use it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lstm_sweep.search.engines.fair_share import fair_shares
from lstm_sweep.search.process.whole_files import replace_text

#: variable that names the folder of the locks, or is `off`
VARIABLE = "LSTM_SWEEP_SLOTS"
#: variable that names the file with the allotment of a driver that a service has started
ALLOTMENT = "LSTM_SWEEP_ALLOTMENT"
#: name of the folder within that for temporary files, which all users share
FOLDER = "lstm-sweep-slots"
#: seconds for which one sweep has a slot before another gets it, if there are too few
TURN_S = 60.0
#: seconds between two looks at what other sweeps need, and at the allotment
LOOK_S = 0.5
#: suffixes of the files of slots and of drivers
SLOT, DRIVER = ".slot", ".driver"


def shared_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of the locks, created if missing; None if slots are not shared."""
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


def allotment_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file with the allotment of this driver; None without a service."""
    given = environment.get(ALLOTMENT)
    return Path(given) if given else None


class SlotSharing:
    """The slots that one driver uses of those of its machine; `names` are all of these."""

    def __init__(
        self,
        names: Sequence[str],
        folder: Path | None,
        allotment: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._names, self._folder, self._allotment = list(names), folder, allotment
        self._devices = frozenset(name.rpartition("-")[0] for name in names)
        self._clock = clock
        #: descriptors of the slots in use, by name
        self._held: dict[str, int] = {}
        #: file that says how many slots could be used, and its descriptor
        self._own: tuple[Path, int] | None = None
        self._demand, self._claimed, self._looked, self._most = 0, 0, -1.0, len(self._names)
        self._why = ""

    @property
    def held(self) -> int:
        """How many slots are in use."""
        return len(self._held)

    def take(self, preferred: str) -> tuple[str, str]:
        """Lock a slot: its name, and why there is none; one of the two is empty."""
        if self.held >= self.most():
            return "", self._why
        for name in sorted(self._names, key=lambda name: name != preferred):
            if name not in self._held and (lock := self._lock(name)) is not None:
                self._held[name] = lock
                return name, ""
        return "", f"other sweeps use all {len(self._names)} slots of this machine"

    def give_back(self, name: str) -> None:
        """Unlock a slot."""
        os.close(self._held.pop(name))

    def demand(self, count: int) -> None:
        """Say how many slots could be used."""
        if count == self._demand:
            return
        self._demand = count
        self._claim(min(count, read_allotment(self._allotment)[0]))
        if self._allotment:  # the service reads it
            with contextlib.suppress(OSError):
                replace_text(self._allotment.with_suffix(".demand"), str(count))
        self._looked = -1.0

    def most(self) -> int:
        """How many slots may be used now."""
        now = self._clock()
        if not 0 <= now - self._looked < LOOK_S:
            self._looked = now
            allotted, why = read_allotment(self._allotment)
            self._claim(min(self._demand, allotted))
            self._most, self._why = self._share(now, allotted)
            if allotted <= self._most:
                self._most, self._why = allotted, why or "the service gives it no more slots"
        return self._most

    def close(self) -> None:
        """Unlock everything."""
        for name in list(self._held):
            self.give_back(name)
        if self._own:
            path, descriptor = self._own
            self._own = None
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def _lock(self, name: str) -> int | None:
        """A descriptor that locks a slot; None if another process has locked it.

        A slot whose file cannot be opened is not shared.
        """
        if self._folder is not None:
            with contextlib.suppress(OSError):
                return _locked(self._folder / f"{name.replace('/', '_')}{SLOT}")
        return os.open(os.devnull, os.O_RDONLY)

    def _claim(self, count: int) -> None:
        """Tell the other drivers how many slots this one could use and may."""
        if self._folder is not None and count != self._claimed:
            with contextlib.suppress(OSError):
                self._say(self._folder, count)
                self._claimed = count

    def _say(self, folder: Path, count: int) -> None:
        if self._own is None:
            path = folder / f"{self._clock():017.3f}-{os.getpid()}-{uuid.uuid4().hex[:8]}{DRIVER}"
            descriptor = _created(path)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._own = path, descriptor
        devices = json.dumps(sorted(self._devices))
        os.pwrite(self._own[1], f"{count:6d}\n{devices}\n".encode(), 0)

    def _share(self, now: float, allotted: int) -> tuple[int, str]:
        """How many slots this driver may use beside the others, and why not more."""
        slots = len(self._names)
        if self._folder is None or self._own is None:
            return slots, ""
        claims = dict(sorted(self._claims(self._folder)))
        claims[self._own[0].name] = min(max(1, self._demand), allotted)  # it asks
        names = [name for name in sorted(claims) if claims[name] > 0]
        if len(names) > slots:  # in turns
            first = int(now / TURN_S) * slots % len(names)
            names = names[first:] + names[:first]
        shares = fair_shares([claims[name] for name in names], slots)
        share = dict(zip(names, shares, strict=True)).get(self._own[0].name, 0)
        return share, f"{len(names)} sweeps share {slots} slot{'s' if slots > 1 else ''}"

    def _claims(self, folder: Path) -> Iterator[tuple[str, int]]:
        """What drivers could use that share a GPU or core with this one, by their file.

        Files of dead ones are deleted.
        """
        with contextlib.suppress(OSError):
            for path in folder.glob(f"*{DRIVER}"):
                if self._own and path == self._own[0]:
                    continue
                with contextlib.suppress(OSError):
                    if (lock := _locked(path, create=False)) is not None:
                        os.close(lock)
                        path.unlink()
                        continue
                    count, devices = _claim_in(path)
                    if devices is None or _may_collide(self._devices, devices):
                        yield path.name, count


def _claim_in(path: Path) -> tuple[int, frozenset[str] | None]:
    """How many slots a driver could use, and of which GPUs and cores; None if it does not say."""
    count, _, devices = path.read_text(encoding="ascii", errors="replace").partition("\n")
    try:
        named = json.loads(devices)
    except (ValueError, RecursionError):  # of an earlier version, or half written
        named = None
    known = isinstance(named, list) and all(isinstance(one, str) for one in named)
    found = frozenset[str](named) if known else None
    return int(count) if count.strip().isdecimal() else 1, found


def _may_collide(own: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two drivers may use the same GPU or core.

    A GPU has a number or a UUID (`gpu-0`, `gpu-GPU-8932f937-...`); which UUID a number has is not
    known here.
    """
    cards = [[one[4:].isdecimal() for one in names if one[:4] == "gpu-"] for names in (own, others)]
    mixed = all(cards) and {*cards[0]} | {*cards[1]} == {True, False}
    return mixed or not own.isdisjoint(others)


def _locked(path: Path, *, create: bool = True) -> int | None:
    """A descriptor that locks a file; None if another process has locked it.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        if not create:
            raise
        with contextlib.suppress(FileExistsError):  # another driver creates it at this moment
            os.close(_created(path))
        descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: nothing is shared
        pass
    return descriptor


def _created(path: Path) -> int:
    """A descriptor of a new file that all users may read, and so lock, whatever the umask is.

    Raises:
        OSError: it cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(descriptor, 0o644)
    return descriptor


def read_allotment(file: Path | None) -> tuple[int, str]:
    """The most slots that a driver may use, and why not more; a missing file allows all."""
    if file is None:
        return 1 << 30, ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return int(found["slots"]), str(found["why"])
    except (OSError, ValueError, TypeError, KeyError):
        return 1 << 30, ""


def write_allotment(file: Path, slots: int, why: str, since: float) -> None:
    """Let the driver that watches a file use so many slots at most.

    `since` is when it got its first slot or lost its last one, in seconds since 1970.

    Raises:
        OSError: it cannot be written.
    """
    replace_text(file, json.dumps({"slots": slots, "why": why, "since": since}))


def last_allotment(file: Path) -> tuple[int, float] | None:
    """The slots that a file allows, and since when, as `write_allotment`; None if it is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return int(found["slots"]), float(found["since"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
