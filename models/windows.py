"""Corpus and config -> training windows and scoring windows.

A *window* is `sequence_length` symbols; the symbol after it is its *target*. Where a window reaches
beyond the head of its session it holds `<start>`, so no window has symbols of another session.

Windows are cut from the codes of a split when they are needed. Nothing here is as large as the
split but the order of an epoch's windows, so processes that map one corpus share its memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.alphabet import START
from models.config import TrialConfig
from models.corpus import Split

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Windows of one training step, as a network of Keras takes them."""

    #: `<int32>[batch, time]`
    inputs: NDArray[np.int32]
    #: `<int32>[batch, time]` for uni, `<int32>[batch]` for bi
    targets: NDArray[np.int32]
    #: 1 for targets that count, else 0; `<float32>` of the targets' shape
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Cut:
    """Windows of several training steps, each with its target as its last symbol."""

    #: `<int32>[steps, batch, time + 1]`
    codes: NDArray[np.int32]
    #: the first of a window's `time` steps whose target counts, `time` if none does;
    #: `<int32>[steps, batch]`
    first: NDArray[np.int32]

    def batches(self, *, every_step: bool) -> Iterator[Batch]:
        """Step by step; `every_step` of a window has a target, or only its last."""
        length = self.codes.shape[-1] - 1
        for codes, first in zip(self.codes, self.first, strict=True):
            counts = (np.arange(length) >= first[:, None]).astype(np.float32)
            if every_step:
                yield Batch(codes[:, :-1], codes[:, 1:], counts)
            else:
                yield Batch(codes[:, :-1], codes[:, -1], counts[:, -1])


def past(split: Split, positions: Indices, lags: Indices) -> NDArray[np.int32]:
    """What stands so many symbols before each position of a split, `<int32>[positions, lags]`.

    `<start>` stands before the head of a session; a lag of 0 is the symbol itself.
    """
    heads = split.starts[np.searchsorted(split.starts, positions, side="right") - 1]
    return _past(split, positions, heads, lags)


def _past(split: Split, positions: Indices, heads: Indices, lags: Indices) -> NDArray[np.int32]:
    places = positions[:, None] - lags
    inside = places >= heads[:, None]
    return np.where(inside, split.codes[np.where(inside, places, 0)], START).astype(np.int32)


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
    lags = np.arange(length, -1, -1)
    for begin in range(0, len(targets), rows):
        block = past(split, targets[begin : begin + rows], lags)
        yield block[:, :-1], block[:, -1]


class TrainingWindows:
    """The windows of each epoch of a trial."""

    def __init__(self, split: Split, config: TrialConfig, seed: int) -> None:
        self._split = split
        self._config = config
        self._seed = seed

    def epoch(self, number: int) -> EpochWindows:
        """The windows of epoch `number` in their order; a pure function of the seed."""
        rng = np.random.default_rng([self._seed, number])
        if self._config.direction == "uni":
            return _ManyToMany(self._split, self._config, rng)
        return _ManyToOne(self._split, self._config, rng)


class EpochWindows(ABC):
    """The windows of one epoch in the order of its training steps."""

    def __init__(
        self, split: Split, config: TrialConfig, count: int, rng: np.random.Generator
    ) -> None:
        self._split, self._batch_size = split, config.batch_size
        self._lags = np.arange(config.sequence_length, -1, -1)
        self._order = np.arange(count, dtype=_smallest(count))
        rng.shuffle(self._order)
        self._every_step = config.direction == "uni"
        #: training steps
        self.steps = -(-count // config.batch_size)

    def cut(self, begin: int, end: int) -> Cut:
        """The windows of steps `begin` to `end`, without the latter.

        The last step of an epoch is filled up with windows of which no target counts.
        """
        rows = np.arange(begin * self._batch_size, end * self._batch_size)
        chosen = self._order[rows % len(self._order)].astype(np.int64)
        targets, heads, first = self._windows(chosen)
        length = len(self._lags) - 1
        first = np.where(rows < len(self._order), first, length)
        shape = (end - begin, self._batch_size)
        codes = _past(self._split, targets, heads, self._lags)
        return Cut(codes.reshape(*shape, length + 1), first.reshape(shape).astype(np.int32))

    def batches(self) -> Iterator[Batch]:
        """Every step by itself."""
        for step in range(self.steps):
            yield from self.cut(step, step + 1).batches(every_step=self._every_step)

    @abstractmethod
    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        """Targets, heads of their sessions, and first steps that count, of some windows."""


class _ManyToOne(EpochWindows):
    """Every `stride`-th symbol of the split is the target of a window."""

    def __init__(self, split: Split, config: TrialConfig, rng: np.random.Generator) -> None:
        self._stride = config.window_stride
        offset = int(rng.integers(self._stride)) if config.offset == "random" else 0
        self._offset = min(offset, len(split) - 1)
        super().__init__(split, config, -(-(len(split) - self._offset) // self._stride), rng)

    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        targets, starts = self._offset + chosen * self._stride, self._split.starts
        heads = starts[np.searchsorted(starts, targets, side="right") - 1]
        return targets, heads, np.full(len(chosen), len(self._lags) - 2)


class _ManyToMany(EpochWindows):
    """Each step of a window has a target.

    In a session the last targets of windows lie `stride` apart, the first below `stride`; one more
    window ends at the session's end and counts only what no window before it has. So with a stride
    of one window every symbol counts once.

    Where the first one lies is drawn for each session by itself, for short sessions too: so their
    beginnings are learned after any number of `<start>`, as they are scored.
    """

    def __init__(self, split: Split, config: TrialConfig, rng: np.random.Generator) -> None:
        length, sizes = config.sequence_length, split.session_lengths
        self._stride, self._sizes = config.window_stride, sizes
        if config.offset == "random":
            self._first = np.minimum(rng.integers(self._stride, size=len(sizes)), sizes - 1)
        else:  # a session no longer than a window is one window
            self._first = np.where(sizes <= length, sizes - 1, 0)
        counts = 1 + -(-(sizes - 1 - self._first) // self._stride)
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts
        super().__init__(split, config, int(self._ends[-1]), rng)

    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        length = len(self._lags) - 1
        session = np.searchsorted(self._ends, chosen, side="right")
        regular = self._first[session] + (chosen - self._begins[session]) * self._stride
        last = np.minimum(regular, self._sizes[session] - 1)
        counted_from = np.maximum(last - length + 1, 0)
        clipped = regular > last
        counted_from[clipped] = np.maximum(counted_from, regular - self._stride + 1)[clipped]
        heads = self._split.starts[session]
        return heads + last, heads, counted_from - (last - length + 1)


def _smallest(count: int) -> type[np.signedinteger]:
    return np.int32 if count < 1 << 31 else np.int64
