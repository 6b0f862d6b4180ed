from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
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


def test_two_million_symbols_ask_for_as_large_a_network_as_a_billion_do() -> None:
    network, rule = TrialConfig(layers=2, layer_size=512), SizeRule()
    verdicts = [rule.judge(network, 100, symbols) for symbols in (2 * 10**6, 10**9)]
    assert [verdict.admitted for verdict in verdicts] == [True, True]
    assert "from 0.1 to 10)" in verdicts[0].reason
    assert "from 0.1 for each of 2,000,000 to 10)" in verdicts[1].reason
    assert rule.bounds(2 * 10**6) == (2e5, 2e7) and rule.bounds(10**9) == (2e5, 1e10)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (math.nan, 1), (0, math.nan)])
def test_a_size_rule_with_wrong_bounds_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"size rule from .* expected 0 <= low <= high"):
        SizeRule(low, high)
