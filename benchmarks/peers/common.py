"""What all peers share: data, space, network, training by stock `fit`, and the events they write.

The corpus, its split, the windows and the scoring targets are the project's own, so that losses can
be compared; the network and its training are plain Keras, as one finds it in tutorials.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import (
    Indices,
    scoring_targets,
    scoring_windows,
)
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import log_softmax, score

#: one config: the values of the fields below, by name
Config = Mapping[str, Any]

LEARNING_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: lowest and highest
DROPOUT = (0.0, 0.8)
LAYERS = (2, 3)
#: lowest, highest, step; on a logarithmic scale
LAYER_SIZE = (32, 256, 16)
SEQUENCE_LENGTH = (20, 160, 10)
BATCH_SIZES = (32, 64, 128, 256)
EPOCHS = 27

#: validation targets, at most; the same for this program and for its peers
TARGETS = 10_000
#: windows in a step of `predict`
ROWS = 512
CLIP_NORM = 5.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a peer is to search, and where it leaves its traces."""

    data: str
    seed: int
    #: values of the field of this name
    directions: tuple[str, ...]
    #: trials at once, for peers that can
    workers: int
    #: folder for everything that the peer writes
    folder: Path
    #: when the peer's process was started, in seconds since 1970
    began: float
    #: which of the peer's methods, if it has several; empty: what its documentation begins with
    variant: str = ""


def main(search: Callable[[Task], None]) -> None:
    """Read the command line and search until killed; a wrong argument is one line and code 2."""
    parser = argparse.ArgumentParser(description=search.__doc__)
    parser.add_argument("--data", required=True, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--direction", choices=("uni", "bi", "both"), default="both")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--began", type=float, default=time.time(), metavar="SECONDS")
    parser.add_argument("--variant", default="", metavar="NAME", help="which of its methods")
    given = parser.parse_args()
    direction = vars(given).pop("direction")
    directions = ("uni", "bi") if direction == "both" else (direction,)
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        search(Task(**{**vars(given), "folder": folder, "directions": directions}))
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        sys.exit(2)


def prepare(seed: int, threads: int | None = None) -> None:
    """Seed Keras and NumPy; `threads` limits those of TensorFlow, where processes share cores.

    No tutorial of a peer does the latter. It is done here in their favour: without it, two
    processes on two cores would run four busy threads.
    """
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(seed)


def stepped(number: float, ends: tuple[int, int, int]) -> int:
    """The nearest multiple of a dimension's step, for peers that have no steps on a log scale."""
    low, high, step = ends
    return min(max(low + step * round((number - low) / step), low), high)


@dataclass(frozen=True)
class Data:
    """The corpus as arrays for `fit` and `predict`."""

    task: Task
    corpus: Corpus
    #: validation symbols that are scored
    targets: Indices

    @classmethod
    def load(cls, task: Task) -> Data:
        """Load the corpus and choose the scoring targets as a sweep of the same seed does."""
        corpus = corpora.load(Source(data=task.data))
        return cls(task, corpus, scoring_targets(corpus.validation, TARGETS, task.seed))

    def training(
        self, config: Config
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Windows, expected symbols and their weights, all of an epoch.

        A sweep shifts its windows from epoch to epoch; `fit` is given the same arrays in each, as
        its users do, which saves it the work of cutting windows.
        """
        full = TrialConfig(**config, offset="fixed", epochs=EPOCHS)
        epoch = training_epoch(self.corpus.train, full, self.task.seed, 1)
        parts = [(b.inputs, b.targets, b.weights) for b in epoch.batches()]
        inputs, targets, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        real = weights.reshape(len(weights), -1).any(axis=1)  # others fill up the last batch
        return inputs[real], targets[real], weights[real]

    def scoring(self, length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The windows before all scoring targets, and the targets themselves."""
        blocks = scoring_windows(self.corpus.validation, self.targets, length, ROWS)
        windows, true = zip(*blocks, strict=True)
        return np.concatenate(windows), np.concatenate(true)


def build(config: Config, alphabet_size: int) -> Any:
    """The compiled network of a config: a stack of LSTM layers on one-hot symbols.

    A unidirectional one predicts at each step of its window, a bidirectional one only at its end.
    """
    many_to_many = config["direction"] == "uni"
    symbols = keras.Input((config["sequence_length"],), dtype="int32")
    features = ops.one_hot(symbols, alphabet_size)
    for number in range(1, config["layers"] + 1):
        lstm = layers.LSTM(
            config["layer_size"], return_sequences=many_to_many or number < config["layers"]
        )
        features = (lstm if many_to_many else layers.Bidirectional(lstm))(features)
        features = layers.Dropout(config["dropout"], name=f"dropout_{number}")(features)
    model = keras.Model(symbols, layers.Dense(alphabet_size, name="logits")(features))
    model.compile(
        optimizer=keras.optimizers.RMSprop(config["learning_rate"], clipnorm=CLIP_NORM),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    return model


def next_symbol(model: Any, config: Config) -> Any:
    """A network with the same weights that predicts only the symbol after its window."""
    if config["direction"] == "bi":
        return model
    features = model.get_layer(f"dropout_{config['layers']}").output
    return keras.Model(model.input, model.get_layer("logits")(features[:, -1]))


def train(
    model: Any,
    config: Config,
    data: Data,
    trial: str | int,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> list[float]:
    """Train by `fit`, score after each epoch, write the events; return the validation losses.

    Each epoch's loss is in the logs as `val_score` when `callbacks` see them. There is no
    `validation_data`: a unidirectional network would be scored at each step of a window, not at its
    end, and a bidirectional one twice. `options` go to `fit`.
    """
    task = data.task
    network = next_symbol(model, config)
    windows, true = data.scoring(config["sequence_length"])
    with _events(task, trial, config) as write:

        def score_epoch(epoch: int, logs: dict[str, float]) -> None:
            logits = network.predict(windows, batch_size=ROWS, verbose=0)
            logs["val_score"] = score([(log_softmax(logits), true)])["loss"]
            write(epoch=epoch + 1, val_loss=logs["val_score"])

        watching = [
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.LambdaCallback(on_epoch_end=score_epoch),
            *callbacks,
        ]
        options = {"epochs": EPOCHS, "verbose": 0, **options, "callbacks": watching}
        inputs, targets, weights = data.training(config)
        history = model.fit(
            inputs, targets, sample_weight=weights, batch_size=config["batch_size"], **options
        )
    losses: list[float] = history.history["val_score"]
    return losses


def best(losses: list[float]) -> float:
    """The lowest loss of a trial, NaN if its training broke down."""
    return min(losses) if all(map(math.isfinite, losses)) else math.nan


@contextmanager
def _events(task: Task, trial: str | int, config: Config) -> Iterator[Callable[..., None]]:
    """Say when a trial begins and ends; yield what says that an epoch is done.

    An event is a line of JSON. Epoch 0 is the beginning, `ended` the end, however it came.
    """
    file = os.open(task.folder / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(epoch: int, val_loss: float | None = None, **more: Any) -> None:
        known = val_loss if val_loss is not None and math.isfinite(val_loss) else None
        event = {
            "seconds": round(time.time() - task.began, 3),
            "trial": trial,
            "epoch": epoch,
            "val_loss": known,
            "config": dict(config),
            **more,
        }
        os.write(file, f"{json.dumps(event)}\n".encode())  # one call, so that lines stay whole
        last.append(epoch)

    last: list[int] = []
    try:
        write(0)
        yield write
    finally:
        write(last[-1], ended=True)
        os.close(file)
