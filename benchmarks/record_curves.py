"""Train every config of a grid and record its learning curve, for `replay.py`.

    python -m benchmarks.record_curves [--grid text] [--file FILE] [--workers N]

A recording that was broken off goes on where it stopped. Each config is trained as a trial of a
sweep is: in a fresh worker process on one core, scored on the same validation targets. What an
epoch takes is the CPU time of its worker, which has one thread, so other work on the machine does
not show. The order is shuffled all the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import curves
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.samples import python_docs
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.trial import Ended, Job, RoundDone, Slot, Trial, trial_seed
from lstm_sweep.spaces.space import Space, from_mapping

#: characters of the sample that the grid of texts is trained on
CHARACTERS = 40_000
TARGETS = 1_000
#: configs with learning rates below this are trained last
LAST = 0.0005
GRIDS: dict[str, dict[str, Any]] = {
    "text": {
        "direction": "uni",
        "learning_rate": [1.0, 0.1, 0.01, 0.001, 0.0001],
        "dropout": [0.0, 0.3],
        "layers": [2, 3],
        "layer_size": [32, 64, 128],
        "sequence_length": [20, 50],
        "batch_size": [16, 64],
        "epochs": 27,
    },
}


@dataclass
class _Recording:
    config: Any
    pid: int
    began: float
    #: CPU seconds of the worker by the end of the last epoch
    used: float = 0.0
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def _cpu_seconds(pid: int) -> float | None:
    """CPU time that a process has used, from Linux's proc(5); None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--grid", choices=sorted(GRIDS), default="text")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    space = from_mapping(GRIDS[given.grid], given.grid)
    file = given.file or curves.FOLDER / f"{given.grid}.jsonl"
    with tempfile.TemporaryDirectory() as scratch:
        _record(space, file, Path(scratch), given.workers)


def _record(space: Space, file: Path, folder: Path, workers: int | None) -> None:
    text = "\n".join(python_docs())[:CHARACTERS]
    (folder / "text.txt").write_text(text, encoding="utf-8")
    corpus = corpora.load(Source(data=str(folder / "text.txt")))
    corpus.save(folder / "corpus")
    common = {name: value[0] for name, d in space.items() if len(value := d.values() or []) == 1}
    done = set()
    if file.exists():
        done = {curve.config for curve in curves.read(file)[1]}
    else:
        head = {
            "corpus": {"characters": CHARACTERS, "digest": corpus.digest, "targets": TARGETS},
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "space": space.describe(),
            "common": common,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(head) + "\n", encoding="utf-8")
    points = list(space.points())
    order = np.random.default_rng(0).permutation(len(points))
    waiting = [(int(i), points[i]) for i in order if points[i] not in done]
    waiting.sort(key=lambda item: item[1].learning_rate < LAST)  # they learn nothing in this time
    running: dict[Slot, _Recording] = {}
    with open_engine("local", workers=workers) as engine:
        engine.warm_up()
        while waiting or running:
            for slot in engine.slots:
                if slot not in running and waiting:
                    number, config = waiting.pop(0)
                    trial = Trial(
                        sweep="curves", number=number, config=config, seed=trial_seed(0, number)
                    )
                    before = {process.pid for process in multiprocessing.active_children()}
                    began = time.monotonic()
                    engine.start(
                        Job(
                            trial=trial,
                            slot=slot,
                            training=CorpusTraining(folder / "corpus", TARGETS, 0),
                            folder=folder / str(number),
                        )
                    )
                    [pid] = {p.pid for p in multiprocessing.active_children()} - before
                    running[slot] = _Recording(config, pid or 0, began)
            for slot, message in engine.wait(1.0):
                recording = running[slot]
                if isinstance(message, RoundDone):
                    recording.losses.append(message.metrics["val_loss"])
                    used = _cpu_seconds(recording.pid)
                    if used is None:  # gone already, after its last epoch
                        used = recording.used + message.metrics["round_seconds"]
                    recording.seconds.append(used - recording.used)
                    recording.used = used
                elif isinstance(message, Ended):
                    del running[slot]
                    total = time.monotonic() - recording.began
                    curve = curves.Curve(
                        recording.config,
                        str(message.outcome),
                        tuple(recording.losses),
                        tuple(recording.seconds),
                        0.0 if recording.seconds else total,
                    )
                    with file.open("a", encoding="utf-8") as out:
                        out.write(curves.line_of(curve, common) + "\n")
                    best = min(recording.losses, default=float("nan"))
                    print(f"{len(waiting)} left; {message.outcome} {best:.4f} in {total:.1f} s")


if __name__ == "__main__":
    main()
