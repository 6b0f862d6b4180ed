"""Streams of windows that follow each other, to train and to score networks that keep their state.

Streams in which a network whose state is carried predicts chosen targets, at one step a symbol.

A *stretch* is a part of a session that is read from a state of zero. It begins at the session's
head, or `RUN_UP` symbols before its first target, after which nothing is left of the missing past
that would be seen in a loss. Targets that are near to each other are in one stretch. A long one is
divided, so that there are several to be read side by side.

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
from lstm_sweep.models.data.windows import Batch, Epoch, Indices, ManyToMany, ManyToOne, StepWindows

#: share of the windows that begin with a state of zero by chance
FORGOTTEN = 0.01
#: a session of so many windows may have one more, so that its windows begin anywhere
MANY_WINDOWS = 8


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
            yield Batch([codes[:, :-1], goes_on, counted], codes[:, 1:], counts)


def training_epoch(split: Split, config: TrialConfig, seed: int, number: int) -> Epoch:
    """The training windows of an epoch, in streams if the state is carried.

    They depend on nothing else that has been drawn before.
    """
    rng = np.random.default_rng([seed, number])
    if config.carried:
        return EpochStreams(split, config, rng)
    return (ManyToOne if config.direction == "bi" else ManyToMany)(split, config, rng)


class EpochStreams(Epoch):
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
        self.steps = -(-count // self._rows)

    @override
    def select(self, begin: int, end: int) -> CarriedSteps:
        # in the last step, rows that are done have windows whose targets do not count
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


#: symbols that are read before the first target of a stretch, unless its session begins there
RUN_UP = 256
#: stretches that a long one is divided into, if it is by far the longest
PARTS = 64
#: stretches that are read side by side, and steps that are taken in one call, at most
ROWS, STEPS = 256, 64
#: what a step takes beside its rows, in rows; of small networks it is more, of large ones less
STEP_ROWS = 16
#: calls have a multiple of so many steps, so that they are of few shapes
ROUND = 8


@dataclass(frozen=True)
class Block:
    """The next steps of several stretches."""

    #: whether the stretches begin, with a state of zero
    begins: bool
    #: symbols that are read, `<int32>[rows, time]`
    codes: NDArray[np.int32]
    #: steps after which a target is predicted, as indices in the order of time: row `r` in step `t`
    #: is `t * rows + r`; `<int64>[n]`
    places: Indices
    #: numbers of these targets, `<int64>[n]`
    numbers: Indices


@dataclass(frozen=True)
class Stretches:
    """Parts of sessions, in columns: `<int64>[stretches]` each."""

    #: first positions of their sessions
    heads: Indices
    #: the first positions that they predict, and those after the last
    begins: Indices
    ends: Indices
    #: the first positions whose prediction is used
    used_from: Indices

    def __len__(self) -> int:
        return len(self.heads)

    def select(self, chosen: Indices) -> Stretches:
        """The stretches that `chosen`, an array of indices, names, in its order."""
        return Stretches(*(one[chosen] for one in vars(self).values()))


def stretches_of(
    split: Split, targets: Indices, parts: int = PARTS, run_up: int = RUN_UP
) -> Stretches:
    """The stretches that have all of `targets`, positions of a split in ascending order.

    A single stretch is divided into so many `parts` at most.
    """
    heads = split.heads(targets)
    wanted = np.maximum(heads, targets - run_up)
    apart = np.ones(len(targets), bool)
    apart[1:] = (heads[1:] != heads[:-1]) | (wanted[1:] > targets[:-1])
    firsts = np.flatnonzero(apart)
    lasts = np.append(firsts[1:], len(targets)) - 1
    whole = Stretches(heads[firsts], wanted[firsts], targets[lasts] + 1, targets[firsts])
    return _divided(whole, parts, run_up)


def _divided(whole: Stretches, most_parts: int, run_up: int) -> Stretches:
    """Stretches of which the longest are divided into about equal parts."""
    sizes = whole.ends - whole.used_from
    most = max(-(-int(sizes.sum()) // most_parts), 2 * run_up)
    parts = -(-sizes // most)
    of = np.repeat(np.arange(len(whole)), parts)
    number = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
    used_from = whole.used_from[of] + sizes[of] * number // parts[of]
    ends = whole.used_from[of] + sizes[of] * (number + 1) // parts[of]
    heads = whole.heads[of]
    begins = np.where(number == 0, whole.begins[of], np.maximum(heads, used_from - run_up))
    return Stretches(heads, begins, ends, used_from)


def scoring_blocks(
    split: Split,
    targets: Indices,
    *,
    symbols: int = ROWS * STEPS,
    steps: int = STEPS,
    rows: int = ROWS,
    run_up: int = RUN_UP,
) -> Iterator[Block]:
    """Yield the blocks in which all of `targets` are predicted, positions of a split.

    Blocks that do not begin go on where the one before has ended. All have the same number of rows,
    at most that which is given, at most so many steps, and at most so many `symbols`.
    """
    if not len(targets):
        return
    order = np.argsort(targets, kind="stable")
    ascending = targets[order]
    found = stretches_of(split, ascending, min(rows, PARTS), run_up)
    lengths = found.ends - found.begins
    by_length = np.argsort(lengths, kind="stable")
    rows = _cheapest_rows(lengths[by_length], max(1, min(rows, symbols // ROUND)))
    steps = max(1, min(steps, symbols // rows))
    for begin in range(0, len(found), rows):
        group = found.select(by_length[begin : begin + rows])
        longest = int((group.ends - group.begins).max())
        taken = min(steps, -(-longest // ROUND) * ROUND)
        for done in range(0, longest, taken):
            yield _block(split, ascending, order, group, done, taken, rows)


def _cheapest_rows(lengths: Indices, most: int) -> int:
    """Stretches that are read side by side, `most` or fewer; `lengths` are theirs, ascending.

    More need fewer steps, but where their lengths differ, more of the steps are read for nothing.
    """

    def cost(rows: int) -> int:
        lasts = np.minimum(np.arange(rows, len(lengths) + rows, rows), len(lengths)) - 1
        return int(lengths[lasts].sum()) * (rows + STEP_ROWS)

    groups = {-(-len(lengths) // (most >> halvings)) for halvings in range(3) if most >> halvings}
    return min((-(-len(lengths) // count) for count in groups), key=lambda rows: (cost(rows), rows))


def _block(
    split: Split,
    targets: Indices,
    order: Indices,
    group: Stretches,
    done: int,
    steps: int,
    rows: int,
) -> Block:
    """The steps from `done` on; rows beyond those of the group are filled with `<start>`."""
    begins = group.begins + done
    read = begins[:, None] - 1 + np.arange(steps)
    inside = (read >= group.heads[:, None]) & (read < group.ends[:, None] - 1)
    codes = np.full((rows, steps), START, np.int32)
    codes[: len(group)] = np.where(inside, split.codes[np.where(inside, read, 0)], START)
    low = np.searchsorted(targets, np.maximum(begins, group.used_from))
    high = np.searchsorted(targets, np.minimum(begins + steps, group.ends))
    counts = np.maximum(high - low, 0)
    of = np.repeat(np.arange(len(group)), counts)
    numbers = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts) + low[of]
    places = (targets[numbers] - begins[of]) * rows + of
    return Block(done == 0, codes, places, order[numbers])
