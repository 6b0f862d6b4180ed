"""What a long sweep leaves behind: memory, files, processes, and the time that `resume` takes.

    python -m benchmarks.soak [--trials 1000] [--workers 2]

One sweep of tiny trials with real worker processes on a fresh SQLite store. The driver runs in a
process of its own, whose folders for temporary files and caches are fresh, so that all that is left
when it has ended can be found. Exit code 1 if a limit is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.alone import own_program
from benchmarks.tiny import resident_mb, store_in, with_environment, words
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import Observer, SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.engines.local import LocalEngine, find_slots
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Trial
from lstm_sweep.spaces.space import from_mapping

NAME = "soak"
#: trials after which the driver is measured; growth is counted from the first of them
MARKS = (50, 100, 250, 500, 750, 1000)
#: resident memory that the driver may gain, its records of trials included
GROWTH_MB = 50.0
#: seconds from the start of `lstm-sweep resume` to that of its first new trial
RESUME_S = 10.0
#: connections that the store may open and keep, and fonts that the pictures do
OPEN_FILES = 8
#: seconds that helpers of the driver get to leave once it has ended
LEAVE_WITHIN_S = 10.0


@dataclass(frozen=True)
class Sample:
    """The driver after so many trials."""

    trials: int
    #: seconds since the sweep began, and those that the driver itself computed
    seconds: float
    cpu_seconds: float
    memory_mb: float
    files: int
    children: int
    threads: int


def check(name: str, value: float, limit: float) -> bool:
    """Whether something that was measured keeps its limit; both are printed."""
    verdict = "" if value <= limit else "   BROKEN"
    print(f"{name:<52} {value:>9.1f}   at most {limit:g}{verdict}", flush=True)
    return value <= limit


@dataclass
class Watch(Observer):
    """An observer that shows nothing and measures the driver after some trials."""

    marks: tuple[int, ...]
    began: float = field(default_factory=time.perf_counter)
    samples: list[Sample] = field(default_factory=list)

    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        """Measure, if it is time."""
        if len(state.finished) in self.marks:
            self.samples.append(self.sample(len(state.finished)))
            print(_row(self.samples), flush=True)

    def sample(self, trials: int) -> Sample:
        """Measure this process now."""
        process = psutil.Process()
        return Sample(
            trials,
            time.perf_counter() - self.began,
            time.process_time(),
            resident_mb(),
            process.num_fds(),
            len(process.children(recursive=True)),
            process.num_threads(),
        )


def main() -> int:
    """Run the driver, and look for what is left of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        return _drive(given.folder, given.trials, given.workers)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        return _watch_over(Path(scratch), given.trials, given.workers)


def _watch_over(folder: Path, trials: int, workers: int) -> int:
    """Run the driver in a process whose temporary files and caches have folders of their own."""
    shared = _names(Path("/dev/shm"))
    own = {"TMPDIR": folder / "tmp", "XDG_CACHE_HOME": folder / "cache"}
    for place in own.values():
        place.mkdir()
    command = [sys.executable, "-m", "benchmarks.soak", "--folder", str(folder)]
    command += ["--trials", str(trials), "--workers", str(workers)]
    environment = os.environ | {name: str(place) for name, place in own.items()}
    environment["LSTM_SWEEP_SLOTS"] = str(folder / "slots")  # its locks stay
    code = subprocess.run(command, env=environment, check=False).returncode
    until = time.monotonic() + LEAVE_WITHIN_S
    while (left := with_environment("TMPDIR", str(own["TMPDIR"]))) and time.monotonic() < until:
        time.sleep(0.2)
    found = {
        "processes left": [*map(str, left)],
        "temporary files left": _files(own["TMPDIR"]),
        "files of the sweep left in the cache": [
            file
            for file in _files(own["XDG_CACHE_HOME"] / "lstm-sweep")
            if not file.startswith("graphs")
        ],
        "shared memory left": sorted(_names(Path("/dev/shm")) - shared - _mapped()),
    }
    for name, names in found.items():
        check(name, len(names), 0)
        print(*(f"  {one}\n" for one in names[:10]), sep="", end="")
    return int(code != 0 or any(found.values()))


def _drive(folder: Path, trials: int, workers: int) -> int:
    """Run the sweep, go on with it for a few trials more, and print what was measured."""
    corpus, spec = _sweep(folder, trials, workers)
    engine = LocalEngine(find_slots(workers))
    engine.warm_up()
    first = min(MARKS[0], max(1, trials // 2))
    later = (mark for mark in MARKS if first < mark < trials)
    watch = Watch((first, *later, trials))
    store = store_in(folder)
    reader.sweeps(store)  # opens its connections
    print(_HEAD, flush=True)
    watch.samples.append(watch.sample(0))
    print(_row(watch.samples), flush=True)
    task = CorpusTask.of(spec, corpus)
    state = Sweep(spec, name=NAME, task=task, store=store, engine=engine, observer=watch).run()
    after = watch.sample(len(state.finished))
    begin, base, last = watch.samples[0], watch.samples[1], watch.samples[-1]
    grown = last.memory_mb - base.memory_mb
    seconds = _resumed(folder, trials)
    kept = [
        check("trials that did not complete", trials - state.counts.get("complete", 0), 0),
        check("growth of the driver, MB", grown, GROWTH_MB),
        check("open files more than at the beginning", after.files - begin.files, OPEN_FILES),
        check("children more than at the beginning", after.children - begin.children, 0),
        check("resume: first new trial is begun, s", seconds, RESUME_S),
    ]
    return int(not all(kept))


def _sweep(folder: Path, trials: int, workers: int) -> tuple[Corpus, SweepSpec]:
    """A corpus of some 2,000 characters, and a sweep with the smallest networks."""
    source = words(folder, 430)
    space = from_mapping(
        {"direction": "uni", "layers": [1, 2], "layer_size": [1, 2, 3, 4],
         "dropout": {"low": 0, "high": 0.5}, "learning_rate": [0.1, 0.01], "batch_size": 64,
         "sequence_length": [6, 8, 10], "epochs": 1},
        "soak",
    )  # fmt: skip
    spec = SweepSpec(
        data=source.data, space=space, trials=trials, workers=workers, size_rule="off",
        targets=50, confirm_configs=0,
    )  # fmt: skip
    return corpora.load(source), spec


def _resumed(folder: Path, trials: int) -> float:
    """Go on by the command line: seconds to the first new trial's start.

    The time begins with the program's process, so Python and MLflow are loaded in it.
    """
    settings = "tracking_uri: sqlite:///mlflow.db\nartifacts: artifacts\nexperiment: benchmark\n"
    (folder / "mlflow.yaml").write_text(settings, encoding="utf-8")
    command = [str(own_program()), "resume", NAME, "--trials", str(trials + 1), "--json"]
    began = time.time()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    store = store_in(folder)
    sweep = reader.existing_sweep(store, NAME)
    [run] = store.runs({Tag.PARENT: sweep.info.run_id, Tag.TRIAL: str(trials)})
    return float(run.info.start_time / 1000 - began)


_HEAD = (
    f"{'trials':>7}{'memory MB':>11}{'open files':>12}{'children':>10}{'threads':>9}"
    f"{'s per trial':>13}{'driver ms per trial':>21}"
)


def _row(samples: list[Sample]) -> str:
    """The last sample as a line of the table, times since the one before."""
    now, before = samples[-1], samples[-2] if len(samples) > 1 else samples[-1]
    text = f"{now.trials:>7}{now.memory_mb:>11.1f}{now.files:>12}{now.children:>10}{now.threads:>9}"
    if count := now.trials - before.trials:
        wall = (now.seconds - before.seconds) / count
        text += f"{wall:>13.2f}{1000 * (now.cpu_seconds - before.cpu_seconds) / count:>21.1f}"
    return text


def _mapped() -> set[str]:
    """Names of shared memory that living processes use; no process of ours lives any more."""
    found: set[str] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has just ended, or is not ours
            found |= {Path(one.path).name for one in process.memory_maps()}
    return found


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


if __name__ == "__main__":
    sys.exit(main())
