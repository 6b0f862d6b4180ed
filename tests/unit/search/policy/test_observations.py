"""What a proposer is told of many trials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy import proposer
from lstm_sweep.search.policy.proposer import Observation, Observations

KNOWN = st.sampled_from([None, 1.0, 1.0, 2.0, 3.0])


def trial(
    number: int, loss: float | None, *, pending: bool = False, out: bool = False
) -> Observation:
    config = TrialConfig(layer_size=number + 1)
    point = {} if out else {"layer_size": float(number)}
    return Observation(number, config, point, None if pending else loss, pending)


def worth_knowing(inside: list[Observation], history: int, good: int) -> list[Observation]:
    """All under way, the best, and the last of the others, from a plain list."""
    if len(inside) <= history:
        return inside
    done = [one for one in inside if one.loss is not None]
    best = sorted(done, key=lambda one: (one.loss or 0.0, one.number))[:good]
    kept = {one.number for one in [*best, *(one for one in inside if one.pending)]}
    for one in reversed(inside):
        if len(kept) < history:
            kept.add(one.number)
    return [one for one in inside if one.number in kept]


@given(st.lists(st.tuples(KNOWN, st.booleans(), st.booleans()), max_size=90))
def test_of_many_trials_those_that_are_worth_knowing_are_told(
    known: list[tuple[float | None, bool, bool]],
) -> None:
    trials = [
        trial(number, loss, pending=pending, out=out)
        for number, (loss, pending, out) in enumerate(known)
    ]
    inside = [one for one in trials if one.point]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposer, "HISTORY", 12)
        patch.setattr(proposer, "GOOD", 3)
        seen = Observations.of(trials)
    assert seen.history == worth_knowing(inside, 12, 3)
    assert seen.inside == len(inside)
    assert seen.known == sum(one.loss is not None for one in inside)
    assert set(seen.configs) == {one.config for one in trials}


def test_nothing_is_known_of_none() -> None:
    assert Observations.of([]) == Observations(set(), 0, 0, [])
