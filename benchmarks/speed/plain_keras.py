"""Plain Keras: `fit` on arrays as users write it, or with the autotuning of `tf.data` off."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from benchmarks.peers import common as peers
from benchmarks.speed.common import (
    ALPHABET,
    CLASSES,
    EMBEDDING,
    LAYERS,
    LEARNING_RATE,
    Answer,
    Task,
    answer,
    pin,
)

pin()
CURED = os.environ.get("AUTOTUNE") == "off"


def measure(task: Task) -> Answer:
    """Train for epochs of the task's seconds: two, of which the second counts."""
    import keras
    import tensorflow as tf

    config = {
        "direction": task.direction,
        "layers": LAYERS,
        "layer_size": task.layer_size,
        "sequence_length": task.sequence_length,
        "batch_size": task.batch_size,
        "dropout": 0.0,
        "learning_rate": LEARNING_RATE,
    }
    begin = time.perf_counter()
    classes = task.pooling != ""
    model = classifier(config, task.pooling) if classes else peers.build(config, ALPHABET)

    def fit(steps: int) -> float:
        rng = np.random.default_rng(0)
        shape = (steps * task.batch_size, task.sequence_length)
        inputs = rng.integers(2, ALPHABET, shape).astype("int32")
        targets = inputs if task.direction == "uni" and not classes else inputs[:, 0]
        targets = targets % CLASSES if classes else targets
        began = time.perf_counter()
        if CURED:
            options = tf.data.Options()
            options.autotune.enabled = False
            data = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(task.batch_size)
            model.fit(data.with_options(options), epochs=1, verbose=0)
        else:
            model.fit(inputs, targets, batch_size=task.batch_size, epochs=1, verbose=0)
        return time.perf_counter() - began

    fit(1)
    first = time.perf_counter() - begin
    steps = max(2, int(8 * 0.5 / fit(8)))
    steps = max(2, int(steps * task.seconds / fit(steps)))
    speed = steps * task.symbols / fit(steps)
    keras.utils.clear_session()
    return Answer(speed, first)


def classifier(config: dict[str, Any], pooling: str) -> Any:
    """A network that predicts classes, without a mask, as it is written for sequences of a length.

    `pooling` is `max` or `mean`.
    """
    import keras
    from keras import layers

    stack = [layers.Embedding(ALPHABET, EMBEDDING)]
    for _ in range(config["layers"]):
        lstm = layers.LSTM(config["layer_size"], return_sequences=True)
        stack.append(layers.Bidirectional(lstm) if config["direction"] == "bi" else lstm)
    pooled = {"max": layers.GlobalMaxPooling1D, "mean": layers.GlobalAveragePooling1D}[pooling]()
    model = keras.Sequential([*stack, pooled, layers.Dense(CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.RMSprop(LEARNING_RATE, clipnorm=peers.CLIP_NORM), loss)
    return model


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    answer(measure)
