"""The average of weights: what counts how much, whenever one looks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_sweep.models.cpu.optimizer import EACH_UNTIL, INTERVAL, is_due, share


def weights_of_steps(steps: int, eta: float) -> NDArray[np.float64]:
    """How much the weights after each of so many steps count in their average."""
    counts = np.zeros(steps)
    for step in range(1, steps + 1):
        if is_due(step):
            counts *= 1 - share(step, eta)
            counts[step - 1] = share(step, eta)
    return counts


@pytest.mark.parametrize("eta", [0.0, 3.0, 16.0])
@pytest.mark.parametrize("steps", [1, 2, 50, EACH_UNTIL, EACH_UNTIL + INTERVAL + 1, 5000])
def test_the_shares_of_all_steps_are_a_whole(steps: int, eta: float) -> None:
    counts = weights_of_steps(steps, eta)
    assert (counts >= 0).all()
    assert counts.sum() == pytest.approx(1)


def test_with_eta_3_a_step_counts_by_the_third_power_of_its_number() -> None:
    found = weights_of_steps(100, 3.0)
    number = np.arange(1, 101)
    expected = number * (number + 1.0) * (number + 2)  # Shamir and Zhang's product
    np.testing.assert_allclose(found, expected / expected.sum())
