from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import TrainingWindows, usual_adjacent
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.policy.cost import (
    PRIOR,
    SCORING_ROWS,
    DataSize,
    operations,
    prior_seconds,
    steps_per_epoch,
)
from lstm_sweep.search.policy.lstm_problem import (
    CHEAPEST_S,
    FEWEST_APART,
    FEWEST_TARGETS,
    MOST_TARGETS,
    REPORT_S,
    USUAL_S,
    RoundSize,
    cheapest_network,
    fewest_steps,
    fitting_round_size,
    most_overhead,
    usual_network,
)
from lstm_sweep.search.policy.problem import Admits, admits_all
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space, with_settings

DIRECTIONS = [("uni",), ("bi",), ("uni", "bi")]
sizes = st.integers(100, 10**9)
alphabets = st.integers(4, 5_000)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Spaces of all sizes and shapes."""
    smallest, length = draw(st.integers(8, 256)), draw(st.integers(4, 100))
    return Space(
        {
            "direction": Listed("direction", draw(st.sampled_from(DIRECTIONS))),
            "layers": Listed("layers", draw(st.sampled_from([(1,), (2, 3), (1, 2, 4)]))),
            "layer_size": Range(
                "layer_size", smallest, smallest + 16 * draw(st.integers(1, 20)), step=16, log=True
            ),
            "sequence_length": Range(
                "sequence_length", length, length + 10 * draw(st.integers(1, 10)), step=10, log=True
            ),
            "batch_size": Listed("batch_size", draw(st.sampled_from([(16,), (32, 64), (64, 512)]))),
            "stride": Listed("stride", draw(st.sampled_from([(0,), (7,), (0, 30)]))),
        }
    )


def admits_of(symbols: int, alphabet: int) -> Admits:
    rule = SizeRule()
    return lambda config: rule.judge(as_lstm_config(config), alphabet, symbols).admitted


def seconds(
    config: TrialConfig, symbols: int, alphabet: int, found: RoundSize, adjacent: int = 1
) -> tuple[float, float]:
    """Predicted seconds of a round, and those of them that are not training."""
    rates = np.array(PRIOR)
    size = DataSize(symbols, alphabet, found.targets, found.rounds_per_epoch, adjacent=adjacent)
    trained = DataSize(symbols, alphabet, 0, found.rounds_per_epoch)
    whole = float(operations(config, size) @ rates) + REPORT_S
    return whole, whole - float(operations(config, trained) @ rates)


@given(spaces(), sizes, alphabets, st.one_of(st.none(), st.integers(1, 50_000)), st.integers(1, 20))
def test_a_round_is_long_enough_for_what_comes_with_it(
    space: Space, symbols: int, alphabet: int, targets: int | None, adjacent: int
) -> None:
    admits = admits_of(symbols, alphabet)
    found = fitting_round_size(
        space, symbols, alphabet, targets=targets, admits=admits, adjacent=adjacent
    )
    assert 1 <= found.rounds_per_epoch <= fewest_steps(space, symbols)
    assert targets in (None, found.targets)
    if found.rounds_per_epoch == 1:
        return
    usual, cheapest = usual_network(space, admits), cheapest_network(space, alphabet, admits)
    round_s, beside_s = seconds(usual, symbols, alphabet, found, adjacent)
    assert beside_s <= most_overhead(adjacent) * round_s * (1 + 1e-9)
    assert round_s - beside_s >= USUAL_S * (1 - 1e-9)
    round_s, beside_s = seconds(cheapest, symbols, alphabet, found, adjacent)
    assert round_s - beside_s >= CHEAPEST_S * (1 - 1e-9)
    if targets is None:
        fewest = FEWEST_APART if adjacent == 1 else FEWEST_TARGETS
        assert fewest <= found.targets <= MOST_TARGETS


@given(spaces(), sizes, alphabets, st.sampled_from([1, 24, 1_000]))
def test_a_round_is_no_longer_than_it_must_be(
    space: Space, symbols: int, alphabet: int, adjacent: int
) -> None:
    """Another round an epoch would break one of the bounds."""
    found = fitting_round_size(space, symbols, alphabet, adjacent=adjacent)
    fewest = FEWEST_APART if adjacent == 1 else FEWEST_TARGETS
    more = RoundSize(found.rounds_per_epoch + 1, fewest)
    usual = usual_network(space, lambda config: True)
    cheapest = cheapest_network(space, alphabet, lambda config: True)
    round_s, beside_s = seconds(usual, symbols, alphabet, more, adjacent)
    cheap_s, beside_cheap_s = seconds(cheapest, symbols, alphabet, more, adjacent)
    assert (
        beside_s > most_overhead(adjacent) * round_s
        or round_s - beside_s < USUAL_S
        or cheap_s - beside_cheap_s < CHEAPEST_S
        or more.rounds_per_epoch > fewest_steps(space, symbols)
    )


@given(spaces(), st.integers(100, 5_000))
def test_no_config_of_a_space_has_fewer_steps(space: Space, symbols: int) -> None:
    codes = np.full(symbols, 3, np.uint16)
    split = Split(codes, np.array([0]))
    least = fewest_steps(space, symbols)
    for seed in range(5):
        config = as_lstm_config(space.sample(np.random.default_rng(seed)))
        assert steps_per_epoch(config, DataSize(symbols, 9, 0)) >= least
        assert TrainingWindows(split, config, seed).epoch(1).steps >= least


@given(spaces(), sizes, alphabets, st.sampled_from([1, 24, 1_000]))
def test_where_an_epoch_is_a_round_as_many_targets_are_scored_as_its_time_allows(
    space: Space, symbols: int, alphabet: int, adjacent: int
) -> None:
    found = fitting_round_size(space, symbols, alphabet, rounds_per_epoch=1, adjacent=adjacent)
    assert found.rounds_per_epoch == 1
    assert FEWEST_TARGETS <= found.targets <= MOST_TARGETS
    usual = usual_network(space, lambda config: True)
    round_s, beside_s = seconds(usual, symbols, alphabet, found, adjacent)
    most = most_overhead(adjacent) * round_s
    assert found.targets == FEWEST_TARGETS or beside_s <= most * (1 + 1e-9)
    more = RoundSize(1, found.targets + SCORING_ROWS)
    round_s, beside_s = seconds(usual, symbols, alphabet, more, adjacent)
    assert found.targets == MOST_TARGETS or beside_s > most_overhead(adjacent) * round_s


@pytest.mark.parametrize(
    ("symbols", "alphabet", "least", "most"),
    [
        (48_000, 15, 1, 1),
        (240_000, 92, 1, 1),
        (1_003_854, 68, 3, 6),  # tinyshakespeare
        (27_000_000, 100, 90, 270),  # rounds of 100,000 to 300,000 symbols
    ],
)
def test_the_default_space_on_known_corpora(
    symbols: int, alphabet: int, least: int, most: int
) -> None:
    admits, adjacent = admits_of(symbols, alphabet), usual_adjacent(sharing=True)
    found = fitting_round_size(presets.DEFAULT, symbols, alphabet, admits=admits, adjacent=adjacent)
    assert least <= found.rounds_per_epoch <= most
    if symbols < 240_000:
        return
    for length in presets.DEFAULT["sequence_length"].values() or []:
        config = usual_network(presets.DEFAULT, admits).evolve(sequence_length=length)
        round_s, beside_s = seconds(config, symbols, alphabet, found, adjacent)
        assert beside_s < 0.08 * round_s, "nor does scoring cost much more with longer windows"


def test_where_all_networks_carry_their_state_all_symbols_are_targets_or_many() -> None:
    uni = with_settings(presets.DEFAULT, ["direction=uni"])
    carried = with_settings(uni, ["state=carried"])
    both = with_settings(uni, ["state=reset,carried"])
    config = usual_network(carried, admits_all)
    adjacent = usual_adjacent(sharing=True, carried=True)

    def found(space: Space, symbols: int, adjacent: int = adjacent) -> RoundSize:
        return fitting_round_size(
            space, symbols, 68, validation_symbols=symbols // 8, adjacent=adjacent
        )

    def share_of_score(symbols: int, of: RoundSize) -> float:
        size = DataSize(symbols, 68, of.targets, of.rounds_per_epoch, symbols // 8, adjacent)
        whole, trained = (prior_seconds(config, one) for one in (size, replace(size, targets=0)))
        return 1 - trained / whole

    few = found(carried, 200_000)
    assert few == RoundSize(1, 25_000) and share_of_score(200_000, few) < 0.06
    for symbols in (1_000_000, 100_000_000):
        many, windows = found(carried, symbols), found(uni, symbols, usual_adjacent(sharing=True))
        assert many.rounds_per_epoch >= windows.rounds_per_epoch > 1
        assert MOST_TARGETS < many.targets < symbols // 8
        assert share_of_score(symbols, many) < most_overhead(adjacent)
    large = found(with_settings(carried, ["layer_size=512"]), 1_000_000)
    assert large.targets / adjacent > 30, "groups in many places of the text"
    assert found(both, 1_000_000, 24) == found(uni, 1_000_000, 24)
    given_targets = fitting_round_size(
        carried, 1_000_000, 68, targets=125_000, validation_symbols=125_000, adjacent=adjacent
    )
    assert given_targets.targets == 125_000
