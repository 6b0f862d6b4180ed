from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import (
    RoundPart,
    epoch_text,
    epochs_text,
    part_of_epoch,
)
from lstm_sweep.models.scoring import log_softmax, score
from lstm_sweep.models.size import SizeRule, parameters

ALPHABET = 7


def counted(config: TrialConfig, alphabet: int) -> int:
    """Add up the shapes of the weights, matrix by matrix."""
    shapes: list[tuple[int, ...]] = []
    width = alphabet
    if config.embedding_size:
        shapes.append((alphabet, config.embedding_size))
        width = config.embedding_size
    units = config.layer_size
    for _ in range(config.layers):
        gates: list[tuple[int, ...]] = [(width, 4 * units), (units, 4 * units), (4 * units,)]
        if config.direction == "uni":
            shapes += gates
            width = units
        else:
            shapes += gates + gates
            width = units + units
    shapes += [(width, alphabet), (alphabet,)]
    return sum(math.prod(shape) for shape in shapes)


configs = st.builds(
    TrialConfig,
    direction=st.sampled_from(["uni", "bi"]),
    layers=st.integers(1, 15),
    layer_size=st.integers(1, 2000),
    embedding_size=st.integers(0, 300),
)


@given(configs, st.integers(4, 5000))
def test_the_closed_form_is_the_sum_over_all_weights(config: TrialConfig, alphabet: int) -> None:
    assert parameters(config, alphabet) == counted(config, alphabet)


#: 302 parameters
SMALL = TrialConfig(layers=1, layer_size=5)


@pytest.mark.parametrize(
    ("symbols", "admitted", "word"),
    [
        # 302 / 604 is the lower bound itself
        (604, True, "fits: from 0.5 to 2"),
        (605, False, "too small: below 0.5"),
        # 302 / 151 is the upper bound itself
        (151, True, "fits: from 0.5 to 2"),
        (150, False, "too large: above 2"),
    ],
)
def test_the_size_rule_includes_its_bounds(symbols: int, admitted: bool, word: str) -> None:
    verdict = SizeRule(0.5, 2).judge(SMALL, ALPHABET, symbols)
    assert verdict.admitted is admitted
    assert word in verdict.reason


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (math.nan, 1), (0, math.nan)])
def test_a_size_rule_with_wrong_bounds_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"size rule from .* expected 0 <= low <= high"):
        SizeRule(low, high)


#: the probability of symbols 0 to 6 in three predictions
HAND_MADE = np.log(
    [
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
        [0.03, 0.04, 0.08, 0.10, 0.15, 0.20, 0.40],
        [0.10, 0.40, 0.20, 0.15, 0.08, 0.04, 0.03],
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
    ]
)
#: ranks 1, 5, 6 and 7
SYMBOLS = np.array([0, 2, 5, 6])


def test_a_hand_made_example_scores_as_computed_by_hand() -> None:
    result = score([(HAND_MADE, SYMBOLS)])
    assert result["loss"] == pytest.approx(-math.log(0.40 * 0.08 * 0.04 * 0.03) / 4)
    assert result["accuracy"] == 1 / 4
    assert result["top5_accuracy"] == 2 / 4


def test_a_tie_counts_for_the_prediction() -> None:
    tie = np.log(np.full((1, 10), 0.1))
    result = score([(tie, np.array([9]))])
    assert (result["accuracy"], result["top5_accuracy"]) == (1, 1)


def test_huge_logits_of_a_network_give_no_overflow() -> None:
    values = np.array([[1e38, -1e38, 1e38]], np.float32)
    result = log_softmax(values)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0, [0, 2]], -math.log(2))
    assert math.isfinite(result[0, 1])


@given(st.integers(1, 500), st.integers(1, 50), st.integers(1, 9))
def test_the_rounds_of_an_epoch_are_all_of_its_steps_in_order(
    steps: int, rounds: int, epoch: int
) -> None:
    numbers = range((epoch - 1) * rounds + 1, epoch * rounds + 1)
    parts = [part_of_epoch(number, rounds, steps) for number in numbers]
    assert {part.epoch for part in parts} == {epoch}
    assert (parts[0].begin, parts[-1].end) == (0, steps)
    assert all(a.end == b.begin for a, b in itertools.pairwise(parts))
    sizes = [part.end - part.begin for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1 or rounds > steps


@pytest.mark.parametrize(
    ("number", "rounds", "text"),
    [(1, 4, "0.25"), (2, 5, "0.4"), (1, 3, "0.33"), (4, 4, "1"), (50, 5, "10"), (1, 200, "0.005")],
)
def test_epochs_are_written_with_the_places_that_tell_rounds_apart(
    number: int, rounds: int, text: str
) -> None:
    assert epoch_text(number, rounds) == text


@given(st.integers(1, 3000), st.integers(2, 3000))
def test_rounds_have_texts_of_their_own(number: int, rounds: int) -> None:
    assert epoch_text(number, rounds) != epoch_text(number + 1, rounds)
    assert float(epochs_text(number, rounds)) == number


@pytest.mark.parametrize("steps, end", [(100, 20), (20, 20), (15, 15), (10, 10), (3, 10), (-4, 10)])
def test_a_part_up_to_a_step_ends_there_and_never_before_it_begins(steps: int, end: int) -> None:
    assert RoundPart(2, 10, 20).up_to(steps) == RoundPart(2, 10, end)
