"""What is known of LSTMs before one is trained: rates, rounds, and a large network for the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import usual_adjacent
from lstm_sweep.models.size import SizeRule, parameters
from lstm_sweep.search.policy.cost import (
    PRIOR,
    DataSize,
    operations,
    prior_seconds,
    steps_per_epoch,
)
from lstm_sweep.search.policy.lstm_problem import (
    CHEAPEST_S,
    FEWEST_APART,
    FEWEST_TARGETS,
    LARGE_CORPUS,
    MOST_TARGETS,
    REPORT_S,
    USUAL_S,
    cheapest_network,
    fewest_steps,
    fitting_grain,
    lstm_problem,
    most_overhead,
    rate_share,
    usual_network,
)
from lstm_sweep.search.policy.problem import Admits, LargeNetwork, admits_all
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Phase, Trial
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import SMALL_CORPUS, CorpusFacts, Listed, Range
from lstm_sweep.spaces.space import Space, with_settings
from tests.simulated import Simulation
from tests.unit.search.policy.player import SPACE, Curve, each_slots, play, usual

SMALL = TrialConfig(layers=2, layer_size=32)


@pytest.mark.parametrize(
    "changes, share",
    [
        ({}, 1),
        ({"layer_size": 64}, 1 / 2),
        ({"layer_size": 512}, 1 / 16),
        ({"layers": 3}, 2 / 3),
        ({"layer_size": 64, "layers": 4}, 1 / 4),
        ({"batch_size": 256, "sequence_length": 160, "dropout": 0.5}, 1),
        ({"layer_size": 64, "optimizer": "adam"}, 1 / 2),
        ({"layer_size": 64, "optimizer": "sgd"}, 1),
        ({"layer_size": 64, "optimizer": "adagrad"}, 1),
    ],
)
def test_the_best_rate_falls_with_the_size_and_number_of_layers(
    changes: dict[str, int | float | str], share: float
) -> None:
    assert rate_share(SMALL.evolve(**changes), SMALL) == pytest.approx(share)


def test_a_ladder_is_climbed_by_the_smallest_network_whatever_is_admitted() -> None:
    size = DataSize(30_000_000, alphabet=90, targets=2_000, rounds_per_epoch=90)
    problem = lstm_problem(presets.DEFAULT, size, untrained_loss=3.0, admits=lambda config: False)
    small = problem.smallest
    assert isinstance(small, TrialConfig)
    assert (small.layers, small.layer_size, small.sequence_length, small.batch_size) == (
        2, 32, 20, 32,
    )  # fmt: skip
    assert small.averaging == "polynomial", "it is scored as the networks of the search are"
    assert problem.rate_share(small) == 1
    assert problem.lowest_rate_share == pytest.approx(2 * 32 / (3 * 512))


SHAKESPEARE = DataSize(1_003_854, alphabet=68, targets=2_304, rounds_per_epoch=3)


@pytest.mark.parametrize(
    "settings, windows",
    [
        ((), {50, 20}),
        (("sequence_length=20,35,45",), {45, 20}),
        (("sequence_length=20..400",), {50, 20}),
        (("sequence_length=20,160",), {20}),
        (("sequence_length=100..160",), {100}),
        (("sequence_length=20",), {20}),
        (("state=carried",), {20}),
    ],
)
def test_large_networks_in_longer_windows_come_first(
    settings: tuple[str, ...], windows: set[int]
) -> None:
    space = with_settings(presets.DEFAULT, ["direction=uni", *settings])
    found = lstm_problem(space, SHAKESPEARE, untrained_loss=3.0).large_openings(0.004)
    lengths = [as_lstm_config(one.config).sequence_length for one in found]
    assert set(lengths) == windows and lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize(
    "symbols, settings, some",
    [
        (SMALL_CORPUS, [], True),
        (SMALL_CORPUS - 1, [], False),
        (SMALL_CORPUS, ["dropout=0"], False),
        (SMALL_CORPUS, ["dropout=0.5"], True),
        (LARGE_CORPUS, [], True),
        (30_000_000, ["dropout=0.5"], False),  # what is large for it is larger than all there are
    ],
)
def test_there_are_large_networks_for_corpora_and_spaces_that_have_room_for_them(
    symbols: int, settings: list[str], some: bool
) -> None:
    space = with_settings(presets.DEFAULT, settings)
    size = DataSize(symbols, alphabet=68, targets=2_304)
    found = lstm_problem(space, size, untrained_loss=3.0).large_openings(0.01)
    assert bool(found) == some
    assert all(
        space["dropout"].value_at(0.25) == as_lstm_config(one.config).dropout for one in found
    )


@pytest.mark.parametrize("symbols, dropouts", [(4_000_000, [0.2, 0.0]), (24_000_000, [0.0])])
@pytest.mark.parametrize("settings", [[], ["dropout=0"]])
def test_of_a_large_corpus_those_without_dropout_are_large_for_the_time_that_there_is(
    symbols: int, dropouts: list[float], settings: list[str]
) -> None:
    """They show what they are worth after 20 symbols for each parameter."""
    space = with_settings(presets.DEFAULT, ["direction=uni", *settings])
    size = DataSize(symbols, alphabet=99, targets=4_000, rounds_per_epoch=symbols // 300_000)
    found = lstm_problem(space, size, untrained_loss=3.0).large_openings(0.01)
    networks = [as_lstm_config(one.config) for one in found]
    assert [*dict.fromkeys(one.dropout for one in networks)] == dropouts[bool(settings) :] or [0.0]
    own = [(one, net) for one, net in zip(found, networks, strict=True) if not net.dropout]
    assert [net.sequence_length for _, net in own[:: len(own) - 1]] == [50, 20]
    a_round = symbols / size.rounds_per_epoch
    for one, network in own:
        count = parameters(network, 99)
        assert 400_000 <= count <= 0.4 * symbols
        needed, off = 20 * count / a_round, one.judged_from / (20 * count / a_round)
        assert needed < 9 or 3**-0.51 < off < 3**0.51, "the nearest rung"
        assert 0 <= one.begun_after * a_round - 3_000_000 < a_round
    with_dropout = [one for one in found if as_lstm_config(one.config).dropout]
    assert all(one.judged_from >= 8 * size.rounds_per_epoch for one in with_dropout)


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
    config: TrialConfig, symbols: int, alphabet: int, grain: tuple[int, int], adjacent: int = 1
) -> tuple[float, float]:
    """Predicted seconds of a round, and those of them that are not training."""
    rates = np.array(PRIOR)
    size = DataSize(symbols, alphabet, grain[1], grain[0], adjacent=adjacent)
    trained = DataSize(symbols, alphabet, 0, grain[0])
    whole = float(operations(config, size) @ rates) + REPORT_S
    return whole, whole - float(operations(config, trained) @ rates)


@given(spaces(), sizes, alphabets, st.one_of(st.none(), st.integers(1, 50_000)), st.integers(1, 20))
def test_a_round_is_long_enough_for_what_comes_with_it(
    space: Space, symbols: int, alphabet: int, targets: int | None, adjacent: int
) -> None:
    admits = admits_of(symbols, alphabet)
    size = DataSize(symbols, alphabet, 0, adjacent=adjacent)
    found = rounds, scored = fitting_grain(space, size, admits, targets=targets)
    assert 1 <= rounds <= fewest_steps(space, DataSize(symbols, 30, 0))
    assert targets in (None, scored)
    if rounds == 1:
        return
    usual = usual_network(space, admits)
    cheapest = cheapest_network(space, DataSize(symbols, alphabet, 0), admits)
    round_s, beside_s = seconds(usual, symbols, alphabet, found, adjacent)
    assert beside_s <= most_overhead(adjacent) * round_s * (1 + 1e-9)
    assert round_s - beside_s >= USUAL_S * (1 - 1e-9)
    round_s, beside_s = seconds(cheapest, symbols, alphabet, found, adjacent)
    assert round_s - beside_s >= CHEAPEST_S * (1 - 1e-9)
    if targets is None:
        fewest = FEWEST_APART if adjacent == 1 else FEWEST_TARGETS
        assert fewest <= scored <= MOST_TARGETS


@given(spaces(), st.integers(100, 5_000))
def test_no_config_of_a_space_has_fewer_steps(space: Space, symbols: int) -> None:
    codes = np.full(symbols, 3, np.uint16)
    split = Split(codes, np.array([0]))
    least = fewest_steps(space, DataSize(symbols, 30, 0))
    for seed in range(5):
        config = as_lstm_config(space.sample(np.random.default_rng(seed)))
        assert steps_per_epoch(config, DataSize(symbols, 9, 0)) >= least
        assert training_epoch(split, config, seed, 1).steps >= least


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
    found = fitting_grain(
        presets.DEFAULT, DataSize(symbols, alphabet, 0, adjacent=adjacent), admits
    )
    assert least <= found[0] <= most
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

    def size_of(symbols: int, adjacent: int = adjacent) -> DataSize:
        return DataSize(symbols, 68, 0, validation=symbols // 8, adjacent=adjacent)

    def found(space: Space, symbols: int, adjacent: int = adjacent) -> tuple[int, int]:
        return fitting_grain(space, size_of(symbols, adjacent))

    def share_of_score(symbols: int, grain: tuple[int, int]) -> float:
        size = replace(size_of(symbols), rounds_per_epoch=grain[0], targets=grain[1])
        whole, trained = (prior_seconds(config, one) for one in (size, replace(size, targets=0)))
        return 1 - trained / whole

    few = found(carried, 200_000)
    assert few == (1, 25_000) and share_of_score(200_000, few) < 0.06
    for symbols in (1_000_000, 100_000_000):
        many, windows = found(carried, symbols), found(uni, symbols, usual_adjacent(sharing=True))
        assert many[0] >= windows[0] > 1 and MOST_TARGETS < many[1] < symbols // 8
        assert share_of_score(symbols, many) < most_overhead(adjacent)
    large = found(with_settings(carried, ["layer_size=512"]), 1_000_000)
    assert large[1] / adjacent > 30, "groups in many places of the text"
    assert found(both, 1_000_000, 24) == found(uni, 1_000_000, 24)
    assert fitting_grain(carried, size_of(1_000_000), targets=125_000)[1] == 125_000


WIDE = TrialConfig(layers=2, layer_size=64, dropout=0.125, epochs=12)
MEDIUM = WIDE.evolve(layer_size=48)
PLAN = Plan(trials=60, seconds=240.0)
#: rungs are 1, 3 and 9 epochs
LONGER = Space({**SPACE, "epochs": Listed("epochs", (12,))})
KNOWN: dict[str, Any] = {
    "first_rung": 1,
    "large_openings": lambda best: tuple(
        LargeNetwork(one.evolve(learning_rate=best), 1, 3, 9) for one in (WIDE, MEDIUM)
    ),
}


def large_ones(played: Simulation) -> list[Trial]:
    return [one for one in played.of(Phase.SEARCH) if is_large(one.config)]


def is_large(config: Config) -> bool:
    """Whether it is one of these; of others few have this dropout by chance."""
    own = as_lstm_config(config)
    return own.dropout == WIDE.dropout and own.layers == 2 and own.layer_size >= 48


def late(trial: Trial) -> Curve:
    """As usual, but the large network is far behind until the rung at which it is compared."""
    curve = usual(trial)
    return replace(curve, losses=[2.9] * 8 + [0.5] * 4) if is_large(trial.config) else curve


@each_slots
def test_it_is_begun_once_others_are_worth_something_and_trains_until_it_may_lead(
    slots: int,
) -> None:
    played = play(PLAN, LONGER, curves=late, slots=slots, **KNOWN)
    large, *_ = large_ones(played)
    assert len(large.rounds) == 12 and large.best_loss == 0.5
    rate = as_lstm_config(large.config).learning_rate
    assert large.config == WIDE.evolve(learning_rate=rate)
    shown = [one for one in played.of(Phase.SEARCH) if one.began < large.began]
    assert any(len(one.rounds) >= 3 for one in shown)


@pytest.mark.parametrize("rounds, windows", [(12, 50), (10_000, 40)])
def test_it_has_longer_windows_if_there_is_time_until_they_pay(rounds: int, windows: int) -> None:
    def large(best: float) -> list[LargeNetwork]:
        short = WIDE.evolve(learning_rate=best)
        longer = LargeNetwork(short.evolve(sequence_length=50), rounds, 3, 9)
        return [longer, LargeNetwork(short, 1, 3, 9)]

    own = large_ones(play(PLAN, LONGER, slots=2, **{**KNOWN, "large_openings": large}))
    assert [as_lstm_config(one.config).sequence_length for one in own] == [windows]


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, seconds=None),  # which share of the time it takes is not known
        replace(PLAN, halving=False),  # all are trained to their end there
        replace(PLAN, ladder=False),  # no rate is known that suits it
        replace(PLAN, seconds=30.0),  # less than nine epochs of the smaller one take
    ],
)
def test_a_sweep_without_time_halving_or_ladder_has_none(plan: Plan) -> None:
    assert large_ones(play(plan, LONGER, slots=2, **KNOWN)) == []


def test_the_search_is_not_over_while_it_may_still_become_the_best() -> None:
    """The budget of trials is spent and all others have ended, but it runs."""
    plan = replace(PLAN, trials=12, confirm_configs=1, confirm_seeds=2)
    played = play(plan, LONGER, curves=late, **KNOWN)
    [large] = large_ones(played)
    again = played.of(Phase.CONFIRM)
    assert again and min(one.began for one in again) >= large.began + large.seconds
    assert {one.config for one in again} == {large.config}


@pytest.mark.parametrize(
    ("sequences", "symbols", "lengths", "first_rung"),
    [(5_000, 10, [10], 3), (20_000, 230, [230], 1), (3_000, 4_000, [250, 500, 1_000], 1)],
)
def test_classes_are_compared_once_a_start_has_paid_and_read_as_far_as_that_may_help(
    sequences: int, symbols: int, lengths: list[int], first_rung: int
) -> None:
    total, quantiles = sequences * symbols, (symbols,) * 65
    size = DataSize(total, 3_000, sequences // 8, lengths=quantiles, classes=7)
    space = presets.CLASSES.settled(CorpusFacts(total, lengths=quantiles))
    problem = lstm_problem(space, size, untrained_loss=2.0)
    assert space["sequence_length"].values() == lengths
    assert problem.first_rung == first_rung
    first, large, *_ = map(as_lstm_config, problem.openings(0.01, admits_all))
    assert large.layer_size > first.layer_size and large.direction == "bi"
    assert 0.3 <= first.dropout <= 0.4 and first.embedding_size == 128
