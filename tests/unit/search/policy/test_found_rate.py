from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.ladder import (
    BestRate,
    Step,
    between_steps,
    rates,
    refinable,
)
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.spaces.dimension import Dimension, Listed, Range
from lstm_sweep.spaces.space import Space

UNIGRAM = 3.0
SMALL = TrialConfig(layer_size=32)


def by_size(config: Config) -> float:
    return 32 / as_lstm_config(config).layer_size


def found_in(
    dimension: Dimension, *losses: float, listed: bool = False, untrained: float | None = UNIGRAM
) -> BestRate:
    """What comes of a ladder over a dimension with these losses, sizes 32 to 512."""
    space = Space({"learning_rate": dimension, "layer_size": Range("layer_size", 32, 512, 16)})
    known = [*losses, *[None] * len(rates(dimension))]
    steps = [Step(rate, loss) for rate, loss in zip(rates(dimension), known, strict=False)]
    best = min(steps, key=lambda step: math.inf if step.loss is None else step.loss).rate
    space.stands_in = "template" if listed else ""
    problem = SearchProblem(
        space=space, untrained_loss=untrained, rate_share=by_size, lowest_rate_share=32 / 512
    )
    return BestRate(problem, steps, best)


DECADES = Listed("learning_rate", (1e-4, 1e-3, 1e-2, 1e-1, 1.0))


@pytest.mark.parametrize(
    "above, own, below, expected",
    [
        (2.5, 2.0, 2.5, 0.01),  # as steep to both sides
        (math.inf, 2.0, 3.0, 0.01),  # a failure counts as unigrams
        (9.0, 2.0, 3.0, 0.01),  # so does a loss that is worse
        (2.0, 2.0, 3.0, 0.032),  # half way up
        (3.0, 2.0, 2.0, 0.0032),
        (2.206, 2.006, 3.17, 0.022),
        (3.17, 2.006, 2.205, 0.0046),
    ],
)
def test_the_best_rate_lies_between_the_neighbours_of_the_best_step(
    above: float, own: float, below: float, expected: float
) -> None:
    steps = [Step(0.1, above), Step(0.01, own), Step(0.001, below)]
    assert between_steps(steps, 0.01, UNIGRAM) == expected


@pytest.mark.parametrize(
    "dimension, expected",
    [
        (DECADES, True),
        (Listed("learning_rate", (0.001, 0.01)), False),
        (Listed("learning_rate", (0.001, 0.003, 0.01, 0.03, 0.1)), False),
        (Range("learning_rate", 1e-4, 1.0, log=True), True),
        (Range("learning_rate", 1e-4, 1.0), True),
        (Range("learning_rate", 0.01, 0.11, step=0.05), False),
    ],
)
def test_lists_by_tens_and_ranges_are_refined(dimension: Dimension, expected: bool) -> None:
    assert refinable(Space({"learning_rate": dimension})) is expected


def test_decades_become_a_range_that_holds_the_best_rates_of_all_sizes() -> None:
    rate = found_in(DECADES, math.inf, math.inf, 2.0, 3.0)  # 0.01, for 32 units
    kept = rate.narrowed["learning_rate"]
    # a tenth of what suits 512 units, to twice what suits 32
    assert kept.describe() == {"low": 1e-4, "high": 0.02, "scale": "log"}
    assert 0.01 in kept and 0.0037 in kept and 0.00371 not in kept


@pytest.mark.parametrize(
    "losses, kept",
    [
        ((math.inf, 2.9, 2.0, 2.5), [0.001, 0.01]),  # 0.1 has lost clearly
        ((math.inf, math.inf, 2.0, 2.5), [0.001, 0.01]),
        ((math.inf, 2.05, 2.0, 2.5), [0.001, 0.01, 0.1]),  # nearly as good
        ((2.0, 2.5), [0.1, 1.0]),
    ],
)
def test_of_a_template_listed_rates_are_kept_that_have_not_lost(
    losses: tuple[float, ...], kept: list[float]
) -> None:
    rate = found_in(DECADES, *losses, listed=True)
    assert rate.narrowed["learning_rate"].values() == kept
    config = SMALL.evolve(layer_size=512, learning_rate=0.01)
    assert rate.suits(config) and rate.suited(config) == config


listed = st.lists(st.floats(1e-6, 10), min_size=1, max_size=12, unique=True).map(
    lambda values: Listed("learning_rate", tuple(sorted(values)))
)
log_range = st.tuples(st.floats(1e-6, 1.0), st.floats(1.1, 1e6)).map(
    lambda ends: Range("learning_rate", ends[0], min(ends[0] * ends[1], 1e3), log=True)
)


@given(
    dimension=listed | log_range,
    losses=st.lists(st.floats(1.0, 3.5), min_size=7, max_size=7),
    share=st.floats(0, 1, exclude_max=True),
)
def test_the_search_never_leaves_the_space_and_keeps_a_best_rate(
    dimension: Dimension, losses: list[float], share: float
) -> None:
    rate = found_in(dimension, *losses)
    space = rate.narrowed
    kept = space["learning_rate"]
    values = [float(value) for value in dimension.values() or []]
    low = values[0] if values else getattr(dimension, "low", math.nan)
    high = values[-1] if values else getattr(dimension, "high", math.nan)
    drawn = float(kept.value_at(share))
    assert low * (1 - 1e-9) <= drawn <= high * (1 + 1e-9)
    assert refinable(Space({"learning_rate": dimension})) or drawn in dimension
    suited = as_lstm_config(rate.suited(SMALL.evolve(learning_rate=rate.rate)))
    assert suited.learning_rate in kept and rate.suits(suited)
