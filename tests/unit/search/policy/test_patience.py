from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.patience import noise
from lstm_sweep.search.trial import Trial
from tests.unit.search.policy.player import course_of, with_rounds


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], 0.0),
        ([2.0], 0.0),
        ([2.0, 1.0], 0.0),  # only the second half counts
        ([9.0, 5.0, 1.0, 1.5], 0.5),
        ([9.0, 5.0, 3.0, 2.0, 2.1, 1.9, 2.2, 2.1], pytest.approx(0.2)),
    ],
)
def test_noise_is_the_typical_step_of_the_second_half(losses: list[float], expected: float) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    progress = with_rounds(course_of(trial), *({"val_loss": loss} for loss in losses))
    assert noise(progress.snapshot()) == expected
