"""How soon a search has a good network: this program beside scripts for its peers.

    python -m benchmarks.time_to_target --data tinyshakespeare.txt --out OUT/shakespeare
    python -m benchmarks.time_to_target --data source --out OUT/source

These two are its standard: a megabyte of plays and one of Python's own source code (`grids.py`),
three seeds, 20 minutes for each.

Each contestant searches the same space on the same data and is scored on the same validation
targets, alone on the machine's CPUs, until its time is over; the time counts from the start of its
process. The results go to `runs.jsonl` one by one, so a benchmark that was broken off goes on where
it stopped. `--report` makes the table again from that file.

The peers are scripts in `peers/`. They train by stock `fit`, as their users do; on TensorFlow that
loses time at the end of each epoch. With `--cured` they are run without this loss, under names of
their own, which tells apart what the search gains and what the training gains.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.alone import (
    OURS,
    Event,
    Improving,
    one_line,
    our_events,
    own_program,
    read_lines,
    run_alone,
)
from benchmarks.grids import SOURCE, file_of
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError, one_of
from lstm_sweep.search.engines.hardware import cores

#: what is added to the name of a peer that does not wait for sleeping threads
CURED = ", cured"


class Peer(NamedTuple):
    """A tool to compare with."""

    #: name of its script in `peers/`
    script: str
    #: packages that it needs
    packages: tuple[str, ...]
    #: sampler and pruner, for Optuna
    variant: str | None = None


OPTUNA = "optuna_pruning"
PEERS = {
    "hyperopt": Peer("hyperopt_fmin", ("hyperopt", "mlflow")),
    "keras-tuner": Peer("keras_tuner_hyperband", ("keras_tuner", "tensorboard")),
    "optuna": Peer(OPTUNA, ("optuna",)),
    "optuna-group": Peer(OPTUNA, ("optuna",), "group"),
    "optuna-gp": Peer(OPTUNA, ("optuna", "torch"), "gp"),
    "optuna-cmaes": Peer(OPTUNA, ("optuna", "cmaes"), "cmaes"),
    "optuna-wilcoxon": Peer(OPTUNA, ("optuna",), "wilcoxon"),
    "ray": Peer("ray_tune", ("ray", "hyperopt", "pyarrow")),
}
#: validation targets of all contestants, as `peers/common.py` has them
TARGETS = 10_000
#: the space of all contestants, in this program's words; `peers/common.py` has it for the others
SPACE = {
    "learning_rate": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
    "dropout": {"low": 0.0, "high": 0.8},
    "layers": [2, 3],
    "layer_size": {"low": 32, "high": 256, "step": 16, "scale": "log"},
    "sequence_length": {"low": 20, "high": 160, "step": 10, "scale": "log"},
    "batch_size": [32, 64, 128, 256],
    "epochs": 27,
}
DIRECTIONS = {"uni": ["uni"], "bi": ["bi"], "both": ["uni", "bi"]}
NAMES = (OURS, *PEERS)
LONGEST_WINDOW = 160


@dataclass(frozen=True)
class Setting:
    """What must be the same for results to be compared."""

    #: fingerprint of the corpus
    corpus: str
    minutes: float
    direction: str
    #: trials at once, for contestants that can
    workers: int


@dataclass(frozen=True)
class Run(Improving):
    """What one contestant found with one seed."""

    #: its name, and `, cured` for a peer that does not wait for sleeping threads
    contestant: str
    seed: int
    setting: Setting
    #: the seconds count from the start of its process
    improvements: list[tuple[float, float]]
    best_config: dict[str, Any]
    #: trials begun and ended, as the contestant counts them
    begun: int
    ended: int
    #: different configs among them
    configs: int
    epochs: int

    @property
    def key(self) -> tuple[str, int]:
        """What identifies a run: two with the same key are the same."""
        return self.contestant, self.seed

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of `runs.jsonl`."""
        pairs = [(seconds, loss) for seconds, loss in values["improvements"]]
        setting = Setting(**values["setting"])
        return cls(**{**values, "setting": setting, "improvements": pairs})


def read_runs(file: Path) -> list[Run]:
    """The runs of `runs.jsonl`; none if there is no such file."""
    return read_lines(file, Run.from_dict)


def condensed(label: str, seed: int, setting: Setting, events: Iterable[Event]) -> Run:
    """Keep what improved the best loss in time, and count the rest."""
    best, best_config, improvements = math.inf, {}, []
    begun, ended, configs, epochs = set(), set(), set(), 0
    for event in sorted(events, key=lambda event: event.seconds):
        if event.seconds > 60 * setting.minutes:
            break
        begun.add(event.trial)
        configs.add(json.dumps(event.config, sort_keys=True))
        if event.ended:
            ended.add(event.trial)
            continue
        epochs += event.epoch > 0 and event.epoch == int(event.epoch)
        if event.val_loss is not None and event.val_loss < best:
            best, best_config = event.val_loss, event.config
            improvements.append((round(event.seconds, 3), event.val_loss))
    return Run(
        label, seed, setting, improvements, best_config, len(begun), len(ended), len(configs),
        epochs,
    )  # fmt: skip


def contest(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, log: Path
) -> Run | None:
    """Run a contestant until its time is over.

    None if it ends by itself with an error, or has begun no trial: then something is broken, which
    must not pass for a slow search. One that has trained, but has no loss by the end of its time,
    is slow.
    """
    began = time.time()
    command = _command(name, label, seed, setting, data, folder, began)
    code = run_alone(command, folder, log, began + 60 * setting.minutes)
    events = our_events(folder, began) if name == OURS else events_of_peer(folder / "events.jsonl")
    run = condensed(label, seed, setting, events)
    return None if code or not run.begun else run


def _command(
    name: str, label: str, seed: int, setting: Setting, data: Path, folder: Path, began: float
) -> list[str]:
    if name == OURS:
        space = folder / "space.yaml"
        dimensions = {"direction": DIRECTIONS[setting.direction], **SPACE}
        space.write_text(yaml.safe_dump(dimensions, sort_keys=False), encoding="utf-8")
        return [
            str(own_program()), "launch", "--data", str(data), "--space", str(space),
            "--name", "contest", "--minutes", f"{setting.minutes:g}", "--trials", "100000",
            "--workers", str(setting.workers), "--seed", str(seed), "--targets", str(TARGETS),
            "--targets-seed", str(seed), "--adjacent-targets", "1",
            "--prior", "off",
        ]  # fmt: skip
    peer = PEERS[name]
    command = [
        sys.executable, "-m", f"benchmarks.peers.{peer.script}", "--data", str(data),
        "--seed", str(seed), "--direction", setting.direction, "--workers", str(setting.workers),
        "--folder", str(folder), "--began", f"{began:.3f}",
    ]  # fmt: skip
    command += ["--variant", peer.variant] if peer.variant else []
    return [*command, "--cured"] if label.endswith(CURED) else command


def events_of_peer(file: Path) -> list[Event]:
    """What a peer has written; a last line without an end is dropped."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Event(**json.loads(line)) for line in lines if line.endswith("\n")]


def main() -> None:
    """Run what is missing, then print the table."""
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
    for name, low in (("minutes", 0), ("seeds", 1), ("workers", 1)):
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
    setting = Setting(corpus.digest, given.minutes, given.direction, workers)
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
    return file


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each contestant: ours first, then by name."""
    labels = sorted({run.contestant for run in runs}, key=lambda label: (label != OURS, label))
    return {label: [run for run in runs if run.contestant == label] for label in labels}


def _median_best(runs: Sequence[Run]) -> float:
    return statistics.median(run.best for run in runs)


def table(runs: Sequence[Run]) -> str:
    """Medians over the seeds: how good each contestant is at its end, how fast, how soon.

    The target is the median of the losses that the best peer has at its end; the best peer is the
    one for which that is lowest, run as its users do.
    """
    groups = _grouped(runs)
    peers = [label for label in groups if label != OURS and not label.endswith(CURED)]
    lines = []
    best_peer = min(peers, key=lambda label: _median_best(groups[label])) if peers else None
    target = _median_best(groups[best_peer]) if best_peer else math.inf
    setting = runs[0].setting
    times = {
        label: [run.reached(target) for run in group] if best_peer else []
        for label, group in groups.items()
    }
    ours = statistics.median(times.get(OURS) or [math.inf])
    head = (
        "contestant", "seeds", "final loss", "configs/h", "epochs/h", "time to target", "ratio",
    )  # fmt: skip
    rows = [head]
    for label, group in groups.items():
        hours = setting.minutes / 60
        rows.append(
            (
                label,
                str(len(group)),
                f"{_median_best(group):.4f}" if math.isfinite(_median_best(group)) else "none",
                f"{statistics.median(run.configs for run in group) / hours:.0f}",
                f"{statistics.median(run.epochs for run in group) / hours:.0f}",
                _time_to_target(times[label]),
                _ratio(times[label], ours, 60 * setting.minutes),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    about = f"{setting.minutes:g} minutes each, direction {setting.direction}, "
    lines.append(f"{about}{setting.workers} at once; losses in nats per symbol, medians over seeds")
    if best_peer:
        lines.append(
            f"target: {target:.4f}, the median of what {best_peer} has at its end; ratio: time to "
            f"it, divided by that of {OURS}"
        )
    return "\n".join(lines)


def _time_to_target(times: Sequence[float]) -> str:
    if not times:
        return "-"
    median, reached = statistics.median(times), sum(map(math.isfinite, times))
    share = f" ({reached} of {len(times)})" if reached < len(times) else ""
    return f"{f'{median:.0f} s' if math.isfinite(median) else 'never'}{share}"


def _ratio(times: Sequence[float], ours: float, budget: float) -> str:
    """How many times longer than ours; for one that never gets there, what it is at least."""
    if not times or not math.isfinite(ours):
        return "-"
    median = statistics.median(times)
    return f"{median / ours:.2f}" if math.isfinite(median) else f"over {budget / ours:.2f}"


if __name__ == "__main__":
    main()
