from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.data.streams import RUN_UP, scoring_blocks
from lstm_sweep.models.data.windows import scoring_targets, steps_with_target
from lstm_sweep.search.policy.arrays import Array
from lstm_sweep.search.policy.cost import (
    PRIOR,
    PRIOR_FIXED,
    SCORING_ROWS,
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
    ("length", "windows"), [(1, 4_000), (9, 4_000), (20, 1_500), (60, 750), (160, 250)]
)
def test_targets_side_by_side_are_scored_in_shared_windows(length: int, windows: int) -> None:
    size = DataSize(1_000_000, 90, 4_000, adjacent=16)
    config = TrialConfig(direction="uni", sequence_length=length)
    assert scored_windows(config, size) == (windows, math.ceil(windows / SCORING_ROWS))
    apart = dataclasses.replace(size, adjacent=1)
    assert scored_windows(config, apart) == (4_000, 16)
    both = config.evolve(direction="bi")
    assert scored_windows(both, size) == scored_windows(both, apart) == (4_000, 16)
    few = dataclasses.replace(size, targets=3)
    steps = steps_with_target(length)
    assert scored_windows(config, few)[0] == math.ceil(3 / steps)
    all_in_one = dataclasses.replace(size, adjacent=100_000)
    assert scored_windows(config, all_in_one)[0] == math.ceil(4_000 / steps)


def test_a_run_up_leads_to_several_targets_side_by_side() -> None:
    config = TrialConfig(direction="uni", state="carried", sequence_length=50)
    size = DataSize(10**8, 90, 4_000)
    windows, _ = scored_windows(config, size)
    shared, _ = scored_windows(config, dataclasses.replace(size, adjacent=16))
    assert windows == 4_000 * RUN_UP / 50
    assert shared == 250 * (RUN_UP + 15) / 50
    all_in_one, _ = scored_windows(config, dataclasses.replace(size, adjacent=100_000))
    assert all_in_one == (RUN_UP + 3_999) / 50


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


# operations ------------------------------------------------------------------------------------


def test_the_work_of_an_epoch_is_counted_in_closed_form() -> None:
    config = TrialConfig(layers=2, layer_size=10, sequence_length=20, batch_size=50)
    products, steps, elements = operations(config, DataSize(symbols=2_000, alphabet=5, targets=512))
    passes = 3 * 100 + 512  # 100 windows forward and back, and the targets forward
    layers = 8 * 10 * (5 + 10) + 8 * 10 * (10 + 10)
    head = 2 * 10 * 5
    assert products == passes * 20 * layers + (3 * 100 * 20 + 512) * head
    assert steps == (3 * 2 + 2) * 20 * 2
    assert elements == passes * 20 * 2 * 10


def test_a_bidirectional_network_reads_twice_and_has_a_target_a_window() -> None:
    config = TrialConfig(
        direction="bi", layers=2, layer_size=10, sequence_length=20, batch_size=50, stride=20
    )
    products, steps, elements = operations(config, DataSize(symbols=2_000, alphabet=5, targets=512))
    layers = 2 * 8 * 10 * (5 + 10) + 2 * 8 * 10 * (20 + 10)
    assert products == (3 * 100 + 512) * 20 * layers + (3 * 100 + 512) * 2 * 20 * 5
    assert steps == (3 * 2 + 2) * 20 * 4
    assert elements == (3 * 100 + 512) * 20 * 4 * 10


def test_an_embedding_is_what_the_first_layer_reads() -> None:
    narrow, wide = (TrialConfig(embedding_size=size) for size in (8, 64))
    assert operations(narrow, EXTENT)[0] < operations(wide, EXTENT)[0]
    assert list(operations(narrow, EXTENT)[1:]) == list(operations(wide, EXTENT)[1:])


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


@given(config=base)
def test_two_directions_cost_more_than_one(config: TrialConfig) -> None:
    model = CostModel(EXTENT)
    uni, bi = (model.round_seconds(config.evolve(direction=word)) for word in ("uni", "bi"))
    assert bi > uni


@given(config=base, factor=st.integers(2, 8))
def test_smaller_batches_cost_more_and_more_data_too(config: TrialConfig, factor: int) -> None:
    model, more = CostModel(EXTENT), CostModel(DataSize(5_000_000, 90, 10_000))
    assert model.round_seconds(config) < more.round_seconds(config)
    larger = config.evolve(batch_size=config.batch_size * factor)
    assert model.round_seconds(larger) <= model.round_seconds(config)


# predictions -----------------------------------------------------------------------------------


def test_without_observations_the_prior_speaks() -> None:
    model = CostModel(EXTENT)
    for config in configs(10):
        assert model.round_seconds(config) == pytest.approx(by_the_prior(config))
        assert model.trial_seconds(config, 4) == pytest.approx(
            PRIOR_FIXED + 4 * by_the_prior(config)
        )


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


def test_each_further_observation_helps() -> None:
    worst = [np.max(errors(taught(count))) for count in (0, 5, 20, 100)]
    assert worst == sorted(worst, reverse=True)


def test_a_machine_that_is_unlike_the_prior_is_learned_too() -> None:
    assert np.median(errors(taught(40, rates=GPU_RATES), GPU_RATES)) < 0.1


def test_one_observation_says_how_fast_the_machine_is() -> None:
    model, [seen, *others] = CostModel(EXTENT), configs(30)
    model.observe(0, seen, [99.0, *[10 * by_the_prior(seen)] * 3])
    for config in [seen, *others]:
        assert model.round_seconds(config) == pytest.approx(10 * by_the_prior(config))


@given(pace=st.floats(1e-3, 1e3), count=st.integers(1, 6))
def test_predictions_scale_with_the_machine(pace: float, count: int) -> None:
    one, other = CostModel(EXTENT), CostModel(EXTENT)
    for number, config in enumerate(configs(count, seed=4)):
        one.observe(number, config, [1.0, seconds(config)])
        other.observe(number, config, [1.0, pace * seconds(config)])
    for config in configs(5, seed=5):
        assert other.round_seconds(config) == pytest.approx(pace * one.round_seconds(config))


@given(
    measured=st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=12),
    config=base,
)
def test_whatever_was_measured_predictions_are_positive(
    measured: list[float], config: TrialConfig
) -> None:
    model = CostModel(EXTENT)
    for number, (seen, value) in enumerate(
        zip(configs(len(measured), seed=6), measured, strict=True)
    ):
        model.observe(number, seen, [value, value])
    assert model.round_seconds(config) > 0


def test_the_first_epoch_is_left_out() -> None:
    config = TrialConfig()
    quick, slow = CostModel(EXTENT), CostModel(EXTENT)
    quick.observe(0, config, [0.1, 4.0, 4.0])
    slow.observe(0, config, [500.0, 4.0, 4.0])
    assert quick.round_seconds(config) == slow.round_seconds(config) == pytest.approx(4.0)


@pytest.mark.parametrize("epochs", [[], [70.0]])
def test_a_trial_without_a_second_epoch_says_nothing(epochs: list[float]) -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, epochs, total=80.0)
    assert model.round_seconds(config) == CostModel(EXTENT).round_seconds(config)
    assert model.fixed_seconds == PRIOR_FIXED


@pytest.mark.parametrize(("first", "typical"), [(40.0, 40.0 - PRIOR_FIXED), (4.0, 2.0)])
def test_where_trials_have_one_epoch_it_counts_without_tracing(
    first: float, typical: float
) -> None:
    model, config = CostModel(EXTENT, single_rounds=True), TrialConfig()
    model.observe(0, config, [])
    assert model.round_seconds(config) == CostModel(EXTENT).round_seconds(config)
    model.observe(0, config, [first], total=first + 1.5)
    assert model.round_seconds(config) == pytest.approx(typical)
    assert model.trial_seconds(config, 1) == pytest.approx(first + 1.5)


def test_an_epoch_that_took_long_by_chance_does_not_count() -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, [9.0, 4.0, 4.0, 90.0, 4.0])
    assert model.round_seconds(config) == pytest.approx(4.0)


def test_what_is_seen_later_of_a_trial_takes_the_place_of_what_was_seen_before() -> None:
    config = TrialConfig()
    twice, once = CostModel(EXTENT), CostModel(EXTENT)
    twice.observe(0, config, [9.0, 8.0])
    assert twice.round_seconds(config) == pytest.approx(8.0)
    for model in (twice, once):
        model.observe(0, config, [9.0, 8.0, 4.0, 4.0])
    assert twice.round_seconds(config) == once.round_seconds(config) == pytest.approx(4.0)


def test_what_a_trial_took_beyond_its_epochs_is_fixed() -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    for number, extra in enumerate((5.0, 7.0, 60.0)):
        # the first epoch counts as a typical one, and what it took beyond that is fixed
        model.observe(number, config, [4.0 + 1.0, 4.0, 4.0], total=extra - 1 + 13.0)
    assert model.fixed_seconds == pytest.approx(7.0)
    assert model.trial_seconds(config, 10) == pytest.approx(7.0 + 10 * 4.0)


def test_a_trial_under_way_says_nothing_of_what_is_fixed() -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, [5.0, 4.0])
    assert model.fixed_seconds == PRIOR_FIXED


def test_a_clock_that_runs_backwards_makes_nothing_negative() -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, [5.0, 4.0, 4.0], total=1.0)
    assert model.fixed_seconds == 0.0


def test_streams_are_scored_at_one_step_a_symbol() -> None:
    size = DataSize(symbols=80_000, alphabet=5, targets=10_000, validation=10_000)
    reset = TrialConfig(layers=1, layer_size=10, sequence_length=50, batch_size=8)
    carried = reset.evolve(state="carried")

    def scored(config: TrialConfig, targets: int) -> Array:
        with_targets = dataclasses.replace(size, targets=targets)
        without = dataclasses.replace(size, targets=0)
        return operations(config, with_targets) - operations(config, without)

    assert scored(reset, 10_000)[2] == 10_000 * 50 * 10  # elements: time x units of each target
    assert scored(carried, 10_000)[2] == pytest.approx(1.2 * 10_000 * 10)
    assert scored(carried, 10_000)[1] == pytest.approx(1.2 * 10_000 / 64), "64 streams"
    assert scored(carried, 20)[2] == pytest.approx(20 * RUN_UP * 10)
    assert scored(carried, 20)[1] == pytest.approx(RUN_UP), "steps of 20 streams side by side"
    assert list(operations(carried, dataclasses.replace(size, targets=0))) == list(
        operations(reset, dataclasses.replace(size, targets=0))
    )
