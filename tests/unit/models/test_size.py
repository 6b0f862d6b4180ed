from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule, lstm_parameters, parameters

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


def test_an_lstm_layer_of_512_units_on_3000_inputs_has_7194624_parameters() -> None:
    assert lstm_parameters(3000, 512) == 7_194_624


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # 4 * (5 * (7 + 5) + 5) = 260; output (5 + 1) * 7 = 42
        (TrialConfig(layers=1, layer_size=5), 302),
        # embedding 21; 2 * 4 * (5 * (3 + 5) + 5) = 360; 2 * 4 * (5 * (10 + 5) + 5) = 640; output 77
        (TrialConfig(direction="bi", layers=2, layer_size=5, embedding_size=3), 1098),
    ],
)
def test_the_parameters_of_a_network_equal_those_counted_by_hand(
    config: TrialConfig, expected: int
) -> None:
    assert parameters(config, ALPHABET) == expected


@given(configs, st.integers(4, 5000))
def test_the_closed_form_is_the_sum_over_all_weights(config: TrialConfig, alphabet: int) -> None:
    assert parameters(config, alphabet) == counted(config, alphabet)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_an_lstm_layer_grows_with_inputs_and_units(inputs: int, units: int) -> None:
    here = lstm_parameters(inputs, units)
    assert here < lstm_parameters(inputs + 1, units)
    assert here < lstm_parameters(inputs, units + 1)


@given(configs, st.integers(4, 5000))
def test_a_network_grows_with_layers_units_and_alphabet(config: TrialConfig, alphabet: int) -> None:
    here = parameters(config, alphabet)
    assert here < parameters(config.evolve(layers=config.layers + 1), alphabet)
    assert here < parameters(config.evolve(layer_size=config.layer_size + 1), alphabet)
    assert here < parameters(config, alphabet + 1)


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


@pytest.mark.parametrize(("symbols", "admitted"), [(3020, True), (3021, False), (31, True)])
def test_the_default_size_rule_goes_from_a_tenth_to_ten(symbols: int, admitted: bool) -> None:
    assert SizeRule().judge(SMALL, ALPHABET, symbols).admitted is admitted


def test_the_default_size_rule_refuses_more_than_ten_parameters_per_symbol() -> None:
    assert not SizeRule().judge(SMALL, ALPHABET, 30).admitted


@pytest.mark.parametrize(
    ("symbols", "word"),
    [(2 * 10**6, "too small: below 2)"), (10**9, "too small: below 2 for each of 2,000,000)")],
)
def test_a_network_may_be_too_small_for_a_large_corpus(symbols: int, word: str) -> None:
    verdict = SizeRule(2, 9).judge(TrialConfig(layers=2, layer_size=512), 100, symbols)
    assert verdict.parameters < 4_000_000
    assert not verdict.admitted and word in verdict.reason


def test_two_million_symbols_ask_for_as_large_a_network_as_a_billion_do() -> None:
    network, rule = TrialConfig(layers=2, layer_size=512), SizeRule()
    verdicts = [rule.judge(network, 100, symbols) for symbols in (2 * 10**6, 10**9)]
    assert [verdict.admitted for verdict in verdicts] == [True, True]
    assert "from 0.1 to 10)" in verdicts[0].reason
    assert "from 0.1 for each of 2,000,000 to 10)" in verdicts[1].reason
    assert rule.bounds(2 * 10**6) == (2e5, 2e7) and rule.bounds(10**9) == (2e5, 1e10)


def test_the_upper_bound_counts_all_symbols() -> None:
    network = TrialConfig(layers=2, layer_size=512)
    assert SizeRule(0.01, 0.2).judge(network, 100, 20_000_000).admitted
    assert not SizeRule(0.01, 0.1).judge(network, 100, 20_000_000).admitted


def test_a_verdict_gives_its_numbers() -> None:
    verdict = SizeRule().judge(TrialConfig(layers=1, layer_size=512), 3000, 2_000_000)
    # the layer, and an output of (512 + 1) * 3000
    assert verdict.parameters == 7_194_624 + 1_539_000
    assert verdict.symbols == 2_000_000
    assert verdict.ratio == pytest.approx(4.366812)
    assert verdict.reason.startswith("8,733,624 parameters for 2,000,000 training symbols, 4.37 ")


@pytest.mark.parametrize(("low", "high"), [(2, 1), (-1, 1), (math.nan, 1), (0, math.nan)])
def test_a_size_rule_with_wrong_bounds_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match=r"size rule from .* expected 0 <= low <= high"):
        SizeRule(low, high)
