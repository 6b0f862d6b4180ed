"""Windows that begin alike, so that the steps that they share are computed once.

A network that starts from a state of zero is in the same state after the same symbols. Among a few
thousand windows of an event log most first symbols are shared: sessions begin in few ways, and the
places before their head hold `<start>`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.windows import Indices

#: what it costs to begin a stage, in steps; fewer rows than these take as long as these
STAGE_STEPS, FEWEST_ROWS = 1, 32
#: more stages than one are worth their while if they cost at most this share of it
WORTH = 0.9
#: places that are looked at for the end of a stage, at most
MOST_PLACES = 128


class Stage(NamedTuple):
    """The next steps of all different beginnings, up to where they end."""

    #: symbols that are read, `<int32>[rows, steps]`
    codes: NDArray[np.int32]
    #: the rows of the stage before from whose states these rows go on, `<int64>[rows]`; of the
    #: first stage, which goes on from none, zeros
    goes_on_from: Indices


class Stages(NamedTuple):
    """All windows of a block, in stages."""

    stages: list[Stage]
    #: the row of the last stage that a window is in, `<int64>[windows]`
    row_of: Indices


def stages_of(windows: NDArray[np.int32], *, most: int, last_steps: int = 1) -> Stages:
    """Divide windows, `<int32>[windows, time]`, into at most `most` stages of about least cost.

    The last of them has the last `last_steps` steps at least, in which there are targets. With one
    stage, windows that are the same in full are read once.
    """
    count, length = windows.shape
    windows = np.ascontiguousarray(windows)
    # as bytes: not in the order of codes, but windows that begin alike are side by side
    as_bytes = windows.view(np.dtype((np.void, length * windows.itemsize)))
    order = np.argsort(as_bytes.ravel(), kind="stable")
    ordered = windows[order]
    differs = ordered[1:] != ordered[:-1]
    # the first step in which a window differs from the one before it; -1: there is none before
    first = np.full(count, -1)
    first[1:] = np.where(differs.any(axis=1), differs.argmax(axis=1), length)
    beginnings = np.cumsum(np.bincount(first + 1, minlength=length + 2))[:-1]
    stages, begin, row = [], 0, np.zeros(count, np.int64)
    for end in _ends(beginnings, most, length - last_steps):
        heads = np.flatnonzero(first < end)
        stages.append(Stage(ordered[heads, begin:end], row[heads]))
        row, begin = np.cumsum(first < end) - 1, end
    row_of = np.empty(count, np.int64)
    row_of[order] = row
    return Stages(stages, row_of)


def _ends(beginnings: Indices, most: int, before: int) -> list[int]:
    """Where the stages end, in steps; `beginnings[n]`: how many different ones have `n` symbols.

    All but the last end where the next step has more rows, after `before` steps at the latest.
    """
    length, rows = len(beginnings) - 1, np.maximum(beginnings, FEWEST_ROWS)
    if most == 1:
        return [length]
    grows = 1 + np.flatnonzero(rows[2 : before + 2] > rows[1 : before + 1])
    if len(grows) > MOST_PLACES:
        # those after which most is added, and some of all
        added = rows[grows + 1] - rows[grows]
        most_added = np.argsort(-added, kind="stable")[: MOST_PLACES // 2]
        some = np.linspace(0, len(grows) - 1, MOST_PLACES // 2).astype(np.int64)
        grows = grows[np.union1d(most_added, some)]
    places = np.array([0, *grows, length])
    steps = places - places[:, None]
    of_stage = np.where(steps > 0, (steps + STAGE_STEPS) * rows[places], np.inf)
    # of 1, 2, ... stages up to each place: the least cost, and where the last of them begins
    costs, begins = [of_stage[0]], [np.zeros(len(places), np.int64)]
    for _ in range(most - 1):
        of_one_more = costs[-1][:, None] + of_stage
        begins.append(of_one_more.argmin(axis=0))
        costs.append(of_one_more.min(axis=0))
    count = int(np.argmin([cost[-1] for cost in costs]))
    if costs[count][-1] > WORTH * costs[0][-1]:
        count = 0
    ends = [len(places) - 1]
    for begin in reversed(begins[1 : count + 1]):
        ends.append(int(begin[ends[-1]]))
    return [int(places[end]) for end in reversed(ends)]
