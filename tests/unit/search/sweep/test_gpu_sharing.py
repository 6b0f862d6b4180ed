from __future__ import annotations

import pytest

from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.gpu_sharing import fitting, largest
from lstm_sweep.spaces.space import from_mapping


@pytest.mark.parametrize(
    ("needed", "free", "cores", "count"),
    [
        (8_000, 79_500, 16, 8),
        (8_000, 79_500, 4, 4),
        (8_000, 39_500, 16, 4),
        (70_000, 79_500, 16, 1),
        (78_500, 79_500, 16, 1),
    ],
)
def test_as_many_fit_as_memory_and_cores_hold(
    needed: int, free: int, cores: int, count: int
) -> None:
    assert fitting(needed, free, cores) == count


def test_the_largest_network_that_is_admitted_is_measured() -> None:
    given = {
        "layer_size": [32, 64, 512], "layers": [2, 3], "direction": ["uni", "bi"],
        "batch_size": [16, 128], "sequence_length": [20, 40],
    }  # fmt: skip
    spec = SweepSpec(space=from_mapping(given, "test"))
    config = largest(spec, 50, lambda config: True)
    assert (config.direction, config.layers, config.layer_size) == ("bi", 3, 512)
    assert (config.batch_size, config.sequence_length) == (128, 40)
    small = largest(spec, 50, lambda config: config.layer_size < 500)
    assert (small.direction, small.layers, small.layer_size) == ("bi", 3, 64)


def test_logits_of_many_symbols_count_which_a_unidirectional_network_has_at_each_step() -> None:
    spec = SweepSpec(space=from_mapping({"layer_size": [64], "direction": ["uni", "bi"]}, "test"))
    assert largest(spec, 50, lambda config: True).direction == "bi"
    assert largest(spec, 3_000, lambda config: True).direction == "uni"
