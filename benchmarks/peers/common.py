"""What all peers share: data, space, network, training by stock `fit`, and the events they write.

The corpus, its split, the windows and the scoring targets are the project's own, so that losses can
be compared; the network and its training are plain Keras, as one finds it in tutorials. With labels
the networks predict the class of a sequence, else the symbol after a window.
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
from typing import Any, Self

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.labelled import LabelledCorpus, load_labelled
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


@dataclass(frozen=True)
class Ends:
    """A dimension of numbers; those with a step are whole, and on a logarithmic scale."""

    low: Any
    high: Any
    step: int = 0

    def stepped(self, number: float) -> int:
        """The nearest multiple of the step, for peers that have none on a logarithmic scale."""
        steps = round((number - self.low) / self.step)
        return int(min(max(self.low + self.step * steps, self.low), self.high))


#: dimensions by the name of their field: values to choose from, or numbers
Space = Mapping[str, tuple[Any, ...] | Ends]
_Draw = Callable[[str, Any], Any]
SPACE: Space = {
    "learning_rate": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "dropout": Ends(0.0, 0.8),
    "layers": (2, 3),
    "layer_size": Ends(32, 256, 16),
    "sequence_length": Ends(20, 160, 10),
    "batch_size": (32, 64, 128, 256),
}
#: the program's own space for classes, whose networks here read whole sequences
CLASS_SPACE: Space = {
    "learning_rate": (1e-4, 1e-3, 1e-2, 1e-1),
    "dropout": Ends(0.0, 0.7),
    "layers": (1, 2),
    "layer_size": Ends(16, 256, 16),
    "embedding_size": (16, 32, 64, 128),
    "pooling": ("last", "mean", "max", "attention"),
    "class_weights": ("none", "sqrt"),
    "batch_size": (16, 32, 64),
}
EPOCHS = 27


def drawn(space: Space, choice: _Draw, real: _Draw, whole: _Draw) -> dict[str, Any]:
    """What a peer's functions make of each dimension's name and values."""
    return {
        name: (choice if isinstance(of, tuple) else whole if of.step else real)(name, of)
        for name, of in space.items()
    }


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
    #: columns of classes and of texts; empty: symbols are predicted
    classes: tuple[str, ...] = ()

    @property
    def space(self) -> Space:
        return {"direction": self.directions, **(CLASS_SPACE if self.classes else SPACE)}


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
    parser.add_argument("--classes", nargs=2, default=(), metavar=("LABEL", "TEXT"))
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


@dataclass(frozen=True)
class Data:
    """The corpus as arrays for `fit` and `predict`, and the networks for them."""

    task: Task
    corpus: Corpus
    #: validation symbols that are scored
    targets: Indices

    @classmethod
    def load(cls, task: Task) -> Data | ClassData:
        """Load the corpus and choose the scoring targets as a sweep of the same seed does."""
        if task.classes:
            return ClassData.of(task)
        corpus = corpora.load(Source(data=task.data))
        return cls(task, corpus, scoring_targets(corpus.validation, TARGETS, task.seed))

    def build(self, config: Config) -> Any:
        return build(config, len(self.corpus.alphabet))

    def training(self, config: Config) -> dict[str, Any]:
        """Windows, expected symbols and their weights, all of an epoch.

        A sweep shifts its windows from epoch to epoch; `fit` is given the same arrays in each, as
        its users do, which saves it the work of cutting windows.
        """
        full = TrialConfig(**config, offset="fixed", epochs=EPOCHS)
        epoch = training_epoch(self.corpus.train, full, self.task.seed, 1)
        parts = [(b.inputs, b.targets, b.weights) for b in epoch.batches()]
        inputs, targets, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
        real = weights.reshape(len(weights), -1).any(axis=1)  # others fill up the last batch
        return {"x": inputs[real], "y": targets[real], "sample_weight": weights[real]}

    def scored(self, model: Any, config: Config) -> Callable[[], float]:
        """Scores the symbol after each window, with the weights that the model then has."""
        if config["direction"] == "uni":
            features = model.get_layer(f"dropout_{config['layers']}").output
            model = keras.Model(model.input, model.get_layer("logits")(features[:, -1]))
        length = config["sequence_length"]
        blocks = scoring_windows(self.corpus.validation, self.targets, length, ROWS)
        windows, true = map(np.concatenate, zip(*blocks, strict=True))
        return lambda: _loss(model, windows, true)


@dataclass(frozen=True)
class ClassData:
    """Labelled sequences as arrays, padded on the right by zeros, and the networks for them."""

    task: Task
    corpus: LabelledCorpus
    #: codes, `<int32>[sequences, longest]`, and classes, `<int32>[sequences]`, of both splits
    splits: Mapping[str, tuple[NDArray[np.int32], NDArray[np.int32]]]

    @classmethod
    def of(cls, task: Task) -> Self:
        label, text = task.classes
        given = Source(data=task.data, label=label, text=text, symbols="words", lower_case=True)
        corpus = load_labelled(given)
        splits = {}
        for name in ("train", "validation"):
            split = corpus.splits()[name]
            parts = np.split(np.asarray(split.sequences.codes) + 1, split.sequences.starts[1:])
            padded = keras.utils.pad_sequences(parts, padding="post")
            splits[name] = padded, np.asarray(split.labels)
        return cls(task, corpus, splits)

    def build(self, config: Config) -> Any:
        """The compiled network of a config: an embedding, LSTM layers, a pooling, and classes."""
        symbols = keras.Input((None,), dtype="int32")
        rows = len(self.corpus.alphabet) + 1
        features = layers.Embedding(rows, config["embedding_size"], mask_zero=True)(symbols)
        for number in range(1, config["layers"] + 1):
            in_time = config["pooling"] != "last" or number < config["layers"]
            features = layers.Dropout(config["dropout"])(_lstm(config, in_time)(features))
        pools = {"mean": layers.GlobalAveragePooling1D, "max": layers.GlobalMaxPooling1D}
        if pool := pools.get(config["pooling"]):
            features = pool()(features)
        elif config["pooling"] == "attention":
            padding = ops.cast(ops.equal(symbols, 0), "float32")[:, :, None]
            scores = layers.Dense(1, use_bias=False)(features) - 1e9 * padding
            features = ops.sum(ops.softmax(scores, axis=1) * features, axis=1)
        logits = layers.Dense(len(self.corpus.classes))(features)
        return _compiled(keras.Model(symbols, logits), config)

    def training(self, config: Config) -> dict[str, Any]:
        inputs, labels = self.splits["train"]
        counts = np.bincount(labels, minlength=len(self.corpus.classes))
        weights = 1.0 if config["class_weights"] == "none" else np.sqrt(counts.mean() / counts)
        return {"x": inputs, "y": labels, "sample_weight": (weights * np.ones(len(counts)))[labels]}

    def scored(self, model: Any, config: Config) -> Callable[[], float]:
        return lambda: _loss(model, *self.splits["validation"])


def build(config: Config, alphabet_size: int) -> Any:
    """The compiled network of a config: a stack of LSTM layers on one-hot symbols.

    A unidirectional one predicts at each step of its window, a bidirectional one only at its end.
    """
    many_to_many = config["direction"] == "uni"
    symbols = keras.Input((config["sequence_length"],), dtype="int32")
    features = ops.one_hot(symbols, alphabet_size)
    for number in range(1, config["layers"] + 1):
        features = _lstm(config, many_to_many or number < config["layers"])(features)
        features = layers.Dropout(config["dropout"], name=f"dropout_{number}")(features)
    logits = layers.Dense(alphabet_size, name="logits")(features)
    return _compiled(keras.Model(symbols, logits), config)


def _lstm(config: Config, in_time: bool) -> Any:
    lstm = layers.LSTM(config["layer_size"], return_sequences=in_time)
    return lstm if config["direction"] == "uni" else layers.Bidirectional(lstm)


def _compiled(model: Any, config: Config) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    rmsprop = keras.optimizers.RMSprop(config["learning_rate"], clipnorm=CLIP_NORM)
    model.compile(rmsprop, loss)
    return model


def _loss(model: Any, inputs: NDArray[np.int32], true: NDArray[np.int32]) -> float:
    logits = model.predict(inputs, batch_size=ROWS, verbose=0)
    return score([(log_softmax(logits), true)])["loss"]


def train(
    config: Config,
    data: Data | ClassData,
    trial: str | int,
    callbacks: Sequence[Any] = (),
    model: Any = None,
    **options: Any,
) -> list[float]:
    """Train by `fit`, score after each epoch, write the events; return the validation losses.

    Each epoch's loss is in the logs as `val_score` when `callbacks` see them. There is no
    `validation_data`: a unidirectional network would be scored at each step of a window, not at its
    end, and a bidirectional one twice. `options` go to `fit`.
    """
    model = data.build(config) if model is None else model
    loss = data.scored(model, config)
    with _events(data.task, trial, config) as write:

        def score_epoch(epoch: int, logs: dict[str, float]) -> None:
            logs["val_score"] = loss()
            write(epoch=epoch + 1, val_loss=logs["val_score"])

        watching = [
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.LambdaCallback(on_epoch_end=score_epoch),
            *callbacks,
        ]
        options = {"epochs": EPOCHS, "verbose": 0, **options, "callbacks": watching}
        history = model.fit(**data.training(config), batch_size=config["batch_size"], **options)
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
