"""How soon a search has a good network: this program beside scripts for its peers.

    python -m benchmarks.time_to_target --data tinyshakespeare.txt --out OUT/shakespeare
    python -m benchmarks.time_to_target --data source --out OUT/source
    python -m benchmarks.time_to_target --data trec.tsv --classes 0 1 --out OUT/trec

The first two are its standard: a megabyte of plays and one of Python's own source code
(`curves.py`), three seeds, 20 minutes for each.

Each contestant searches the same space on the same data and is scored on the same validation
targets, alone on the machine's CPUs, until its time is over; the time counts from the start of its
process. The results go to `runs.jsonl` one by one, so a benchmark that was broken off goes on where
it stopped. `--report` makes the table again from that file.

The peers are scripts in `peers/`. They train by stock `fit`, as their users do; on TensorFlow that
loses time at the end of each epoch, which `benchmarks.training` measures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.alone import (
    OURS,
    Improving,
    Kept,
    above_zero,
    append,
    check_same,
    laid_out,
    one_line,
    own_program,
    read_lines,
    run_alone,
    shown,
)
from benchmarks.curves import SOURCE, file_of
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError, one_of
from lstm_sweep.search.engines.hardware import cores


class Peer(NamedTuple):
    """A tool to compare with."""

    #: name of its script in `peers/`
    script: str
    #: sampler and pruner, for Optuna
    variant: str = ""


OPTUNA = "optuna_pruning"
PEERS = {
    "hyperopt": Peer("hyperopt_fmin"),
    "keras-tuner": Peer("keras_tuner_hyperband"),
    "optuna": Peer(OPTUNA),
    **{f"optuna-{name}": Peer(OPTUNA, name) for name in ("group", "gp", "cmaes", "wilcoxon")},
    "ray": Peer("ray_tune"),
}
NAMES = (OURS, *PEERS)
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
LONGEST_WINDOW = 160


@dataclass(frozen=True)
class Setting:
    """What must be the same for results to be compared."""

    #: fingerprint of the data
    corpus: str
    minutes: float
    direction: str
    #: trials at once, for contestants that can
    workers: int
    #: columns of classes and of texts; empty: symbols are predicted
    columns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """What a peer has done by a time, in seconds since its start."""

    seconds: float
    trial: str
    #: epochs that are trained; 0: the trial begins
    epoch: float
    #: None if there is none, or if it is not a number
    val_loss: float | None
    config: dict[str, Any]
    ended: bool = False


@dataclass(frozen=True)
class Run(Improving):
    """What one contestant found with one seed."""

    contestant: str
    seed: int
    setting: Setting
    #: the seconds count from the start of its process
    improvements: list[tuple[float, float]]
    #: different configs that it has begun, and epochs that it has trained
    configs: int
    epochs: int

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of `runs.jsonl`."""
        pairs = [(seconds, loss) for seconds, loss in values["improvements"]]
        setting = Setting(**values["setting"])
        return cls(**{**values, "setting": setting, "improvements": pairs})


def condensed(name: str, seed: int, setting: Setting, events: Iterable[Event]) -> Run:
    """Of a peer: keep what improved the best loss in time, and count the rest."""
    best, improvements, configs, epochs = math.inf, [], set(), 0
    for event in sorted(events, key=lambda event: event.seconds):
        if event.seconds > 60 * setting.minutes:
            break
        configs.add(json.dumps(event.config, sort_keys=True))
        if event.ended:
            continue
        epochs += event.epoch > 0
        if event.val_loss is not None and event.val_loss < best:
            best = event.val_loss
            improvements.append((round(event.seconds, 3), event.val_loss))
    return Run(name, seed, setting, improvements, len(configs), epochs)


def our_run(seed: int, setting: Setting, folder: Path, began: float) -> Run:
    """The same of this program, by what its sweep has left in the store of its folder."""
    import lstm_sweep

    improvements = Kept(folder).improvements(began, 60 * setting.minutes)
    trials = lstm_sweep.sweep("contest", store=folder).trials()
    tried = int((trials["phase"] != "confirm").sum())
    return Run(OURS, seed, setting, improvements, tried, round(trials["epochs"].sum()))


def contest(
    name: str, seed: int, setting: Setting, data: Path, folder: Path, log: Path
) -> Run | None:
    """Run a contestant until its time is over.

    None if it ends by itself with an error, or has begun no trial: then something is broken, which
    must not pass for a slow search. One that has trained, but has no loss by the end of its time,
    is slow.
    """
    began = time.time()
    command = _command(name, seed, setting, data, folder, began)
    if run_alone(command, folder, log, began + 60 * setting.minutes):
        return None
    if name == OURS:
        return our_run(seed, setting, folder, began)
    file = folder / "events.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    # a last line without an end is dropped
    events = [Event(**json.loads(line)) for line in lines if line.endswith("\n")]
    run = condensed(name, seed, setting, events)
    return run if run.configs else None


def _command(
    name: str, seed: int, setting: Setting, data: Path, folder: Path, began: float
) -> list[str]:
    if name == OURS:
        ours = [
            str(own_program()), "launch", "--data", str(data), "--name", "contest",
            "--minutes", f"{setting.minutes:g}", "--trials", "100000", "--seed", str(seed),
            "--workers", str(setting.workers), "--prior", "off",
        ]  # fmt: skip
        if columns := setting.columns:
            words = ("--symbols", "words", "--lower-case", "on")
            return [*ours, "--label", columns[0], "--text", columns[1], *words]
        space = folder / "space.yaml"
        dimensions = {"direction": DIRECTIONS[setting.direction], **SPACE}
        space.write_text(yaml.safe_dump(dimensions, sort_keys=False), encoding="utf-8")
        return [
            *ours, "--space", str(space), "--targets", str(TARGETS), "--targets-seed", str(seed),
            "--adjacent-targets", "1",
        ]  # fmt: skip
    peer = PEERS[name]
    return [
        sys.executable, "-m", f"benchmarks.peers.{peer.script}", "--data", str(data),
        "--seed", str(seed), "--direction", setting.direction, "--workers", str(setting.workers),
        "--folder", str(folder), "--began", f"{began:.3f}", "--variant", peer.variant,
        *(("--classes", *setting.columns) if setting.columns else ()),
    ]  # fmt: skip


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=f"contestants: {', '.join(NAMES)}",
    )
    parser.add_argument("--data", metavar="FILE", help=f"a text, a file of event ids, or {SOURCE}")
    parser.add_argument("--classes", nargs=2, default=[], metavar=("LABEL", "TEXT"), help="columns")
    parser.add_argument("--minutes", type=above_zero, default=20.0, help="for each (20)")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="runs of each (3)")
    parser.add_argument("--direction", choices=tuple(DIRECTIONS), default="both")
    parser.add_argument("--workers", type=int, metavar="N", help="trials at once (one per core)")
    parser.add_argument("--only", metavar="NAME,...", help="only these contestants")
    parser.add_argument("--out", type=Path, default=Path("time_to_target"), metavar="DIR")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    failed: list[str] = []
    with one_line("time_to_target"):
        file = given.out / "runs.jsonl"
        if not given.report:
            with tempfile.TemporaryDirectory(prefix="ttt-", ignore_cleanup_errors=True) as scratch:
                failed = _run_missing(given, file, Path(scratch))
        if runs := read_lines(file, Run.from_dict):
            print(table(runs))
        elif not failed:
            raise InputError(f"{file}: found no runs, expected some; run without --report first")
    if failed:
        print(f"time_to_target: no result of {'; '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def _names(only: str | None) -> list[str]:
    names = [part.strip() for part in only.split(",")] if only is not None else list(NAMES)
    for name in names:
        if name not in NAMES:
            raise InputError(f"--only has '{name}': {one_of(name, list(NAMES))}")
    return [name for name in NAMES if name in names]


def _run_missing(given: argparse.Namespace, file: Path, scratch: Path) -> list[str]:
    """Run what is missing; return what failed."""
    names = _names(given.only)
    data = Path(file_of(given.data or "", scratch)).expanduser().resolve()
    if not data.is_file():
        raise InputError(f"--data {given.data}: expected a file, or {SOURCE}")
    if not given.classes:
        corpora.load(Source(data=str(data))).check_windows(LONGEST_WINDOW)
    digest = hashlib.blake2b(data.read_bytes(), digest_size=16).hexdigest()
    workers = given.workers or len(cores())
    setting = Setting(digest, given.minutes, given.direction, workers, given.classes)
    runs = read_lines(file, Run.from_dict)
    check_same(file, (run.setting for run in runs), **asdict(setting))
    file.parent.mkdir(parents=True, exist_ok=True)
    done, failed = {(run.contestant, run.seed) for run in runs}, []
    for seed in range(given.seeds):
        for name in names:
            if (name, seed) in done:
                continue
            folder = scratch / f"{NAMES.index(name)}-{seed}"
            folder.mkdir()
            log = file.parent / f"{name}-{seed}.log"
            print(f"{name}, seed {seed}: {given.minutes:g} minutes", flush=True)
            if run := contest(name, seed, setting, data, folder, log):
                append(file, run)
            else:
                failed.append(f"{name}, seed {seed} (see {log})")
    return failed


def table(runs: Sequence[Run]) -> str:
    """Medians over the seeds: how good each contestant is at its end, how fast, how soon.

    The target is the median of the losses that the best peer has at its end; the best peer is the
    one for which that is lowest.
    """
    labels = sorted({run.contestant for run in runs}, key=lambda label: (label != OURS, label))
    groups = {label: [run for run in runs if run.contestant == label] for label in labels}
    finals = {label: statistics.median(run.best for run in groups[label]) for label in labels}
    peers = [label for label in labels if label != OURS]
    best_peer = min(peers, key=lambda label: finals[label], default=None)
    target = finals[best_peer] if best_peer else math.inf
    times = {
        label: statistics.median(run.reached(target) for run in groups[label]) for label in labels
    }
    setting, ours = runs[0].setting, times.get(OURS, math.inf)
    rows = [["contestant", "seeds", "final loss", "configs", "epochs", "s to target", "ratio"]]
    for label, group in groups.items():
        ratio, at_least = times[label] / ours, 60 * setting.minutes / ours
        configs, epochs = (
            f"{statistics.median(getattr(run, of) for run in group):.0f}"
            for of in ("configs", "epochs")
        )
        shown_ratio = f"{ratio:.2f}" if math.isfinite(ratio) else f"over {at_least:.2f}"
        rows.append([label, str(len(group)), shown(finals[label], ".4f"), configs, epochs,
                     shown(times[label], ".0f"), shown_ratio])  # fmt: skip
    about = f"{setting.minutes:g} minutes each, direction {setting.direction}, {setting.workers} "
    about += "at once; losses in nats, medians over seeds\n"
    about += f"target: {target:.4f}, what {best_peer} has at its end; ratio: time to it, by {OURS}"
    return f"{laid_out(rows)}\n{about}"


if __name__ == "__main__":
    main()
