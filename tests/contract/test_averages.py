"""Averages of weights: what is scored, kept and exported, and nothing of it in the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu import optimizer as averaging
from lstm_sweep.models.data.windows import StepWindows
from tests.conftest import in_full
from tests.contract.arithmetic import programs, steps_of

CONFIG = TrialConfig(layers=1, layer_size=8, sequence_length=5, batch_size=4, dropout=0.2)
#: of one with idle units, two layers and an embedding
LARGE = CONFIG.evolve(layers=2, layer_size=128, embedding_size=3, direction="bi")


pytestmark = pytest.mark.usefixtures("prepared")


def repeated(steps: StepWindows, count: int) -> StepWindows:
    chosen = np.arange(count) % len(steps.codes)
    return StepWindows(steps.codes[chosen], steps.first[chosen])


@pytest.mark.parametrize("config", [CONFIG, *in_full(LARGE)], ids=["small", "large"])
def test_the_average_is_that_of_the_weights_after_each_step(config: TrialConfig) -> None:
    """Also where steps are left out, and whatever is trained in one call."""
    count = averaging.EACH_UNTIL + 2 * averaging.INTERVAL + 3
    steps = repeated(steps_of(config, 9, 5), count)
    _, (alone, one) = programs(config, 9)
    _, (in_loop, other) = programs(config, 9)
    expected = [np.zeros(weight.shape) for weight in one.trained.weights]
    for number in range(count):
        alone.train(StepWindows(steps.codes[[number]], steps.first[[number]]))
        alone.sync()
        if averaging.is_due(number + 1):
            share = averaging.share(number + 1)
            weights = one.trained.get_weights()
            expected = [e + share * (w - e) for e, w in zip(expected, weights, strict=True)]
    in_loop.train(steps)
    in_loop.sync()
    last = one.trained.get_weights()
    for place, average in enumerate(other.scored.get_weights()):
        np.testing.assert_array_equal(average, one.scored.get_weights()[place])
        np.testing.assert_allclose(average, expected[place], atol=1e-5)
        assert np.abs(average - last[place]).max() > 1e-4
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    by_keras = other.scored.predict_on_batch(windows)
    np.testing.assert_allclose(in_loop.logits(windows), by_keras, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", *in_full("bfloat16", "float16")])
def test_layers_of_keras_are_averaged_too(precision: str) -> None:
    """As on a GPU: after every step."""
    from lstm_sweep.models.cpu import programs
    from lstm_sweep.models.network import lstm

    config = CONFIG.evolve(precision=precision)
    networks = lstm.build(config, 9, mixed=True)
    lstm.compile_for_training(networks.trained, config)
    made = programs.KerasProgram(networks, config)
    start = networks.trained.get_weights()
    for average, weight in zip(networks.scored.get_weights(), start, strict=True):
        np.testing.assert_array_equal(average, weight)
    optimizer = networks.trained.optimizer
    counted = getattr(optimizer, "inner_optimizer", optimizer).iterations
    expected = start
    for _ in range(20):
        made.train(repeated(steps_of(config, 9, 1), 1))
        share = averaging.share_of_each(max(1, int(counted)))
        weights = networks.trained.get_weights()
        expected = [e + share * (w - e) for e, w in zip(expected, weights, strict=True)]
    made.sync()
    assert int(counted) > 0
    for average, own in zip(networks.scored.get_weights(), expected, strict=True):
        np.testing.assert_allclose(average, own, atol=1e-5)
    assert any(
        np.abs(average - weight).max() > 1e-4
        for average, weight in zip(
            networks.scored.get_weights(), networks.trained.get_weights(), strict=True
        )
    )


@pytest.mark.parametrize("direction", ["uni", *in_full("bi")])
def test_averages_change_no_step(direction: str) -> None:
    found: list[Any] = []
    for kind in ("polynomial", "off"):
        config = CONFIG.evolve(direction=direction, averaging=kind)
        _, (program, networks) = programs(config, 9)
        losses, _ = program.train(repeated(steps_of(config, 9, 4), 20))
        program.sync()
        found.append([losses, *networks.trained.get_weights()])
    for left, right in zip(*found, strict=True):
        np.testing.assert_array_equal(left, right)
