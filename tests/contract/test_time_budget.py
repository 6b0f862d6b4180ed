"""Sweeps under `--minutes`: the best configs are trained again, and that ends before the time."""

from __future__ import annotations

import functools
from collections import Counter

import pytest

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.confirmation import FEWEST_SEEDS, SHARE
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Outcome, Phase
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space
from lstm_sweep.spaces.template.template import Template
from tests.simulated import Networks, Simulation, Templates, World, simulate

SEEDS = range(3)
TEMPLATE = """
def data():
    return 1

def create_model(x):
    units = {{choice([16, 32, 64, 128])}}
    return units * {{uniform(0, 1)}} * {{uniform(0, 2)}}
"""
#: 48,000 ids: an epoch takes 7 s in the middle of the space, 0.4 to 130 s in all of it
NETWORKS = Networks(DataSize(symbols=48_000, alphabet=60, targets=4_000), pace=0.3)
#: tinyshakespeare, at the pace of some ten cores
IN_ROUNDS = Networks(DataSize(1_003_854, alphabet=68, targets=2_304, rounds_per_epoch=3), pace=0.1)
#: the same on one core: nothing comes to its end
LONG = Networks(IN_ROUNDS.data_size, pace=1.0)
#: seconds of a whole training of a template
WHOLE_S = 30.0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Space:
    file = tmp_path_factory.mktemp("template") / "mine.py"
    file.write_text(TEMPLATE, encoding="utf-8")
    return Template.read(str(file)).space()


@functools.cache
def sweeps(seconds: float, space: Space, world: World, slots: int) -> list[Simulation]:
    """Sweeps with each seed, their trials limited by the time alone."""
    plans = [Plan(trials=500, seconds=seconds, seed=seed) for seed in SEEDS]
    return [simulate(plan, space, world, slots=slots) for plan in plans]


def seeds_of(sweep: Simulation) -> Counter[Config]:
    """How many further seeds each config has that were trained to their end."""
    whole = [c for c in sweep.of(Phase.CONFIRM) if c.ended and c.ended.outcome is Outcome.COMPLETE]
    return Counter(progress.config for progress in whole)


def check(found: list[Simulation], slots: int) -> None:
    """Whatever was begun to confirm has ended, in little more than its share of the slots."""
    for sweep in found:
        assert sweep.best is not None
        again = sweep.of(Phase.CONFIRM)
        assert {c.ended.outcome for c in again if c.ended} <= {Outcome.COMPLETE}
        limit = sweep.policy.plan.seconds
        assert limit
        assert sum(progress.seconds for progress in again) <= (SHARE + 0.1) * limit * slots
        assert sweep.now > 0.8 * limit or sweep.policy.stop


def test_networks_are_confirmed_within_the_time() -> None:
    found = sweeps(360.0, presets.DEFAULT, NETWORKS, 2)
    check(found, 2)
    again = [max(seeds_of(sweep).values(), default=0) >= FEWEST_SEEDS for sweep in found]
    assert sum(again) >= len(found) - 1, "but for one whose best takes too long"


def test_where_trainings_take_long_further_runs_are_whole_or_there_are_none() -> None:
    for sweep in sweeps(600.0, presets.DEFAULT, LONG, 2):
        again, report = sweep.of(Phase.CONFIRM), sweep.policy.confirmation
        for one in again:
            [first] = (o for o in sweep.of(Phase.SEARCH) if o.config == one.config)
            assert one.planned_rounds >= (first.best_round or 0)
        assert bool(report.omitted()) != any(one.is_best for one in report.results())


@pytest.mark.parametrize("slots, trainings", [(1, 12), (4, 6)])
def test_templates_are_confirmed_within_the_time(
    template: Space, trainings: int, slots: int
) -> None:
    found = sweeps(trainings * WHOLE_S, template, Templates(WHOLE_S), slots)
    check(found, slots)
    confirmed = [max(seeds_of(sweep).values(), default=0) >= FEWEST_SEEDS for sweep in found]
    assert sum(confirmed) >= len(found) - 1  # the best may take a little too long for its share


@pytest.mark.parametrize("slots", [1, 2])
def test_with_very_little_time_there_is_a_result_and_a_line_why_nothing_was_confirmed(
    template: Space, slots: int
) -> None:
    found = sweeps(2 * WHOLE_S, template, Templates(WHOLE_S), slots)
    check(found, slots)
    for sweep in found:
        assert seeds_of(sweep) == {}
        said = sweep.policy.confirmation.omitted()
        assert said.startswith("s/") and said.endswith(
            "a quarter of the time, 15 s, is kept for that"
        )
