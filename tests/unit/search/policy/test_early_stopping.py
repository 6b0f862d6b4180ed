from __future__ import annotations

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.stop_reason import stopped_early
from lstm_sweep.search.trial import Ended, Outcome, Trial
from tests.unit.search.policy.player import course_of, with_rounds


@pytest.mark.parametrize(
    ("losses", "epochs", "since"),
    [
        ([2.0, 2.0, 2.0], 0, None),
        ([2.0, 2.0], 2, None),
        ([2.0, 2.0, 2.0], 2, "1"),
        ([2.0, 1.9, 2.0], 2, None),
        ([2.0, 1.9, 2.0, 1.9], 2, "2"),
        ([float("nan")] * 4, 2, None),  # as long as it has no loss
    ],
)
def test_a_trial_ends_that_has_not_improved_for_some_epochs(
    losses: list[float], epochs: int, since: str | None
) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    one = with_rounds(course_of(trial), *[{"val_loss": loss} for loss in losses])
    expected = since and Ended(Outcome.COMPLETE, f"no better since epoch {since}")
    assert stopped_early(one.snapshot(), epochs) == expected


def test_epochs_have_several_rounds() -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0, rounds_per_epoch=3)
    one = with_rounds(course_of(trial), *[{"val_loss": 2.0}] * 6)
    assert stopped_early(one.snapshot(), 2) is None
    assert stopped_early(with_rounds(one, {"val_loss": 2.0}).snapshot(), 2)
