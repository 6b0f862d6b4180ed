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


class Stage(NamedTuple):
    """The next steps of windows that differ by the end of them."""

    #: symbols that are read, `<int32>[rows, steps]`
    codes: NDArray[np.int32]
    #: the rows of the stage before whose states these rows go on from, `<int64>[rows]`
    goes_on_from: Indices


class Stages(NamedTuple):
    """All windows of a block, in stages."""

    stages: list[Stage]
    #: the row of the last stage that a window is in, `<int64>[windows]`
    rows: Indices


def stages_of(windows: NDArray[np.int32], *, most: int) -> Stages:
    """Divide windows, `<int32>[windows, time]`, into at most `most` stages of about least cost.

    With one stage, windows that are the same in full are read once.
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
    distinct = np.cumsum(np.bincount(first + 1, minlength=length + 2))[:-1]
    stages, begin, of_window = [], 0, np.zeros(count, np.int64)
    for end in _ends(distinct, most):
        rows = np.flatnonzero(first < end)
        stages.append(Stage(ordered[rows, begin:end], of_window[rows]))
        of_window = np.cumsum(first < end) - 1
        begin = end
    found = np.empty(count, np.int64)
    found[order] = of_window
    return Stages(stages, found)


def _ends(distinct: Indices, most: int) -> list[int]:
    """The last steps of the stages; `distinct[n]` windows differ in their first `n` symbols."""
    places, length = np.arange(len(distinct)), len(distinct) - 1
    steps = places - places[:, None]
    of_stage = (steps + STAGE_STEPS) * np.maximum(distinct, FEWEST_ROWS)
    of_stage = np.where(steps > 0, of_stage, np.inf)
    # of 1, 2, ... stages up to each step: the least cost, and where the last of them begins
    costs, begins = [of_stage[0]], [np.zeros(len(distinct), np.int64)]
    for _ in range(most - 1):
        costs_of = costs[-1][:, None] + of_stage
        begins.append(costs_of.argmin(axis=0))
        costs.append(costs_of.min(axis=0))
    least = int(np.argmin([cost[length] for cost in costs]))
    if costs[least][length] > WORTH * costs[0][length]:
        least = 0
    ends = [length]
    for begin in reversed(begins[1 : least + 1]):
        ends.append(int(begin[ends[-1]]))
    return ends[::-1]
