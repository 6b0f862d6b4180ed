"""What the contestants share: what is asked, and how a process answers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

#: symbols of the made-up corpus, and its alphabet
SYMBOLS, ALPHABET = 200_000, 65
LAYERS, LEARNING_RATE, CLIP_NORM = 2, 0.001, 5.0
#: of networks that predict classes
CLASSES, EMBEDDING = 6, 32


@dataclass(frozen=True)
class Task:
    """A network to be trained for some seconds."""

    direction: str
    layer_size: int
    batch_size: int
    sequence_length: int
    seconds: float
    #: how a network that predicts classes pools its steps; empty: it predicts symbols
    pooling: str = ""

    @property
    def symbols(self) -> int:
        """Symbols of a training step."""
        return self.batch_size * self.sequence_length

    @property
    def operations(self) -> int:
        """Floating-point operations of a step in matrix products of its LSTM layers.

        Forward, and twice as many backward; the product with one-hot symbols is not needed.
        """
        size, ways = self.layer_size, 2 if self.direction == "bi" else 1
        rows = size + (LAYERS - 1) * (ways * size + size)
        return 3 * 2 * self.symbols * ways * 4 * size * rows


@dataclass(frozen=True)
class Answer:
    """What a contestant has measured."""

    symbols_per_second: float
    #: seconds until the first step was done, the network's making included
    first_step: float = 0.0
    #: operations per second of a product of two large matrices
    peak: float = 0.0


def pin() -> None:
    """Keep to the core that the command line names, if any; before a library makes threads."""
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})


def answer(measure: Callable[[Task], Answer]) -> None:
    """Read tasks from standard input, one a line, and write an answer to each."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    for line in sys.stdin:
        out.write(json.dumps(asdict(measure(Task(**json.loads(line))))) + "\n")
        out.flush()


def rate(step: Callable[[int], None], task: Task) -> float:
    """Symbols per second of `step(n)`, which takes n training steps, over the task's seconds."""
    steps, done, begin = 1, 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < task.seconds:
        step(steps)
        done += steps
        fitting = 0.25 * done / (time.perf_counter() - begin)
        steps = max(1, min(int(fitting), 4 * steps))
    return done * task.symbols / spent if spent else 0.0
