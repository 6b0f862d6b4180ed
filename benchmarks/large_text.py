"""What a text of a gigabyte costs before the first loss, and what memory it takes.

    python -m benchmarks.large_text --data FILE [--gigabytes 1] [--minutes 10] [--launch "ARGS"]

The lines of FILE are written again and again, each time in another order, until the text has so
many bytes. So its losses say nothing; time and memory do not depend on what is written there.
`lstm-sweep launch` searches it for `--minutes`. The table has the seconds from the start of the
process until the corpus is read, from there to the first loss, and to that of each worker, and the
largest resident memory until the sweep has ended: of the driver, which is the process that was
launched, as the kernel has noted it, and of all its workers together, by twice a second. Resident
memory counts the corpus, which the processes map from one file and share; without it is what a
process has of its own, by twice a second.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import our_events, own_program
from benchmarks.ending import one_line
from benchmarks.grids import given_text
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines.hardware import cores

#: how often processes are looked at, and the store is read
LOOK_S, READ_S = 0.5, 5.0
#: what `launch` prints once the corpus is read
READ = "corpus: train "
#: seconds that the sweep gets to leave in order
LEAVE_S = 60.0
INTERRUPTED = "interrupted, and nothing is recorded"


class Resident(NamedTuple):
    """Resident memory of a process in MB: now, at its highest, and what is no page of a file."""

    now: float = 0.0
    highest: float = 0.0
    own: float = 0.0


@dataclass
class Memory:
    """Largest resident memory so far, in MB: all of it, and what is no page of a file.

    Of a single process, all of it is what the kernel has noted; of several, what was seen at once.
    """

    whole: float = 0.0
    own: float = 0.0
    #: whether it is of a single process
    single: bool = False

    def see(self, pids: list[int]) -> None:
        """Look at some processes; those that have ended have none."""
        found = [_resident(pid) for pid in pids]
        whole = sum(one.highest if self.single else one.now for one in found)
        self.whole = max(self.whole, whole)
        self.own = max(self.own, sum(one.own for one in found))

    def __str__(self) -> str:
        return f"{self.whole:,.0f} MB, {self.own:,.0f} without files"


@dataclass
class Seen:
    """What was measured; seconds count from the start of the process."""

    read_s: float = math.nan
    #: of the first loss of each trial, in order
    losses_s: list[float] = field(default_factory=list)
    driver: Memory = field(default_factory=lambda: Memory(single=True))
    workers: Memory = field(default_factory=Memory)


def main() -> None:
    """Write the text, search it, and print the table."""
    given = _arguments()
    with one_line("large_text", INTERRUPTED), tempfile.TemporaryDirectory(
        prefix="large-text-", ignore_cleanup_errors=True
    ) as scratch:  # fmt: skip
        folder = Path(scratch)
        text = folder / "text.txt"
        began = time.time()
        size = write(given.data, text, int(given.gigabytes * 1e9))
        print(f"text of {size:,} bytes, written in {time.time() - began:.0f} s", flush=True)
        seen = measured(text, folder, given)
        print(table(seen))
        if not seen.losses_s:
            raise InputError(f"the sweep has ended without a loss, expected one; see {given.log}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="a text")
    parser.add_argument("--gigabytes", type=float, default=1.0, metavar="G", help="of the text (1)")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of a search (10)")
    parser.add_argument("--launch", default="", metavar="ARGS", help="further ones of launch")
    parser.add_argument("--log", type=Path, default=Path("large_text.log"), metavar="FILE")
    given = parser.parse_args()
    for name, value in (("minutes", given.minutes), ("gigabytes", given.gigabytes)):
        if not 0 < value < math.inf:
            parser.error(f"--{name} is {value:g}: expected a number above 0")
    return given


def write(source: Path, text: Path, size: int) -> int:
    """Write at least `size` bytes of the lines of `source`, and return how many these are."""
    lines = given_text(source).splitlines(keepends=True)
    if not lines:
        raise InputError(f"--data {source}: is empty, expected lines of text")
    rng, written = random.Random(0), 0
    with text.open("w", encoding="utf-8", newline="") as out:
        while written < size:
            rng.shuffle(lines)
            block = "".join(lines)
            out.write(block)
            written += len(block.encode())
    return written


def measured(text: Path, folder: Path, given: argparse.Namespace) -> Seen:
    """Search a text in a folder with a store of its own."""
    command = [
        str(own_program()), "launch", "--data", str(text), "--name", "large", "--trials", "100000",
        "--minutes", f"{given.minutes:g}", *shlex.split(given.launch),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    began, seen = time.time(), Seen()
    with given.log.open("wb") as out, subprocess.Popen(
        command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _watch(process, given.log, folder, began, seen)
        finally:
            _leave(process)
    return seen


def _watch(
    process: subprocess.Popen[bytes], log: Path, folder: Path, began: float, seen: Seen
) -> None:
    """Look at a sweep until it ends; at its losses until each worker had one."""
    next_read = began + READ_S
    while process.poll() is None:
        seen.driver.see([process.pid])
        seen.workers.see(list(_below(process.pid)))
        now = time.time()
        if math.isnan(seen.read_s) and READ in log.read_text(encoding="utf-8", errors="replace"):
            seen.read_s = now - began
        waited_for = len(seen.losses_s) < len(cores()) and not math.isnan(seen.read_s)
        if waited_for and now >= next_read:
            firsts: dict[str, float] = {}
            for event in our_events(folder, began):
                if event.val_loss is not None:
                    firsts.setdefault(event.trial, event.seconds)
            seen.losses_s = sorted(firsts.values())[: len(cores())]
            next_read = time.time() + READ_S
        time.sleep(LOOK_S)


def _leave(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _below(pid: int) -> Iterator[int]:
    """Processes that a process has begun, and those that these have."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = " ".join((task / "children").read_text(encoding="ascii") for task in tasks)
    except OSError:  # it has ended
        return
    for child in map(int, children.split()):
        yield child
        yield from _below(child)


def _resident(pid: int) -> Resident:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # it has ended
        return Resident()
    found = dict(line.split(":", 1) for line in lines.splitlines())
    return Resident(
        *(
            int(found[name].split()[0]) / 1000 if name in found else 0.0
            for name in ("VmRSS", "VmHWM", "RssAnon")
        )
    )


def table(seen: Seen) -> str:
    """What was seen, a line each."""
    since = [second - seen.read_s for second in seen.losses_s]
    losses = ", ".join(f"{second:.0f}" for second in since) or "none"
    return "\n".join(
        (
            f"seconds until the corpus is read                {seen.read_s:.0f}",
            f"seconds from there to the trials' first losses  {losses}",
            f"memory of the driver                            {seen.driver}",
            f"memory of all workers together                  {seen.workers}",
        )
    )


if __name__ == "__main__":
    main()
