from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import (
    LARGE,
    LARGE_CORPUS,
    lstm_problem,
    rate_share,
)
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import SMALL_CORPUS
from lstm_sweep.spaces.space import with_settings

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
    problem = lstm_problem(presets.DEFAULT, size, unigram_loss=3.0, admits=lambda config: False)
    small = problem.smallest
    assert isinstance(small, TrialConfig)
    assert (small.layers, small.layer_size, small.sequence_length, small.batch_size) == (
        2, 32, 20, 32,
    )  # fmt: skip
    assert small.averaging == "polynomial", "it is scored as the networks of the search are"
    assert problem.rate_share(small) == 1
    assert problem.lowest_rate_share == pytest.approx(2 * 32 / (3 * 512))


SHAKESPEARE = DataSize(1_003_854, alphabet=68, targets=2_304, rounds_per_epoch=3)


def test_large_networks_have_dropout_and_about_as_many_parameters_as_there_are_symbols() -> None:
    problem = lstm_problem(presets.DEFAULT, SHAKESPEARE, unigram_loss=3.0)
    found = [one for one in problem.large_openings(0.004) if one.rounds == 1]
    networks = [as_lstm_config(one.config) for one in found]
    assert [one.layer_size for one in networks] == list(range(384, 175, -16))
    assert {(one.layers, one.dropout, one.learning_rate) for one in networks} == {(2, 0.2, 0.004)}
    sizes = [parameters(one, SHAKESPEARE.alphabet) / SHAKESPEARE.symbols for one in networks]
    assert LARGE[0] <= sizes[-1] < sizes[0] <= LARGE[1]


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
    found = lstm_problem(space, SHAKESPEARE, unigram_loss=3.0).large_openings(0.004)
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
    found = lstm_problem(space, size, unigram_loss=3.0).large_openings(0.01)
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
    found = lstm_problem(space, size, unigram_loss=3.0).large_openings(0.01)
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
