"""What a worker of this program does within an epoch."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.speed.common import (
    ALPHABET,
    CLASSES,
    EMBEDDING,
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
from lstm_sweep.models.config import ClassConfig, TrialConfig  # noqa: E402
from lstm_sweep.models.data.corpus import Split  # noqa: E402
from lstm_sweep.models.data.labelled import LabelledSplit  # noqa: E402
from lstm_sweep.models.data.streams import training_epoch  # noqa: E402
from lstm_sweep.models.data.windows import ClassEpoch  # noqa: E402
from lstm_sweep.models.network import classifier, lstm, program  # noqa: E402

#: rows and columns of the matrices whose product has the peak; no power of two, which is slower
PEAK_SIZE = 1040


def measure(task: Task) -> Answer:
    """Train, then score."""
    common: dict[str, Any] = {
        "direction": task.direction,
        "layers": LAYERS,
        "layer_size": task.layer_size,
        "batch_size": task.batch_size,
        "sequence_length": task.sequence_length,
        "learning_rate": LEARNING_RATE,
    }
    codes = np.random.default_rng(0).integers(2, ALPHABET, SYMBOLS).astype(np.uint8)
    trial: Any
    windows: Any
    begin = time.perf_counter()
    if task.pooling:  # of sequences that are equally long: what it gains from others is not counted
        starts = np.arange(0, SYMBOLS, task.sequence_length)
        split = LabelledSplit(Split(codes, starts), (starts % CLASSES).astype(np.int32))
        of_classes = ClassConfig(**common, pooling=task.pooling, embedding_size=EMBEDDING)
        windows = ClassEpoch(split, CLASSES, of_classes, np.random.default_rng(0))
        networks = classifier.build_classifier(of_classes, ALPHABET, CLASSES)
        lstm.compile_for_training(networks.trained, of_classes)
        trial = program.program_of(networks, of_classes, 0)
    else:
        config = TrialConfig(**common)
        windows = training_epoch(Split(codes, np.zeros(1, np.int64)), config, 0, 1)
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
