"""Streams in which a network whose state is carried predicts chosen targets, at one step a symbol.

A *stretch* is a part of a session that is read from a state of zero. It begins at the session's
head, or `RUN_UP` symbols before its first target, after which nothing is left of the missing past
that would be seen in a loss. Targets that are near to each other are in one stretch. A long one is
divided, so that there are several to be read side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import Indices

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
