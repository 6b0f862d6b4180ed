"""What the processes of the queue do: each drives a sweep, or trains a trial again.

`python -m lstm_sweep.search.service.jobs RUN FILE [ENGINE]` is the driver of a sweep. The service
has locked FILE, and the process keeps that lock as long as it lives: so there is one driver for
each sweep, and whoever started it can be another process by now. It drives the sweep on ENGINE in
place of that of the sweep; what it says goes to standard output, which is a log.

A rerun is the command `rerun`. What is known of one lies in its folder: what was asked for, what
the command has printed, and its exit code. So a rerun goes on if the service is killed, and is
found by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from typing_extensions import override

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, NoRoomError, shown
from lstm_sweep.search.driver.state import Observer, SweepState
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted, Shield, stop_within_s
from lstm_sweep.search.service.logs import last_line
from lstm_sweep.search.service.scheduler import QueuedJob
from lstm_sweep.search.store.faults import NoSuchRunError, StoreError
from lstm_sweep.search.values.documents import Document
from lstm_sweep.search.values.trial import Trial

ID = "[0-9a-f]{16}"
#: seconds for which the files of a rerun are kept
KEPT_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Wanted:
    """A trial that is to be trained again, which has a run."""

    trial: str
    run_id: str
    #: what the command is given beside the run
    options: tuple[str, ...] = ()
    #: whether it runs code of a user, as a template is
    runs_code: bool = False


@dataclass(frozen=True)
class Rerun(Document):
    """A trial that is trained again."""

    id: str
    trial: str
    #: run of the trial that is trained again
    run_id: str
    state: Literal["queued", "running", "done", "failed"]
    #: what `rerun --json` prints
    result: Mapping[str, Any] | None = None
    #: why it has failed, or waits
    why: str | None = None
    #: exit code of the command; None if it has not ended, or nobody was there when it did
    exit_code: int | None = None


class Reruns:
    """The reruns of a service, in a folder; `runs` says which have a process."""

    def __init__(self, folder: Path, runs: Callable[[str], bool]) -> None:
        self._folder, self._runs = folder, runs
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._drop_old()

    def submit(self, wanted: Wanted, owner: str) -> str:
        """Queue a rerun of a trial, one call at a time; its ID."""
        about = {
            "trial": wanted.trial,
            "run_id": wanted.run_id,
            "owner": owner,
            "submitted": time.time(),
            "command": ["rerun", wanted.run_id, "--json", *wanted.options],
            "runs_code": wanted.runs_code,
        }
        self._drop_old()
        new = f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(3)[:5]}"
        scratch = self._folder / f".{new}"
        scratch.mkdir(mode=0o700)
        replace_text(scratch / "asked.json", json_text(about), lasting=True)
        scratch.rename(self._folder / new)
        return new

    def queue(self) -> list[QueuedJob]:
        """Those that wait or run, oldest first."""
        found = []
        for rerun_id in sorted(place.name for place in self._folder.iterdir()):
            if not self.has(rerun_id) or (self._folder / rerun_id / "code").exists():
                continue
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # a broken one
                state, asked = self.get(rerun_id).state, self._asked(rerun_id)
                if state not in ("queued", "running"):  # it has ended with no service there
                    self.note_end(rerun_id, None)
                    continue
                known = {name: asked[name] for name in ("owner", "submitted", "runs_code")}
                job = QueuedJob(
                    name=asked["trial"], run_id=rerun_id, state=state, is_rerun=True, **known
                )
                found.append(job)
        return found

    def get(self, rerun_id: str) -> Rerun:
        if not self.has(rerun_id):
            raise NoSuchRunError(f"rerun {shown(rerun_id)}: there is none of this ID")
        place, asked = self._folder / rerun_id, self._asked(rerun_id)
        rerun = Rerun(rerun_id, asked["trial"], asked["run_id"], "queued")
        if not (place / "out").exists():
            return rerun
        text = ""
        if (place / "code").exists():
            text = (place / "code").read_text(encoding="utf-8")
        elif self._runs(rerun_id):
            return replace(rerun, state="running")
        rerun = replace(rerun, exit_code=int(text) if text else None)
        result = _document(place / "out")  # which is whole now
        if result is not None:
            return replace(rerun, state="done", result=result)
        last = last_line(place / "err") or "its process was ended"
        why = without_secrets(last.removeprefix("lstm-sweep: "))
        return replace(rerun, state="failed", why=why)

    def has(self, rerun_id: str) -> bool:
        return bool(re.fullmatch(ID, rerun_id)) and (self._folder / rerun_id).is_dir()

    def command(self, rerun_id: str) -> list[str]:
        return list(self._asked(rerun_id)["command"])

    def open(self, rerun_id: str) -> tuple[IO[bytes], IO[bytes]]:
        """The files for what the command prints, and says; they are there once it is started."""
        place = self._folder / rerun_id
        errors = (place / "err").open("wb")
        return (place / "out").open("wb"), errors

    def note_end(self, rerun_id: str, code: int | None) -> None:
        (self._folder / rerun_id / "code").write_text("" if code is None else str(code))

    def _asked(self, rerun_id: str) -> dict[str, Any]:
        return dict(json.loads((self._folder / rerun_id / "asked.json").read_text("utf-8")))

    def _drop_old(self) -> None:
        """Delete reruns of long ago, and those whose submission was cut off."""
        for left in list(self._folder.iterdir()):
            cut_off = left.name.startswith(".") or _document(left / "asked.json") is None
            with contextlib.suppress(OSError):
                if cut_off or time.time() - left.stat().st_mtime > KEPT_S:
                    shutil.rmtree(left)


def _document(file: Path) -> Mapping[str, Any] | None:
    """The JSON that a command has printed, or that was asked for; None if it is not whole."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


#: bytes of what the file that is locked says: which process has it, and how far its sweep is
LONGEST_NOTE = 64
KEY = "key"
#: exit codes: done, interrupted or not possible, and anything else
DONE, FAILED = 0, 1


def write_note(descriptor: int, pid: int, progress: tuple[int, int] = (0, 0)) -> None:
    """Write which process has the lock, how many trials have ended, and rounds of the others."""
    text = f"{pid} {progress[0]} {progress[1]}"
    os.pwrite(descriptor, f"{text:<{LONGEST_NOTE}}".encode(), 0)


class Log(Observer):
    """Writes lines with the time, and notes how far the sweep is in the file that is locked."""

    def __init__(self, file: Path) -> None:
        self._descriptor, self._noted = os.open(file, os.O_WRONLY | os.O_CLOEXEC), (0, 0)
        self._note()

    def _note(self) -> None:
        with contextlib.suppress(OSError):
            write_note(self._descriptor, os.getpid(), self._noted)

    @override
    def update(self, state: SweepState) -> None:
        reached = len(state.finished), sum(len(one.rounds) for one in state.under_way)
        if reached > self._noted:
            self._noted = reached
            self._note()

    @override
    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        ended = progress.ended
        self.said(f"{progress.id} {ended.outcome if ended else ''}")

    def said(self, text: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{now} {without_secrets(text)}", flush=True)


def main(run_id: str, file: Path, on: str | None = None) -> int:
    shield, log = Shield(stop_within_s()), Log(file)
    try:
        with shield.up():
            _drive(run_id, log, shield, on, file.with_name(KEY))
    except Interrupted:
        log.said("interrupted")
    except (StoreError, NoRoomError) as error:
        log.said(str(error))
        return FAILED
    return DONE


def _drive(run_id: str, log: Log, shield: Shield, on: str | None, key: Path) -> None:
    from lstm_sweep.search.actions import lifecycle
    from lstm_sweep.search.actions.references import SweepRunsError
    from lstm_sweep.search.service import queue
    from lstm_sweep.search.store.settings import load
    from lstm_sweep.search.store.tags import Signer
    from lstm_sweep.search.store.tracking import MlflowStore

    store = MlflowStore(load(Path.cwd()))
    store.signer = Signer(key)
    # what is driven is what was signed, so all is taken from the run as it is read here
    run = store.run(run_id)
    waiting = queue.read([run] if queue.is_queued(store, run) else [])
    if not waiting:
        log.said(f"run {run_id} is not queued any more")
        return
    [job] = waiting
    try:
        changes = {**job.changes} | ({"on": on} if on else {})
        result = lifecycle.go_on(store, run, changes, observer=log, interrupts=shield)
        log.said(f"sweep '{job.name}': {result.state}; {result.why}")
    except SweepRunsError as error:
        log.said(str(error))
    except InputError as error:
        log.said(str(error))
        now = queue.read([store.run(run_id)])
        if now and now[0].driver is None:
            queue.give_up(store, run_id, str(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4]))
