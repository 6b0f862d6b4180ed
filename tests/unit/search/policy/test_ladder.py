from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy.ladder import LadderDecision, Step, decide, rates
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Dimension, Listed, Range

UNIGRAM = 3.0
RATES = (1.0, 0.1, 0.01, 0.001, 0.0001)


def steps(*losses: float | None) -> list[Step]:
    """Steps of a ladder that begins at 1; rates without a loss are still to come."""
    known = [*losses, *[None] * (len(RATES) - len(losses))]
    return [Step(rate, loss) for rate, loss in zip(RATES, known, strict=True)]


@pytest.mark.parametrize(
    "dimension, expected",
    [
        (presets.DEFAULT["learning_rate"], (1.0, 0.1, 0.01, 0.001, 0.0001, 1e-5)),
        (presets.QUICK["learning_rate"], (0.1, 0.01, 0.001)),
        (Listed("learning_rate", (0.01,)), (0.01,)),
        (Listed("learning_rate", (0.002, 0.01)), (0.01,)),  # no tenth of it
        (Listed("learning_rate", (0.001, 0.003, 0.01, 0.03, 0.1)), (0.1, 0.01, 0.001)),
        (Listed("learning_rate", (0.0001, 0.007, 0.02, 0.1)), (0.1, 0.007, 0.0001)),
        (Listed("learning_rate", (0.000999999, 0.01)), (0.01, 0.000999999)),
        (Range("learning_rate", 1e-5, 1.0, log=True), (1.0, 0.1, 0.01, 0.001, 0.0001, 1e-5)),
        (Range("learning_rate", 2e-3, 0.5, log=True), (0.5, 0.05, 0.005)),
        (Range("learning_rate", 0.02, 0.1, log=True), (0.1,)),
        (Range("learning_rate", 0.001, 0.1), (0.1, 0.01, 0.001)),
        (Range("learning_rate", 0.01, 0.11, step=0.05), (0.11, 0.01)),
    ],
)
def test_rates_go_down_by_ten_from_the_highest(
    dimension: Dimension, expected: tuple[float, ...]
) -> None:
    assert rates(dimension) == expected


listed = st.lists(st.floats(1e-6, 10), min_size=1, max_size=12, unique=True).map(
    lambda values: Listed("learning_rate", tuple(sorted(values)))
)
log_range = st.tuples(st.floats(1e-6, 1.0), st.floats(1.1, 1e6)).map(
    lambda ends: Range("learning_rate", ends[0], ends[0] * ends[1], log=True)
)


@given(dimension=listed | log_range)
def test_rates_lie_in_the_space_and_fall_to_a_tenth_or_less(dimension: Dimension) -> None:
    found = rates(dimension)
    assert found and all(rate in dimension for rate in found)
    # a rate of a range has three digits, so it may be above an exact tenth by half of the last
    rounding = 1e-6 if isinstance(dimension, Listed) else 0.5 / 100
    for higher, lower in itertools.pairwise(found):
        assert lower <= higher / 10 * (1 + rounding) < higher


@pytest.mark.parametrize(
    "known, expected",
    [
        # nothing is known
        ((), LadderDecision(RATES, None, "waiting for 1")),
        # rates too high fail or learn nothing, and the ladder goes on down
        ((math.inf,), LadderDecision(RATES[1:], None, "waiting for 0.1")),
        ((3.5,), LadderDecision(RATES[1:], None, "waiting for 0.1")),
        (
            (2.95,),
            LadderDecision(RATES[1:], None, "waiting for 0.1"),
        ),  # hardly better than unigrams
        ((math.inf, 3.0, math.inf), LadderDecision(RATES[3:], None, "waiting for 0.001")),
        # it goes on as long as losses fall
        ((2.5,), LadderDecision(RATES[1:], 1.0, "waiting for 0.1")),
        ((2.5, 2.0), LadderDecision(RATES[2:], 0.1, "waiting for 0.01")),
        ((math.inf, 2.5, 2.0), LadderDecision(RATES[3:], 0.01, "waiting for 0.001")),
        # and ends at the first that is worse
        ((2.5, 2.6), LadderDecision((), 1.0, "1 is best, loss 2.5000; 0.1 reached 2.6000")),
        ((2.5, 2.0, 2.1), LadderDecision((), 0.1, "0.1 is best, loss 2.0000; 0.01 reached 2.1000")),
        ((2.5, 2.0, 2.0), LadderDecision((), 0.1, "0.1 is best, loss 2.0000; 0.01 reached 2.0000")),
        (
            (3.5, 2.0, 2.99),
            LadderDecision((), 0.1, "0.1 is best, loss 2.0000; 0.01 reached 2.9900"),
        ),
        ((2.5, math.inf), LadderDecision((), 1.0, "1 is best, loss 2.5000; 0.1 diverged")),
        # a step counts once all above it are known
        ((None, 2.0, 2.5), LadderDecision((1.0, 0.001, 0.0001), None, "waiting for 1")),
        ((2.5, None, 2.0), LadderDecision((0.1, 0.001, 0.0001), 1.0, "waiting for 0.1")),
        # what lies below the end is not needed
        (
            (2.5, 2.6, None, 1.0),
            LadderDecision((), 1.0, "1 is best, loss 2.5000; 0.1 reached 2.6000"),
        ),
        ((2.5, 2.6, 1.0), LadderDecision((), 1.0, "1 is best, loss 2.5000; 0.1 reached 2.6000")),
        # it may go all the way
        (
            (2.5, 2.4, 2.3, 2.2, 2.1),
            LadderDecision((), 0.0001, "0.0001, the lowest rate, is best, loss 2.1000"),
        ),
        (
            (math.inf,) * 4 + (2.0,),
            LadderDecision((), 0.0001, "0.0001, the lowest rate, is best, loss 2.0000"),
        ),
        # or find nothing
        (
            (math.inf, 3.5, 2.99, 2.99, 2.99),
            LadderDecision((), None, "no rate came below 0.98 times the unigram loss (3.0000)"),
        ),
        (
            (math.inf,) * 5,
            LadderDecision((), None, "no rate came below 0.98 times the unigram loss (3.0000)"),
        ),
    ],
)
def test_a_ladder_decides_from_what_is_known(
    known: tuple[float | None, ...], expected: LadderDecision
) -> None:
    assert decide(steps(*known), UNIGRAM) == expected
    assert expected.done == (not expected.needed)


losses = st.lists(
    st.none() | st.just(math.inf) | st.floats(0.1, 4.0), min_size=len(RATES), max_size=len(RATES)
)


@given(known=losses)
def test_what_is_needed_is_just_what_is_not_known(known: list[float | None]) -> None:
    decision = decide(steps(*known), UNIGRAM)
    missing = [rate for rate, loss in zip(RATES, known, strict=True) if loss is None]
    assert list(decision.needed) in ([], missing)
    assert decision.needed or decision.done


@given(known=losses)
def test_the_best_rate_has_the_lowest_loss_of_those_down_to_the_end(
    known: list[float | None],
) -> None:
    decision = decide(steps(*known), UNIGRAM)
    if decision.best is not None:
        loss = known[RATES.index(decision.best)]
        above = known[: RATES.index(decision.best)]
        assert loss is not None and loss < 0.98 * UNIGRAM
        assert all(other is not None and other > loss for other in above)


@given(known=losses, place=st.integers(0, len(RATES) - 1), loss=st.floats(0.1, 4.0))
def test_a_ladder_that_has_ended_is_not_changed_by_losses_that_come_later(
    known: list[float | None], place: int, loss: float
) -> None:
    decision = decide(steps(*known), UNIGRAM)
    if decision.done and known[place] is None:
        later = [loss if index == place else value for index, value in enumerate(known)]
        assert decide(steps(*later), UNIGRAM) == decision
