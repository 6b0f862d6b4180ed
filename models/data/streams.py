"""Training windows of a network whose state is carried: streams of symbols, side by side.

A stream is a row of a batch. Its windows follow one another through the sessions of the split, in
pieces of `sequence_length` symbols, and each begins with the state that the one before it has ended
with: truncated backpropagation through time. The state is zero at the head of a session, where a
stream begins, and now and then by chance, so that a network also learns to do without a past
(Melis et al., arXiv 1909.01792, drop the state as often).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import Batch, Epoch, StepWindows, TrainingWindows

#: share of the windows that begin with a state of zero by chance
FORGOTTEN = 0.01
#: a session of so many windows may have one more, so that its windows begin anywhere
MANY_WINDOWS = 8


@dataclass(frozen=True)
class CarriedBatch(Batch):
    """Windows of one training step, as arguments of a Keras model."""

    #: 1 for windows that begin with the state of the one before, 0 for zero; `<float32>[batch]`
    goes_on: NDArray[np.float32]
    #: number of steps whose targets count, `<int32>[batch]`
    counted: NDArray[np.int32]

    @property
    @override
    def arguments(self) -> Any:
        return [self.inputs, self.goes_on, self.counted]


@dataclass(frozen=True)
class CarriedSteps(StepWindows):
    """Windows of several training steps, whose state is carried within each row.

    Targets count from the first step of a window on. What follows them is filled with `<start>`,
    and is not read into the state that is carried.
    """

    #: number of steps of a window whose targets count, `<int32>[steps, batch]`
    counted: NDArray[np.int32]
    #: 1 for windows that begin with the state of the one before, 0 for zero;
    #: `<float32>[steps, batch]`
    goes_on: NDArray[np.float32]

    @override
    def batches(self, *, every_step: bool) -> Iterator[Batch]:
        """Yield each training step; each step of a window has a target."""
        length = self.codes.shape[-1] - 1
        for codes, counted, goes_on in zip(self.codes, self.counted, self.goes_on, strict=True):
            counts = (np.arange(length) < counted[:, None]).astype(np.float32)
            yield CarriedBatch(codes[:, :-1], codes[:, 1:], counts, goes_on, counted)


def training_windows(split: Split, config: TrialConfig, seed: int) -> TrainingWindows:
    """The training windows of a trial, in streams if its state is carried."""
    kind = TrainingStreams if config.carried else TrainingWindows
    return kind(split, config, seed)


class TrainingStreams(TrainingWindows):
    """The training windows of a trial whose state is carried."""

    @override
    def epoch(self, number: int) -> Epoch:
        """The streams of epoch `number`; they depend on the seed and `number` only."""
        rng = np.random.default_rng([self._seed, number])
        return EpochStreams(self._split, self._config, rng)


class EpochStreams:
    """The windows of one epoch: sessions in a random order, cut into one stream for each row.

    Each symbol is the target of one window. The first window of a session is shorter by a random
    number of steps, so that in each epoch others begin a window, or as long as can be if `offset`
    is `fixed`.
    """

    def __init__(self, split: Split, config: TrialConfig, rng: np.random.Generator) -> None:
        self._split, self._rows, self._length = split, config.batch_size, config.sequence_length
        self._order = rng.permutation(len(split.starts))
        self._sizes = split.session_lengths[self._order]
        length = self._length
        spare = -self._sizes % length  # steps of the last window that are left over
        spare[self._sizes > MANY_WINDOWS * length] = length - 1
        drawn = rng.integers(spare + 1)
        #: steps by which the first window of each session is shorter
        self._short = drawn if config.offset == "random" else np.zeros_like(drawn)
        counts = -(-(self._sizes + self._short) // length)
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts
        count = int(self._ends[-1])
        #: number of the first window of each row, and of that after the last row's
        self._bounds = np.arange(self._rows + 1) * count // self._rows
        self._forgotten = rng.random(count, dtype=np.float32) < FORGOTTEN
        #: number of training steps
        self.steps = -(-count // self._rows)

    def select(self, begin: int, end: int) -> CarriedSteps:
        """Windows of the steps from `begin` up to and without `end`.

        In the last step, rows that are done have windows whose targets do not count.
        """
        steps = np.arange(begin, end)[:, None]
        numbers = self._bounds[:-1] + steps
        used = numbers < self._bounds[1:]
        numbers = np.where(used, numbers, 0)
        session = np.searchsorted(self._ends, numbers, side="right")
        within = (numbers - self._begins[session]) * self._length - self._short[session]
        first = np.maximum(within, 0)
        last = np.minimum(within + self._length, self._sizes[session])
        counted = np.where(used, last - first, 0)
        goes_on = (first > 0) & (steps > 0) & used & ~self._forgotten[numbers]
        return CarriedSteps(
            codes=self._codes(session, first, counted),
            first=np.where(counted > 0, 0, self._length).astype(np.int32),
            counted=counted.astype(np.int32),
            goes_on=goes_on.astype(np.float32),
        )

    def batches(self) -> Iterator[Batch]:
        """Yield all steps, one at a time."""
        for step in range(self.steps):
            yield from self.select(step, step + 1).batches(every_step=True)

    def _codes(
        self, session: NDArray[Any], first: NDArray[Any], counted: NDArray[Any]
    ) -> NDArray[np.int32]:
        """Each window from the symbol before its first target on, `[steps, batch, time + 1]`."""
        lags = np.arange(self._length + 1)
        heads = self._split.starts[self._order[session]]
        places = (heads + first - 1)[..., None] + lags
        inside = (places >= heads[..., None]) & (lags <= counted[..., None])
        return np.where(inside, self._split.codes[np.where(inside, places, 0)], START).astype(
            np.int32
        )
