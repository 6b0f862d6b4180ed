"""What a worker of this program does within an epoch."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.speed.common import (
    ALPHABET,
    LAYERS,
    LEARNING_RATE,
    SYMBOLS,
    Answer,
    Task,
    answer,
    pin,
    rate,
)

pin()

from lstm_sweep.models import backend  # noqa: E402
from lstm_sweep.models.config import TrialConfig  # noqa: E402
from lstm_sweep.models.data.corpus import Split  # noqa: E402
from lstm_sweep.models.data.streams import training_epoch  # noqa: E402
from lstm_sweep.models.network import lstm, program  # noqa: E402

#: rows and columns of the matrices whose product has the peak; no power of two, which is slower
PEAK_SIZE = 1040


def measure(task: Task) -> Answer:
    """Train, then score."""
    config = TrialConfig(
        direction=task.direction,
        layers=LAYERS,
        layer_size=task.layer_size,
        batch_size=task.batch_size,
        sequence_length=task.sequence_length,
        learning_rate=LEARNING_RATE,
    )
    codes = np.random.default_rng(0).integers(2, ALPHABET, SYMBOLS).astype(np.uint8)
    windows = training_epoch(Split(codes, np.zeros(1, np.int64)), config, 0, 1)
    begin = time.perf_counter()
    networks = lstm.build(config, ALPHABET)
    lstm.compile_for_training(networks.trained, config)
    trial = program.program_of(networks, config, 0)
    place = 0

    def steps(count: int) -> None:
        nonlocal place
        count = min(count, windows.steps)
        place = place if place + count <= windows.steps else 0
        trial.train(windows.select(place, place + count))
        place += count

    steps(1)
    first = time.perf_counter() - begin
    speed = rate(steps, task)
    return Answer(speed, first, _peak())


def _peak() -> float:
    import tensorflow as tf

    matrix = tf.random.normal((PEAK_SIZE, PEAK_SIZE))
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    product()
    best = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - begin)
    return 2 * PEAK_SIZE**3 / best


if __name__ == "__main__":
    backend.environment(None)
    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()
    answer(measure)
