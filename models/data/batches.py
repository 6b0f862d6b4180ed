"""Batches of whole sequences, of about equal lengths, for networks that predict classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import ClassConfig
from lstm_sweep.models.data.alphabet import START, UNKNOWN
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import LabelledSplit
from lstm_sweep.models.data.windows import Batch, Indices

#: batches of sequences that were drawn together, which are made of these by their lengths
DRAWN_BATCHES = 64
#: sequences are padded to a multiple of this, and of an eighth to a sixteenth of their length
FEWEST_PADDED = 2

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class ClassSteps:
    """Sequences of several training steps, with their classes."""

    #: padded on the right, `<int32>[steps, batch, time]`
    codes: Codes
    #: `<int32>[steps, batch]`
    lengths: Codes
    #: how much of the axis of time a step reads, `<int32>[steps]`
    times: Codes
    #: classes, `<int32>[steps, batch]`
    labels: Codes
    #: of each sequence in the loss, 0 if it only fills the batch; `<float32>[steps, batch]`
    weights: NDArray[np.float32]

    def batches(self) -> Iterator[Batch]:
        for codes, lengths, time, labels, weights in zip(*vars(self).values(), strict=True):
            yield Batch([codes[:, :time], lengths], labels, weights)


def read_lengths(split: Split, config: ClassConfig) -> Indices:
    """Symbols of each sequence that are read, `<int64>[sequences]`."""
    return np.minimum(split.session_lengths, config.sequence_length)


def padded_time(lengths: Indices) -> Indices:
    """Steps in time of batches whose longest sequences have so many symbols: few numbers, even."""
    grain = np.maximum(FEWEST_PADDED, 1 << np.maximum(np.frexp(lengths)[1] - 4, 0))
    padded: Indices = -(-lengths // grain) * grain
    return padded


def read_codes(split: Split, config: ClassConfig, chosen: Indices, time: int) -> Codes:
    """What is read of some sequences, padded on the right, `<int32>[*chosen.shape, time]`."""
    sizes = split.session_lengths[chosen][..., None]
    read = np.minimum(sizes, config.sequence_length)
    place = np.arange(time)
    skipped = sizes - read
    if config.keep == "head":
        skipped = np.zeros_like(skipped)
    elif config.keep == "both":
        skipped = np.where(place < -(-read // 2), 0, skipped)
    inside = place < read
    places = np.where(inside, split.starts[chosen][..., None] + place + skipped, 0)
    return np.where(inside, split.codes[places], START).astype(np.int32)


def class_shares(labels: Codes, classes: int, config: ClassConfig) -> NDArray[np.float32]:
    """Weight of each class in the training loss, `<float32>[classes]`."""
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[config.class_weights]
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return ((len(labels) / (classes * counts)) ** power).astype(np.float32)


#: occurrences of a symbol at which it is read as unknown half of the time
RARE = 1.0


def with_unknown(split: Split, rng: np.random.Generator) -> Split:
    """The same sequences, in which some symbols, mostly rare ones, are unknown.

    So a network learns what to do with a symbol that training data do not have, and to rely less on
    single rare ones (Kiperwasser and Goldberg, arXiv 1603.04351, with `RARE` as their alpha).
    """
    codes = np.asarray(split.codes)
    shares = (RARE / (RARE + np.bincount(codes))).astype(np.float32)
    unknown = rng.random(len(codes), np.float32) < shares[codes]
    return Split(np.where(unknown, UNKNOWN, codes).astype(codes.dtype), split.starts)


class ClassEpoch:
    """All sequences of a split once, in an order that a generator draws."""

    def __init__(
        self, split: LabelledSplit, classes: int, config: ClassConfig, rng: np.random.Generator
    ) -> None:
        self._config, self._labels = config, np.asarray(split.labels)
        self._shares = class_shares(split.labels, classes, config)
        self._sequences = with_unknown(split.sequences, rng)
        self._lengths = read_lengths(split.sequences, config)
        #: that are read
        self.symbols = int(self._lengths.sum())
        count, batch = len(split), config.batch_size
        drawn = rng.permutation(count)
        together = np.arange(count) // (batch * DRAWN_BATCHES)
        drawn = drawn[np.lexsort((self._lengths[drawn], together))]
        #: number of training steps
        self.steps = -(-count // batch)
        # the last batch is filled with some that do not count
        rows = np.pad(drawn, (0, self.steps * batch - count), "edge").reshape(-1, batch)
        counts = np.arange(self.steps * batch).reshape(-1, batch) < count
        order = rng.permutation(self.steps)
        self._rows, self._counts = rows[order], counts[order]
        self._times = padded_time(self._lengths[self._rows].max(axis=1))

    def select(self, begin: int, end: int) -> ClassSteps:
        rows, times = self._rows[begin:end], self._times[begin:end]
        labels = self._labels[rows]
        return ClassSteps(
            read_codes(self._sequences, self._config, rows, int(times.max())),
            self._lengths[rows].astype(np.int32),
            times.astype(np.int32),
            labels.astype(np.int32),
            self._shares[labels] * self._counts[begin:end],
        )
