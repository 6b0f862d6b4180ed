from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.halving import Extrapolation

#: some alike, some infinite, some 0 and below
LOSSES = st.sampled_from([math.inf, 3.0, 2.5, 2.5, 1.1, 0.3, 0.0, -1.0]) | st.floats(0.1, 5.0)
CURVES = st.lists(LOSSES, max_size=10).map(lambda losses: list(itertools.accumulate(losses, min)))


def found(extrapolation: Extrapolation) -> dict[int, float]:
    losses = extrapolation.losses()
    return {number: loss for number, loss in enumerate(losses.tolist()) if not math.isnan(loss)}


def extrapolated_losses(
    curves: Mapping[int, Sequence[float]], rounds: int, first: int = 1
) -> dict[int, float]:
    """The same computed anew from all curves.

    `curves` holds the best loss so far after each round, by the number of the trial. One
    without a finite loss is left out.
    """
    marks = [*halving.rungs(rounds, first), rounds]
    ratio = 1.0
    to_end: dict[int, float] = {rounds: 1.0}
    for mark, following in zip(reversed(marks[:-1]), reversed(marks), strict=False):
        long_enough = (c for c in curves.values() if len(c) >= following)
        went_on = [c for c in long_enough if 0 < c[mark - 1] < math.inf]
        steps = [c[following - 1] / c[mark - 1] for c in went_on]
        ratio *= statistics.median(steps) if steps else 1.0
        to_end[mark] = ratio
    losses = {}
    for number, curve in curves.items():
        if curve and math.isfinite(curve[-1]):
            reached = max((mark for mark in marks if mark <= len(curve)), default=marks[0])
            loss = curve[min(reached, len(curve)) - 1]
            end = min(loss * to_end[reached], curve[-1])
            losses[number] = end if loss < math.inf else curve[-1]
    return losses


@given(
    st.lists(st.tuples(st.integers(0, 90), CURVES), max_size=30),
    st.integers(1, 10),
    st.integers(1, 3),
)
def test_losses_are_those_of_all_curves_however_they_have_come_about(
    puts: list[tuple[int, list[float]]], rounds: int, first: int
) -> None:
    extrapolation = Extrapolation(rounds, first)
    curves: dict[int, list[float]] = {}
    for number, curve in puts:
        extrapolation.put(number, curve)
        curves[number] = curve
        assert found(extrapolation) == extrapolated_losses(curves, rounds, first)
