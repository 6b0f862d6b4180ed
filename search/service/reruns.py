"""Reruns: each is the command `rerun` in a process of its own, one after the other.

What is known of one lies in its folder: what was asked for, what the command has printed, and its
process. So a rerun goes on if the service ends, and is found by the next one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import check_field
from lstm_sweep.models.errors import LONGEST_VALUE, InputError, shown
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.client.connection import SERVER, TOKEN
from lstm_sweep.search.engine_names import ENGINES
from lstm_sweep.search.process import identity
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.whole_files import replace_text
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.settings import Limits

ID = "[0-9a-f]{16}"
#: what runs the command
PROGRAM = (sys.executable, "-P", "-m", "lstm_sweep.search.cli")
#: seconds between two looks at what is trained
LOOK_EVERY_S = 1.0
#: seconds for which the files of a rerun are kept, and between two looks for older ones
KEPT_S, DROP_EVERY_S = 30 * 24 * 3600.0, 24 * 3600.0
#: states of reruns that have not ended
OPEN = ("queued", "running")
#: characters of what the command has said that are looked at
LONGEST = 20_000


log = logging.getLogger("lstm_sweep.service")


@dataclass(frozen=True)
class Wanted:
    """A trial that is to be trained again, which has a run."""

    trial: str
    run_id: str
    #: other values of fields of its config
    changes: object
    #: path of its template, if that is named
    template: str | None = None
    on: str = next(iter(ENGINES))


@dataclass(frozen=True)
class Rerun:
    """A trial that is trained again."""

    id: str
    trial: str
    #: run of the trial that is trained again
    run_id: str
    #: queued, running, done or failed
    state: str
    #: what `rerun --json` prints
    result: Mapping[str, Any] | None = None
    #: why it has failed, or waits
    why: str | None = None
    #: exit code of the command; None if it has not ended, or nobody was there when it did
    exit_code: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The rerun as JSON."""
        return dict(vars(self))


class Reruns:
    """The reruns of a service, in a folder; commands are run in the folder `workplace`."""

    def __init__(self, folder: Path, workplace: Path, limits: Limits) -> None:
        self._folder, self._workplace, self._limits = folder, workplace, limits
        folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()
        self._drop_old()
        self._dropped = time.monotonic()
        #: those that have not ended, oldest first: of the others nothing is read but on request
        self._open = [one for one in self._ids() if self._read(one).state in OPEN]
        self._thread = threading.Thread(target=self._watch, name="reruns", daemon=True)

    def start(self) -> None:
        """Start the thread that starts queued reruns."""
        self._thread.start()

    def submit(self, wanted: Wanted) -> Rerun:
        """Queue a rerun of a trial.

        Raises:
            InputError: a field is none of a config, or has another kind of value.
            ProblemError: too many wait.
        """
        settings = [_setting(name, value) for name, value in checked(wanted.changes).items()]
        with self._lock:
            waiting = [one for one in self._open if self._read(one).state in OPEN]
            if len(waiting) >= self._limits.waiting_reruns:
                most = self._limits.waiting_reruns
                raise ProblemError(429, f"{len(waiting)} reruns wait, expected at most {most}")
            new = f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(3)[:5]}"[:16]
            scratch = self._folder / f".{new}"
            scratch.mkdir(mode=0o700)
            about = vars(wanted) | {"settings": settings}
            del about["changes"]
            replace_text(scratch / "asked.json", json_text(about), lasting=True)
            scratch.rename(self._folder / new)
            self._open.append(new)
        return self.get(new)

    def get(self, rerun_id: str) -> Rerun:
        """A rerun.

        Raises:
            ProblemError: there is none with this ID.
        """
        if not re.fullmatch(ID, rerun_id) or not (self._folder / rerun_id).is_dir():
            raise ProblemError(404, f"rerun {shown(rerun_id)}: there is none of this ID")
        return self._read(rerun_id)

    def end(self) -> None:
        """Tell the commands that run to end; what they have begun is closed in the store."""
        self._ending.set()
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    def _ids(self) -> list[str]:
        """All reruns, oldest first."""
        return sorted(one.name for one in self._folder.iterdir() if re.fullmatch(ID, one.name))

    def _read(self, rerun_id: str) -> Rerun:
        place = self._folder / rerun_id
        asked = json.loads((place / "asked.json").read_text(encoding="utf-8"))
        rerun = Rerun(rerun_id, asked["trial"], asked["run_id"], "queued")
        if not (place / "process").exists():
            return replace(rerun, why="waits for the reruns before it")
        runs = self._is_running(rerun_id)  # before its output is read, which is whole if it is not
        result = _document(place / "out")
        if runs:
            return replace(rerun, state="running")
        rerun = replace(rerun, exit_code=self._exit_code(rerun_id))
        if result is not None:
            return replace(rerun, state="done", result=result)
        return replace(rerun, state="failed", why=_said(place / "err"))

    def _exit_code(self, rerun_id: str) -> int | None:
        """Exit code of a command that has ended."""
        if child := self._children.get(rerun_id):
            return child.poll()
        with contextlib.suppress(OSError, ValueError):
            return int((self._folder / rerun_id / "code").read_text(encoding="utf-8"))
        return None

    def _is_running(self, rerun_id: str) -> bool:
        child = self._children.get(rerun_id)
        if child is not None:
            return child.poll() is None
        text = (self._folder / rerun_id / "process").read_text(encoding="utf-8")
        try:
            pid, started = map(int, text.split())
        except ValueError:
            return False
        return identity.is_running(pid, started)

    def _watch(self) -> None:
        """Start what waits, as many at once as may be."""
        while not self._ending.wait(LOOK_EVERY_S):
            try:
                self._look()
                if time.monotonic() - self._dropped > DROP_EVERY_S:
                    self._dropped = time.monotonic()
                    self._drop_old()
            except Exception as error:  # it is looked again
                log.error("reruns: %s", without_secrets(str(error)))

    def _look(self) -> None:
        reruns = [self._read(one) for one in list(self._open)]
        running = sum(one.state == "running" for one in reruns)
        queued = [one.id for one in reruns if one.state == "queued"]
        for rerun_id in queued[: max(0, self._limits.reruns - running)]:
            self._start(rerun_id)
        for rerun_id, child in list(self._children.items()):
            if (code := child.poll()) is not None:
                (self._folder / rerun_id / "code").write_text(str(code), encoding="utf-8")
                del self._children[rerun_id]
        ended = {one.id for one in reruns if one.state not in OPEN}
        with self._lock:
            self._open = [one for one in self._open if one not in ended]

    def _start(self, rerun_id: str) -> None:
        place = self._folder / rerun_id
        asked = json.loads((place / "asked.json").read_text(encoding="utf-8"))
        command = [*PROGRAM, "rerun", asked["run_id"]]
        command += ["--json", *(f"--set={setting}" for setting in asked["settings"])]
        for option in ("template", "on"):
            if asked[option]:
                command.append(f"--{option}={asked[option]}")
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            child = subprocess.Popen(
                command,
                cwd=self._workplace,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._children[rerun_id] = child
        written = f"{child.pid} {identity.start_ticks(child.pid)}"
        (place / "process").write_text(written, encoding="utf-8")

    def _drop_old(self) -> None:
        """Delete reruns of long ago, and those whose submission was cut off."""
        with self._lock:  # or a submission that is being made would be taken for one
            for left in list(self._folder.iterdir()):
                cut_off = left.name.startswith(".") or _document(left / "asked.json") is None
                with contextlib.suppress(OSError):
                    if cut_off or time.time() - left.stat().st_mtime > KEPT_S:
                        shutil.rmtree(left)


def checked(changes: object) -> Mapping[str, Any]:
    """Fields of a config and their new values, as a request gives them.

    Raises:
        InputError: a field is none, or has another kind of value.
    """
    if not isinstance(changes, Mapping):
        raise InputError(f"changes is {shown(changes)}: expected fields of a config and values")
    for name, value in changes.items():
        check_field(name)
        is_value = isinstance(value, int | float | str) and str(value).isprintable()
        if not is_value or len(str(value)) > LONGEST_VALUE:
            raise InputError(f"changes: {name} is {shown(value)}: expected a number or a word")
    return changes


def _environment() -> dict[str, str]:
    """The environment of a command, without the service that commands would ask in place of it."""
    return {name: value for name, value in os.environ.items() if name not in (SERVER, TOKEN)}


def _setting(name: str, value: object) -> str:
    """A change as `--set` takes it."""
    return f"{name}={value}"


def _document(file: Path) -> Mapping[str, Any] | None:
    """The JSON that a command has printed, or that was asked for; None if it is not whole."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _said(file: Path) -> str:
    """The last line that a command has said."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            opened.seek(max(0, size - LONGEST))
            lines = opened.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    last = lines[-1] if lines else "its process was ended"
    return without_secrets(last.removeprefix("lstm-sweep: "))
