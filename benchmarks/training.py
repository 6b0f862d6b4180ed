"""How fast one network trains, and how fast the whole machine trains many.

    python -m benchmarks.training [--sizes 32 64 128 256 512] [--rounds 3] [--seconds 2]
        [--classes max]

Contestants, side by side in one run, each in processes of its own: this program on one core; one
process of it on each core; plain Keras in one process that may use every core, as its users run it
and with the autotuning of `tf.data` off, and on one core; `torch.nn.LSTM` on one core. They take
turns, so that a slow minute of the machine meets all of them; a figure is the median of the rounds.

With `--classes` networks predict the class of a sequence by that pooling, all sequences as long.
Printed are thousands of symbols per second, ratios, the share of the peak of the matrix product
that this program reaches on a core, and what it takes to begin.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.speed.common import Answer, Task

COLUMNS = ("ours/core", "ours/machine", "fit", "fit cured", "fit/core", "torch/core")


class Process:
    """A contestant's process."""

    def __init__(self, module: str, core: int | None = None, **environment: str) -> None:
        pinned = [] if core is None else [str(core)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.speed.{module}", *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        )

    def ask(self, task: Task) -> None:
        """Begin with a task."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(task)) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Answer:
        """Its answer, once it has one."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a contestant has died with {self._process.wait()}")
        return Answer(**json.loads(line))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--directions", nargs="+", default=["uni", "bi"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 80])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--classes", choices=["max", "mean"], default="", help="pooling")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    contestants = {
        "ours/core": [Process("ours", cores[0])],
        "ours/machine": [Process("ours", core) for core in cores],
        "fit": [Process("plain_keras")],
        "fit cured": [Process("plain_keras", AUTOTUNE="off")],
        "fit/core": [Process("plain_keras", cores[0], AUTOTUNE="off")],
    }
    if importlib.util.find_spec("torch") and not given.classes:
        contestants["torch/core"] = [Process("pytorch", cores[0])]
    cases = itertools.product(given.directions, given.sizes, given.batches, given.lengths)
    print(f"{len(cores)} cores, median of {given.rounds} rounds of {given.seconds:g} s; thousands")
    print("of symbols per second")
    print(f"{'network':<24}" + "".join(f"{name:>13}" for name in COLUMNS), end="")
    print("  per core: fit torch  machine: fit cured   peak  first s")
    for direction, size, batch, length in cases:
        task = Task(direction, size, batch, length, given.seconds, given.classes)
        print(_row(task, _measured(contestants, task, given.rounds)), flush=True)
    for processes in contestants.values():
        for process in processes:
            process.close()


def _measured(
    contestants: dict[str, list[Process]], task: Task, rounds: int
) -> dict[str, list[list[Answer]]]:
    """Answers of each contestant's processes, round by round."""
    answers: dict[str, list[list[Answer]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, processes in contestants.items():
            for process in processes:
                process.ask(task)
            answers[name].append([process.hear() for process in processes])
    return answers


def _row(task: Task, answers: dict[str, list[list[Answer]]]) -> str:
    speeds = {
        name: statistics.median(sum(a.symbols_per_second for a in one) for one in rounds)
        for name, rounds in answers.items()
    }

    def of_ours(field: str) -> float:
        return float(statistics.median(getattr(one[0], field) for one in answers["ours/core"]))

    def ratio(ours: str, theirs: str) -> str:
        return f"{speeds[ours] / speeds[theirs]:.2f}" if theirs in speeds else "-"

    ours = speeds["ours/core"]
    peak = ours / task.symbols * task.operations / of_ours("peak")
    name = f"{task.direction} 2x{task.layer_size} B{task.batch_size} L{task.sequence_length}"
    cells: list[Any] = [
        *(f"{speeds[column] / 1000:.1f}" if column in speeds else "-" for column in COLUMNS),
    ]
    return (
        f"{name:<24}"
        + "".join(f"{cell:>13}" for cell in cells)
        + f"  {ratio('ours/core', 'fit/core'):>13} {ratio('ours/core', 'torch/core'):>5}"
        + f"  {ratio('ours/machine', 'fit'):>12} {ratio('ours/machine', 'fit cured'):>5}"
        + f"  {peak:>5.0%}  {of_ours('first_step'):>7.2f}"
    )


if __name__ == "__main__":
    main()
