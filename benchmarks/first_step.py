"""What a trial costs before its second training step, in a fresh worker process.

    python -m benchmarks.first_step [--layer-size 128] [--rounds 6]

For each direction: seconds to make the network, and to its first step and first scoring, with a
form that no trial had before and then with one that is known (`models/fast/graph_cache.py`), beside
those of a second step and scoring. Workers are forked like those of a sweep and pinned to one core.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import TrainingWindows

ALPHABET, SYMBOLS, SCORED = 65, 100_000, 256
FIGURES = ("network", "first step", "second step", "first scoring", "second scoring")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layer-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lstm_sweep.search.engines.preload"])
    print(
        f"{'median (least) seconds':<26}" + "".join(f"{name:>18}" for name in FIGURES), flush=True
    )
    for direction in ("uni", "bi"):
        config = TrialConfig(
            direction=direction, layers=2, layer_size=given.layer_size, dropout=0.2,
            sequence_length=40, batch_size=64,
        )  # fmt: skip
        found: dict[str, list[list[float]]] = {"new": [], "known": []}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(given.rounds):
                shutil.rmtree(folder)
                for times in found.values():
                    ours, theirs = context.Pipe()
                    arguments = (config, Path(folder), theirs)
                    worker = context.Process(target=_trial, args=arguments)
                    worker.start()
                    times.append(ours.recv())
                    worker.join()
        for name, times in found.items():
            figures = zip(*times, strict=True)
            columns = [f"{statistics.median(one):.2f} ({min(one):.2f})" for one in figures]
            network = f"{direction} 2x{given.layer_size}, {name} form"
            print(f"{network:<26}" + "".join(f"{one:>18}" for one in columns), flush=True)


def _trial(config: TrialConfig, graphs: Path, connection: Connection) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    backend.environment(None)
    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()
    codes = np.random.default_rng(0).integers(2, ALPHABET, SYMBOLS).astype(np.uint8)
    windows = TrainingWindows(Split(codes, np.zeros(1, np.int64)), config, 0).epoch(1)
    scored = np.zeros((SCORED, config.sequence_length), np.int32)
    marks = [time.perf_counter()]
    networks = lstm.build(config, ALPHABET)
    lstm.compile_for_training(networks.trained, config)
    made = program.program_of(networks, config, 0, graphs)
    marks.append(time.perf_counter())
    for number in range(2):
        made.train(windows.select(number, number + 1))
        marks.append(time.perf_counter())
    for _ in range(2):
        made.logits(scored)
        marks.append(time.perf_counter())
    connection.send([after - before for before, after in itertools.pairwise(marks)])


if __name__ == "__main__":
    main()
