"""Networks that predict the class of a sequence: built, trained and scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from typing_extensions import override

from lstm_sweep.models.classes import score
from lstm_sweep.models.config import ClassConfig
from lstm_sweep.models.cpu.program_types import Float32s, Networks, Program
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import LabelledCorpus
from lstm_sweep.models.data.windows import (
    ClassEpoch,
    Indices,
    padded_time,
    read_codes,
    read_lengths,
)
from lstm_sweep.models.network.lstm import embedded, scored_apart
from lstm_sweep.models.network.training import TrainingLoop

#: sequences in a scoring call, and symbols of their padded lengths, at most
SCORING_ROWS, SCORING_SYMBOLS = 256, 1 << 16


def build_classifier(
    config: ClassConfig, alphabet_size: int, classes: int, *, mixed: bool = False
) -> Networks:
    """Build the network of `config`; `mixed` is as of `lstm.scored_apart`.

    Its inputs are `symbols`, `<int32>[batch, time]`, padded on the right with any code, and
    `lengths`, `<int32>[batch]`, 1 or more; its output are logits, `[batch, classes]`.
    """

    def make(dtype: str) -> Networks:
        model = _build(config, alphabet_size, classes, dtype)
        return Networks(model, model)

    return scored_apart(config, make, mixed=mixed)


def _build(config: ClassConfig, alphabet_size: int, classes: int, dtype: str) -> Any:
    """Build a model; `dtype` is a dtype or a mixed policy of its layers.

    The backward half reads each sequence from its own end, so padding comes last in both halves,
    and what they make of it is left out by the pooling: no layer needs a mask.
    """
    symbols = keras.Input((None,), dtype="int32", name="symbols")
    lengths = keras.Input((), dtype="int32", name="lengths")
    place = ops.cumsum(ops.ones_like(symbols), axis=1) - 1
    inside = place < lengths[:, None]
    turned = ops.where(inside, lengths[:, None] - 1 - place, place)
    last = config.pooling == "last"
    features = embedded(config, alphabet_size)(symbols)
    for number in range(1, config.layers + 1):
        final = number == config.layers
        halves = []
        for direction in ("forward", "backward")[: 2 if config.direction == "bi" else 1]:
            lstm = layers.LSTM(
                config.layer_size, return_sequences=True, dtype=dtype, name=f"{direction}_{number}"
            )
            backward = direction == "backward"
            outputs = lstm(_turned(features, turned) if backward else features)
            if last and final:
                outputs = _turned(outputs, lengths[:, None] - 1)[:, 0]
            elif backward:
                outputs = _turned(outputs, turned)
            else:  # as deep as the backward half, whose weights else come first in Keras's order
                outputs = layers.Identity(name=f"in_time_{number}")(outputs)
            halves.append(outputs)
        features = ops.concatenate(halves, axis=-1) if len(halves) > 1 else halves[0]
        if final and not last:
            features = _pooled(features, inside, lengths, config.pooling)
        features = layers.Dropout(config.dropout, dtype=dtype, name=f"dropout_{number}")(features)
    logits = layers.Dense(classes, dtype="float32", name="logits")(features)
    return keras.Model([symbols, lengths], logits, name="classifier")


def averaged(members: Sequence[tuple[Networks, ClassConfig]]) -> Networks:
    """Several classifiers as one, whose logits are those of the mean of their probabilities.

    They have the same `ClassConfig.reading`.
    """
    if len(members) == 1:
        return members[0][0]
    inputs = [
        keras.Input(one.shape[1:], dtype=one.dtype, name=one.name)
        for one in members[0][0].scored.inputs
    ]
    logs = []
    for number, (one, _) in enumerate(members, start=1):
        one.scored.name = f"classifier_{number}"
        logs.append(ops.log_softmax(one.scored(inputs)))
    logits = ops.logsumexp(ops.stack(logs), axis=0) - math.log(len(logs))
    model = keras.Model(inputs, logits, name="classifier")
    return Networks(model, model, members=members)


def _begin_with(model: Any, config: ClassConfig, given: list[Float32s]) -> None:
    """Give embedding and layers the weights of a network that predicts symbols.

    In a bidirectional model those of a unidirectional network become the forward half: the next
    layer reads it as they did, and the backward half as it happens to begin.
    """
    if config.embedding_size:
        model.get_layer("embedding").set_weights([given.pop(0)])
    directions = ("forward", "backward")[: len(given) // (3 * config.layers)]
    for number in range(1, config.layers + 1):
        for direction in directions:
            lstm = model.get_layer(f"{direction}_{number}")
            kernel = lstm.get_weights()[0]
            below, *others = (given.pop(0) for _ in range(3))
            kernel[: len(below)] = below
            lstm.set_weights([kernel, *others])


def _turned(features: Any, places: Any) -> Any:
    """The steps of `features`, `[batch, time, any]`, at `places`, `<int32>[batch, any]`."""
    return ops.take_along_axis(features, places[:, :, None], axis=1)


def _pooled(features: Any, inside: Any, lengths: Any, pooling: str) -> Any:
    """One vector of each sequence, `[batch, features]`, of its steps but the padding."""
    features = ops.cast(features, "float32")
    inside = inside[:, :, None]
    if pooling == "max":
        return ops.max(ops.where(inside, features, -2.0), axis=1)  # outputs are above -1
    if pooling == "mean":
        shares = ops.cast(inside, "float32") / ops.cast(lengths, "float32")[:, None, None]
    else:
        scores = layers.Dense(1, use_bias=False, dtype="float32", name="attention")(features)
        shares = ops.softmax(ops.where(inside, scores, -1e9), axis=1)
    return ops.sum(shares * features, axis=1)


def class_logits(
    program: Program, config: ClassConfig, split: Split, chosen: Indices | None = None
) -> Float32s:
    """Logits of the sequences of a split in their order, `<float32>[sequences, classes]`.

    With `chosen`, of those with these numbers. They are read by their lengths.
    """
    chosen = np.arange(len(split.starts)) if chosen is None else chosen
    lengths = read_lengths(split, config)[chosen]
    order = np.argsort(lengths, kind="stable")
    parts, begin = [], 0
    while begin < len(order):
        time = int(padded_time(lengths[order[begin]]))
        rows = max(1, min(SCORING_ROWS, SCORING_SYMBOLS // time))
        part = order[begin : begin + rows]
        time = int(padded_time(lengths[part[-1]]))
        codes = read_codes(split, config, chosen[part], time)
        parts.append(program.logits(codes, lengths[part].astype(np.int32)))
        begin += rows
    logits = np.empty((len(order), parts[0].shape[1]), np.float32)
    logits[order] = np.concatenate(parts)
    return logits


@dataclass
class ClassTraining(TrainingLoop[ClassConfig, LabelledCorpus]):
    """The training of a network that predicts classes."""

    #: weights of embedding and layers that it begins with, as arrays in Keras's order (`.npz`)
    pretrained: Path | None = None

    @override
    def _built(self, *, mixed: bool) -> Networks:
        sizes = len(self.corpus.alphabet), len(self.corpus.classes)
        networks = build_classifier(self.config, *sizes, mixed=mixed)
        if self.pretrained:
            with np.load(self.pretrained) as given:
                _begin_with(networks.trained, self.config, list(given.values()))
            networks.copy_weights()
        return networks

    @override
    def _epoch_of(self, number: int) -> ClassEpoch:
        rng = np.random.default_rng([self.seed, number])
        return ClassEpoch(self.corpus.train, len(self.corpus.classes), self.config, rng)

    @override
    def _score(self) -> dict[str, float]:
        split = self.corpus.validation
        logits = class_logits(self._program, self.config, split.sequences, self.targets)
        return score(logits, np.asarray(split.labels)[self.targets])

    @cached_property
    def _epoch_symbols(self) -> int:
        return int(read_lengths(self.corpus.train.sequences, self.config).sum())
