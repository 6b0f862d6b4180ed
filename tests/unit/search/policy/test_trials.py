"""What is asked of all trials of a sweep, kept up to date and found anew."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial

ENDED = [None, Ended(Outcome.COMPLETE), Ended(Outcome.ERROR), Ended(Outcome.LOST)]


@st.composite
def progress(draw: st.DrawFn) -> TrialProgress:
    number = draw(st.integers(0, 12))
    phase = [Phase.SEARCH, Phase.SEARCH, Phase.LADDER, Phase.CONFIRM][number % 4]
    trial = Trial(
        sweep="s", number=number, config=TrialConfig(layer_size=number + 1), seed=0, phase=phase,
        steps=5 if number == 6 else None,
    )  # fmt: skip
    losses = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), max_size=3))
    ended = draw(st.sampled_from(ENDED))
    return TrialProgress(
        trial, rounds=[{"val_loss": loss} for loss in losses], ended=ended,
        seconds=1.0, paused="" if ended else draw(st.sampled_from(["", "at epoch 1"])),
    )  # fmt: skip


def by_loss(found: Sequence[tuple[float | None, TrialProgress]]) -> list[TrialProgress]:
    known = [(loss, one.trial.number, one) for loss, one in found if loss is not None]
    return [one for *_, one in sorted(known, key=lambda key: key[:2])]


@given(st.lists(progress(), max_size=40))
def test_what_is_kept_up_to_date_is_what_is_found_anew(puts: list[TrialProgress]) -> None:
    trials, plain = Trials(), dict[int, TrialProgress]()
    for one in puts:
        trials.put(one)
        plain[one.trial.number] = one
    every = list(plain.values())
    first = [one for one in every if one.trial.phase is not Phase.CONFIRM]
    trained = [one for one in first if one.trial.steps is None]
    so_far = by_loss([(one.ranked_loss if one.ended else one.best_loss, one) for one in trained])
    assert list(trials.items()) == list(plain.items()) and len(trials) == len(plain)
    assert trials.open == [one for one in every if not one.ended]
    assert trials.paused == [one for one in every if one.paused]
    assert trials.first_paused(2) == trials.paused[:2]
    assert trials.any_paused == bool(trials.paused)
    assert trials.again == [one for one in every if one.trial.phase is Phase.CONFIRM]
    assert trials.configs == {one.trial.config for one in first}
    assert trials.ranked() == by_loss([(one.ranked_loss, one) for one in first])
    assert [trials.best_so_far(count) for count in (1, 3)] == [so_far[:1], so_far[:3]]
