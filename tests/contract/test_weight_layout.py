"""Weights in the form of the kernels: packed, with idle units, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import OPTIMIZERS, TrialConfig
from tests.conftest import in_full
from tests.contract.arithmetic import programs, steps_of

pytestmark = pytest.mark.usefixtures("prepared")


@given(
    st.integers(1, 2),
    st.integers(0, 2),
    st.sampled_from([0, 1, 4]),
    st.sampled_from([0, 4]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([0.0, 7.0]),
)
def test_a_packed_weight_is_unpacked_as_it_was(
    axes: int, blocks: int, gates: int, idle: int, rows: int, columns: int, idle_value: float
) -> None:
    from lstm_sweep.models.cpu.weight_layout import WeightLayout

    layout = WeightLayout(axes, blocks if axes == 2 else 0, gates, idle)
    shape = (rows * max(layout.unit_blocks, 1), columns * max(gates, 1))
    array = np.random.default_rng(0).normal(size=shape[2 - axes :])
    packed = layout.pack(array, idle_value)
    assert packed.ndim == axes
    assert packed.size - array.size == (packed == idle_value).sum()
    np.testing.assert_array_equal(layout.unpack(packed), array)


def test_gates_of_tensorflow_stand_in_another_order_and_idle_units_after_each_of_them() -> None:
    from lstm_sweep.models.cpu.weight_layout import WeightLayout

    kernel = np.array([[10, 20, 30, 40], [11, 21, 31, 41]])  # input, forget, candidate, output
    packed = WeightLayout(2, unit_blocks=1, gates=4, idle=1).pack(kernel)
    assert packed.tolist() == [
        [10, 0, 30, 0, 20, 0, 40, 0],
        [11, 0, 31, 0, 21, 0, 41, 0],
        [0] * 8,
    ]
    two_ways = WeightLayout(2, unit_blocks=2, idle=1).pack(np.array([[1], [2]]))
    assert two_ways.tolist() == [[1], [0], [2], [0]]


@pytest.mark.parametrize(
    ("direction", "optimizer"),
    [
        ("bi", OPTIMIZERS[0]),
        *in_full(*zip(("uni", "bi", "uni"), OPTIMIZERS[1:], strict=True)),
    ],
)
def test_idle_units_never_get_weights(direction: str, optimizer: str) -> None:
    config = TrialConfig(
        direction=direction, optimizer=optimizer, learning_rate=0.01, dropout=0.2, layer_size=128,
        sequence_length=5, batch_size=3,
    )  # fmt: skip
    _, (program, _) = programs(config, 9)
    begin = [weight.value for weight in program._weights]
    program.train(steps_of(config, 9, 4))
    for weight, before in zip(program._weights, begin, strict=True):
        value, layout = weight.value, weight.layout
        assert np.isfinite(value).all()
        assert (value != before).any()
        np.testing.assert_array_equal(layout.pack(layout.unpack(value)), value)
