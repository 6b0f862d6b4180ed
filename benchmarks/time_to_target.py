"""How soon a search has a good network: this program beside scripts for its peers.

    python -m benchmarks.time_to_target --data tinyshakespeare.txt --out OUT/shakespeare
    python -m benchmarks.time_to_target --data source --out OUT/source

These two are its standard: a megabyte of plays and one of Python's own source code (`grids.py`),
three seeds, 20 minutes for each.

Each contestant searches the same space on the same data and is scored on the same validation
targets, alone on the machine's CPUs, until its time is over; the time counts from the start of its
process. The results go to `runs.jsonl` one by one, so a benchmark that was broken off goes on where
it stopped. `--report` makes table and plot again from that file.

The peers are scripts in `peers/`. They train by stock `fit`, as their users do; on TensorFlow that
loses time at the end of each epoch. With `--cured` they are run without this loss, under names of
their own, which tells apart what the search gains and what the training gains.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.contest_records import CURED, OURS, Run, Setting, read_runs
from benchmarks.contest_report import plot, table
from benchmarks.contestants import DIRECTIONS, PEERS, contest, own_program
from benchmarks.ending import one_line
from benchmarks.grids import SOURCE, file_of
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError, one_of
from lstm_sweep.search.engines.hardware import cores

NAMES = (OURS, *PEERS)
LONGEST_WINDOW = 160


def main() -> None:
    """Run what is missing, then print the table and draw the plot."""
    given = _arguments()
    with one_line("time_to_target"):
        failed = _benchmark(given)
    if failed:
        print(f"time_to_target: no result of {'; '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=f"contestants: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--data", metavar="FILE", help=f"a text, or a file of event ids, or {SOURCE}"
    )
    parser.add_argument("--minutes", type=float, default=20.0, metavar="M", help="for each (20)")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="runs of each (3)")
    parser.add_argument("--characters", type=int, metavar="N", help="only the first of the file")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), default="both")
    parser.add_argument("--workers", type=int, metavar="N", help="trials at once (one per core)")
    parser.add_argument("--cured", action="store_true", help="keep the peers from waiting in fit")
    parser.add_argument("--only", metavar="NAME,...", help="only these contestants")
    parser.add_argument("--out", type=Path, default=Path("time_to_target"), metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing (as --minutes 0 does)")
    return parser.parse_args()


def _benchmark(given: argparse.Namespace) -> list[str]:
    """Do what was asked; return what failed."""
    names = _names(given.only)
    for name, low in (("minutes", 0), ("seeds", 1), ("characters", 1), ("workers", 1)):
        value = getattr(given, name)
        if value is not None and not low <= value < math.inf:
            raise InputError(f"--{name} is {value:g}: expected a number from {low}")
    file = given.out / "runs.jsonl"
    failed = []
    if not given.report and given.minutes > 0:
        _check_installed(names)
        with tempfile.TemporaryDirectory(prefix="ttt-", ignore_cleanup_errors=True) as scratch:
            failed = _run_missing(given, names, file, Path(scratch))
    runs = read_runs(file)
    if failed and not runs:
        return failed
    if not runs:
        raise InputError(f"{file}: found no runs, expected some; run without --report first")
    print(table(runs))
    plot(runs, given.out / "time_to_target.png")
    print(f"plot: {given.out / 'time_to_target.png'}")
    return failed


def _names(only: str | None) -> list[str]:
    names = [part.strip() for part in only.split(",")] if only is not None else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise InputError(f"--only has '{name}': {one_of(name, list(NAMES))}")
    return [name for name in NAMES if name in names]


def _check_installed(names: Sequence[str]) -> None:
    needed = {package for name in names if name != OURS for package in PEERS[name].packages}
    missing = sorted(name for name in needed if not importlib.util.find_spec(name))
    if missing:
        raise InputError(
            f"not installed: {', '.join(missing)}; expected the packages of the peers, "
            f"which lstm-sweep[benchmark] brings"
        )
    if OURS in names and not own_program().exists():
        raise InputError(f"{own_program()}: no such program, expected {OURS} beside this Python")


def _run_missing(
    given: argparse.Namespace, names: Sequence[str], file: Path, scratch: Path
) -> list[str]:
    data = _data(given, scratch)
    corpus = corpora.load(Source(data=str(data)))
    corpus.check_windows(LONGEST_WINDOW)
    workers = given.workers or len(cores())
    setting = Setting(corpus.digest, given.minutes, given.direction, workers, prior=False)
    runs = read_runs(file)
    _check_same(file, runs, setting)
    file.parent.mkdir(parents=True, exist_ok=True)
    done, failed = {run.key for run in runs}, []
    for seed in range(given.seeds):
        for name in names:
            label = f"{name}{CURED}" if given.cured and name != OURS else name
            if (label, seed) in done:
                continue
            folder = scratch / f"{NAMES.index(name)}-{seed}"
            folder.mkdir()
            log = file.parent / f"{label.replace(', ', '-')}-{seed}.log"
            print(f"{label}, seed {seed}: {given.minutes:g} minutes", flush=True)
            run = contest(name, label, seed, setting, data, folder, log)
            if run is None:
                failed.append(f"{label}, seed {seed} (see {log})")
                continue
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(run), allow_nan=False) + "\n")
    return failed


def _check_same(file: Path, runs: Sequence[Run], setting: Setting) -> None:
    """Refuse to mix runs that cannot be compared."""
    for name, value in asdict(setting).items():
        for run in runs:
            if (other := getattr(run.setting, name)) != value:
                raise InputError(
                    f"{file}: has runs with {name} {other}, expected {value}; try another --out"
                )


def _data(given: argparse.Namespace, scratch: Path) -> Path:
    if given.data is None:
        raise InputError(f"--data is missing: expected a file, or {SOURCE}")
    file = Path(file_of(given.data, scratch)).expanduser().resolve()
    if not file.is_file():
        raise InputError(f"--data {given.data}: expected a file")
    if given.characters is None:
        return file
    try:
        with file.open(encoding="utf-8") as text:
            start = text.read(given.characters)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--data {given.data}: {error}; expected text in UTF-8") from None
    cut = scratch / file.name
    cut.write_text(start, encoding="utf-8")
    return cut


if __name__ == "__main__":
    main()
