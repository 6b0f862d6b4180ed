from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.data.streams import scoring_blocks
from lstm_sweep.models.data.windows import scoring_targets
from lstm_sweep.search.policy.cost import (
    PRIOR,
    PRIOR_FIXED,
    CostModel,
    DataSize,
    operations,
    scored_windows,
)
from lstm_sweep.spaces import presets
from tests.unit.models.data.splits import split_of

EXTENT = DataSize(symbols=1_000_000, alphabet=90, targets=10_000)
#: rates of a machine whose products are slower than the prior says, and the rest quicker
RATES = np.array([1 / 20e9, 50e-6, 1e-9])
#: rates of one that is quick at products and slow at beginning them, as a GPU is
GPU_RATES = np.array([1 / 200e9, 400e-6, 1e-9])


def configs(count: int, seed: int = 0) -> list[TrialConfig]:
    rng = np.random.default_rng(seed)
    return [as_lstm_config(presets.DEFAULT.sample(rng)) for _ in range(count)]


def seconds(config: TrialConfig, rates: NDArray[np.float64] = RATES) -> float:
    """What an epoch takes on a machine of these rates."""
    return float(operations(config, EXTENT) @ rates)


def by_the_prior(config: TrialConfig) -> float:
    return float(operations(config, EXTENT) @ np.array(PRIOR))


@pytest.mark.parametrize(
    "targets, adjacent", [(10_752, 128), (4_608, 24), (512, 128), (111_540, 1)]
)
def test_what_streams_read_is_about_what_is_predicted(targets: int, adjacent: int) -> None:
    split = split_of([111_540])
    config = TrialConfig(direction="uni", state="carried", sequence_length=50)
    size = DataSize(10**6, 90, targets, validation=len(split), adjacent=adjacent)
    windows, batches = scored_windows(config, size)
    blocks = list(scoring_blocks(split, scoring_targets(split, targets, 0, adjacent)))
    read = sum(block.codes.size for block in blocks)
    steps = sum(block.codes.shape[1] for block in blocks)
    assert 0.6 < windows * 50 / read < 1.2
    assert 0.4 < batches * 50 / steps < 1.6


def taught(count: int, noise: float = 0.0, rates: NDArray[np.float64] = RATES) -> CostModel:
    """A model that has seen trials of some configs, four epochs each, the first a slow one."""
    model, rng = CostModel(EXTENT), np.random.default_rng(1)
    for number, config in enumerate(configs(count, seed=1)):
        epochs = seconds(config, rates) * (1 + noise * rng.standard_normal(4))
        model.observe(number, config, [9 * epochs[0], *epochs[1:]])
    return model


def errors(model: CostModel, rates: NDArray[np.float64] = RATES) -> NDArray[np.float64]:
    """Relative errors of predictions for configs that the model has not seen."""
    return np.array(
        [abs(model.round_seconds(c) / seconds(c, rates) - 1) for c in configs(200, seed=2)]
    )


def test_the_work_of_an_epoch_is_counted_in_closed_form() -> None:
    config = TrialConfig(layers=2, layer_size=10, sequence_length=20, batch_size=50)
    products, steps, elements = operations(config, DataSize(symbols=2_000, alphabet=5, targets=512))
    passes = 3 * 100 + 512  # 100 windows forward and back, and the targets forward
    layers = 8 * 10 * (5 + 10) + 8 * 10 * (10 + 10)
    head = 2 * 10 * 5
    assert products == passes * 20 * layers + (3 * 100 * 20 + 512) * head
    assert steps == (3 * 2 + 2) * 20 * 2
    assert elements == passes * 20 * 2 * 10


base = st.builds(
    TrialConfig,
    direction=st.sampled_from(["uni", "bi"]),
    layers=st.integers(1, 3),
    layer_size=st.integers(8, 512),
    sequence_length=st.integers(8, 160),
    batch_size=st.integers(16, 256),
)


@given(config=base, more=st.integers(1, 300))
def test_a_larger_network_costs_more(config: TrialConfig, more: int) -> None:
    model = CostModel(EXTENT)
    cost = model.round_seconds(config)
    assert model.round_seconds(config.evolve(layer_size=config.layer_size + more)) > cost
    assert model.round_seconds(config.evolve(layers=config.layers + 1)) > cost


@pytest.mark.parametrize(
    "count, noise, typical, at_most",
    [
        (10, 0.0, 0.05, 0.15),
        (20, 0.0, 0.03, 0.06),
        (40, 0.0, 0.02, 0.05),
        (40, 0.05, 0.03, 0.08),  # epochs that differ by 5 % from one to the next
    ],
)
def test_predictions_for_other_configs_are_near(
    count: int, noise: float, typical: float, at_most: float
) -> None:
    found = errors(taught(count, noise))
    assert np.median(found) < typical and np.max(found) < at_most


def test_a_machine_that_is_unlike_the_prior_is_learned_too() -> None:
    assert np.median(errors(taught(40, rates=GPU_RATES), GPU_RATES)) < 0.1


@pytest.mark.parametrize(
    ("rounds", "total", "typical", "fixed"),
    [
        ([], None, None, PRIOR_FIXED),
        ([70.0], 80.0, None, PRIOR_FIXED),
        ([500.0, 4.0, 4.0], None, 4.0, PRIOR_FIXED),  # the first one includes tracing
        ([9.0, 4.0, 4.0, 90.0, 4.0], None, 4.0, PRIOR_FIXED),  # one took long by chance
        # the first epoch counts as a typical one, and what it took beyond that is fixed
        ([5.0, 4.0, 4.0], 19.0, 4.0, 7.0),
        ([5.0, 4.0, 4.0], 1.0, 4.0, 0.0),  # a clock that runs backwards
    ],
)
def test_what_is_learned_of_a_trial(
    rounds: list[float], total: float | None, typical: float | None, fixed: float
) -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, [9.0, 8.0] if typical else [])  # what is seen later takes its place
    model.observe(0, config, rounds, total=total)
    expected = typical or by_the_prior(config)
    assert model.round_seconds(config) == pytest.approx(expected)
    assert model.fixed_seconds == pytest.approx(fixed)
    assert model.trial_seconds(config, 10) == pytest.approx(fixed + 10 * expected)
