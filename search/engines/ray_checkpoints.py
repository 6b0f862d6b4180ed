"""For `ray`: checkpoints of running trials, copied to the driver for the case that a node dies."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lstm_sweep.search.engines import ray_folder
from lstm_sweep.search.engines.ray_agent import KeptCheckpoint
from lstm_sweep.search.engines.ray_fleet import Member
from lstm_sweep.search.trial import Job, Slot

#: seconds between two copies of the checkpoint of a trial, at least
EVERY_S = 60.0
#: share of the time in which checkpoints travel, one after the other, at most
SHARE = 0.2
#: seconds between two looks for trials whose checkpoint is to be copied
LOOK_S = 1.0
#: seconds that an agent has to give a checkpoint
WITHIN_S = 30.0
#: seconds for which the end waits for a copy that is under way
END_WITHIN_S = 1.0


@dataclass(eq=False)
class _Copied:
    """A running trial, and what of its checkpoint is on the driver's machine."""

    job: Job
    member: Member
    #: when it is asked for next
    due: float
    #: version of the copy, as its agent has named it; 0 if there is none
    version: int = 0


class Checkpoints:
    """Copies the checkpoints of running trials to the folders of their jobs, in a thread."""

    def __init__(self) -> None:
        self._trials: dict[Slot, _Copied] = {}
        #: held while files of a trial are written, and while it is begun or forgotten
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray checkpoints", daemon=True)

    def begin(self, job: Job, member: Member) -> None:
        """Copy the checkpoints of a trial from now on."""
        with self._lock:
            self._trials[job.slot] = _Copied(job, member, time.monotonic() + EVERY_S)
        if not self._thread.ident:
            self._thread.start()

    def end(self, slot: Slot) -> None:
        """Write nothing to the folder of the trial on a slot any more."""
        with self._lock:
            self._trials.pop(slot, None)

    def close(self) -> None:
        """Write nothing any more, and end the thread."""
        self._closing.set()
        with self._lock:
            self._trials.clear()
        if self._thread.ident:
            self._thread.join(END_WITHIN_S)

    def _run(self) -> None:
        while not self._closing.wait(min(LOOK_S, EVERY_S)):
            for one in self._due():
                began = time.monotonic()
                with contextlib.suppress(Exception):  # of a node that is gone, or of a full disk
                    self._copy(one)
                now = time.monotonic()
                one.due = now + EVERY_S
                if self._closing.wait((now - began) * (1 / SHARE - 1)):
                    return

    def _due(self) -> Iterator[_Copied]:
        """Trials whose checkpoint is due, those first that wait for longest."""
        with self._lock:
            trials = sorted(self._trials.values(), key=lambda one: one.due)
        now = time.monotonic()
        return (one for one in trials if one.due <= now and self._runs(one))

    def _runs(self, one: _Copied) -> bool:
        return self._trials.get(one.job.slot) is one

    def _copy(self, one: _Copied) -> None:
        """Copy the checkpoint of a trial if it is another one than was copied last."""
        import ray

        answer = one.member.call("checkpoint", one.job.slot, one.job.trial, one.version)
        found: KeptCheckpoint | None = ray.get(answer, timeout=WITHIN_S)
        if found is None:
            return
        with self._lock:
            if self._runs(one):  # else its end has brought the newest
                name = one.job.checkpoint.name
                ray_folder.write(one.job.folder, {name: [found.data]})
                one.version = found.version
