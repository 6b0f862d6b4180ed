"""A search decides for the slots that it may use, whatever there were when it began."""

from __future__ import annotations

import pytest

from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import CorpusFacts
from lstm_sweep.spaces.space import Space
from tests.simulated import Networks, Simulation

SIZE = DataSize(1_000_000, 70, 4000, rounds_per_epoch=3)


def space() -> Space:
    return presets.DEFAULT.settled(CorpusFacts(1_000_000, lambda: 3))


def trials_of(begun_with: int, slots: int) -> list[tuple[object, int, str]]:
    """Config, rounds and outcome of each trial of a simulated sweep."""
    world = Networks(SIZE, pace=0.1)
    plan = Plan(trials=500, seconds=1200.0, seed=3, ladder=False)  # it lasts as slots were at first
    policy = Policy(plan, world.problem(space()), sweep="s", slots=begun_with)
    policy.slots = slots
    Simulation(policy, world, slots).run()
    return [
        (one.trial.config, len(one.rounds), str(one.ended and one.ended.outcome))
        for one in policy.trials
    ]


@pytest.mark.parametrize("slots", [1, 4])
def test_a_sweep_searches_as_if_it_had_begun_with_the_slots_that_it_has(slots: int) -> None:
    found = trials_of(2, slots)
    assert found == trials_of(slots, slots)
    assert len(found) > 3
