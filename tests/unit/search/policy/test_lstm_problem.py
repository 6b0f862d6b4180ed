from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import (
    USUAL_RATE,
    features,
    lstm_problem,
    rate_share,
)
from lstm_sweep.spaces import presets

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
    assert problem.rate_share(small) == 1
    assert problem.lowest_rate_share == pytest.approx(2 * 32 / (3 * 512))


def test_features_tell_how_far_a_rate_is_from_the_one_that_suits_a_network() -> None:
    small = TrialConfig(layers=1, layer_size=16)
    large = small.evolve(layer_size=32, learning_rate=0.0005)
    decades, squared, size, *_ = features(large, small, 0.01)
    assert (decades, squared, size) == pytest.approx((-1.0, 1.0, 5.0))
    usual = features(small.evolve(learning_rate=USUAL_RATE), small, None)
    assert usual[:2] == pytest.approx((0.0, 0.0))
