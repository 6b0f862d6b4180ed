"""Corpus and config -> training windows and scoring windows.

A *window* is `sequence_length` symbols; the symbol after it is its *target*. In a *stream* each
session is preceded by `sequence_length` times `<start>`, so the window of any target is the slice
of the stream before it, and no window holds symbols of another session.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.config import TrialConfig
from models.corpus import START, Split
from models.reading import Codes

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of one training step; the last of an epoch is filled up with weight 0."""

    #: `<int32>[batch, time]`
    inputs: NDArray[np.int32]
    #: `<int32>[batch, time]` for uni, `<int32>[batch]` for bi
    targets: NDArray[np.int32]
    #: 1 for targets that count, else 0; `<float32>` of the targets' shape
    weights: NDArray[np.float32]


class Stream:
    """A split with each session padded at its head by `length` times `<start>`."""

    def __init__(self, split: Split, length: int) -> None:
        self.length = length
        self.lengths = split.session_lengths
        #: where each session's first symbol stands in the stream, `<int64>[sessions]`
        self.heads = split.starts + length * np.arange(1, len(split.starts) + 1)
        self.codes: Codes = np.zeros(len(split) + length * len(split.starts), split.codes.dtype)
        for head, start, size in zip(self.heads, split.starts, self.lengths, strict=True):
            self.codes[head : head + size] = split.codes[start : start + size]
        self._starts = split.starts

    def places(self, positions: Indices) -> Indices:
        """Where symbols of the split, given by index, stand in the stream."""
        sessions = np.searchsorted(self._starts, positions, side="right")
        return positions + self.length * sessions

    def windows(self, targets: Indices) -> NDArray[np.int32]:
        """The `length` symbols before each target, `<int32>[targets, time]`."""
        return self._slices(targets - self.length)

    def shifted(self, targets: Indices) -> NDArray[np.int32]:
        """The windows of `targets` one symbol on: what each step of a window has to predict."""
        return self._slices(targets - self.length + 1)

    def _slices(self, begins: Indices) -> NDArray[np.int32]:
        places = begins[:, None] + np.arange(self.length)  # [windows, time]
        return np.asarray(self.codes[places], np.int32)


def scoring_targets(split: Split, count: int, seed: int) -> Indices:
    """Choose the targets on which everything in a sweep is scored, `<int64>[targets]`, rising."""
    rng = np.random.default_rng([seed, 0x7A9])
    chosen = rng.choice(len(split), min(count, len(split)), replace=False)
    return np.sort(chosen).astype(np.int64)


def scoring_windows(
    split: Split, targets: Indices, length: int, rows: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Windows `<int32>[rows, length]` and true symbols `<int32>[rows]` of all targets, in order.

    The last block has fewer rows if `rows` does not divide the number of targets.
    """
    stream = Stream(split, length)
    places = stream.places(targets)
    for begin in range(0, len(places), rows):
        block = places[begin : begin + rows]
        yield stream.windows(block), stream.codes[block].astype(np.int32)


class TrainingWindows:
    """The windows of each epoch of a trial, cut from one stream."""

    def __init__(self, split: Split, config: TrialConfig, seed: int) -> None:
        self._stream = Stream(split, config.sequence_length)
        self._config = config
        self._seed = seed

    def epoch(self, number: int) -> tuple[int, Iterator[Batch]]:
        """How many batches epoch `number` has, and the batches; a pure function of the seed."""
        config = self._config
        rng = np.random.default_rng([self._seed, number])
        stride = config.window_stride
        if config.direction == "uni":
            targets, counted_from = self._many_to_many(stride, rng)
        else:
            targets = counted_from = self._many_to_one(stride, rng)
        order = rng.permutation(len(targets))
        count = -(-len(order) // config.batch_size)
        return count, self._batches(targets[order], counted_from[order])

    def _many_to_one(self, stride: int, rng: np.random.Generator) -> Indices:
        """Every `stride`-th symbol of the split is a target."""
        size = int(self._stream.lengths.sum())
        offset = int(rng.integers(stride)) if self._config.offset == "random" else 0
        return self._stream.places(np.arange(min(offset, size - 1), size, stride))

    def _many_to_many(self, stride: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Targets of the windows' last steps, and the first target of each window that counts.

        In a session the last steps lie `stride` apart, the first below `stride`; one more window
        ends at the session's end and counts only what no window before it has. So with a stride of
        one window every symbol counts once.

        Where the first one lies is drawn for each session by itself, for short sessions too: so
        their beginnings are learned after any number of `<start>`, as they are scored.
        """
        length, sizes = self._stream.length, self._stream.lengths
        if self._config.offset == "random":
            first = np.minimum(rng.integers(stride, size=len(sizes)), sizes - 1)
        else:  # a session no longer than a window is one window
            first = np.where(sizes <= length, sizes - 1, 0)
        counts = 1 + -(-(sizes - 1 - first) // stride)
        session = np.repeat(np.arange(len(sizes)), counts)
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        regular = first[session] + step * stride
        last = np.minimum(regular, sizes[session] - 1)
        counted_from = np.maximum(last - length + 1, 0)
        clipped = regular > last
        counted_from[clipped] = np.maximum(counted_from, regular - stride + 1)[clipped]
        heads = self._stream.heads[session]
        return heads + last, heads + counted_from

    def _batches(self, targets: Indices, counted_from: Indices) -> Iterator[Batch]:
        size = self._config.batch_size
        for begin in range(0, len(targets), size):
            rows = np.arange(begin, begin + size) % len(targets)
            real = np.arange(begin, begin + size) < len(targets)
            yield self._batch(targets[rows], counted_from[rows], real)

    def _batch(self, targets: Indices, counted_from: Indices, real: NDArray[np.bool_]) -> Batch:
        stream = self._stream
        inputs = stream.windows(targets)
        if self._config.direction == "bi":
            return Batch(inputs, stream.codes[targets].astype(np.int32), real.astype(np.float32))
        expected = stream.shifted(targets)
        places = targets[:, None] - np.arange(stream.length - 1, -1, -1)  # [batch, time]
        counts = (places >= counted_from[:, None]) & (expected != START) & real[:, None]
        return Batch(inputs, expected, counts.astype(np.float32))
