"""How long a sweep is expected to take, before anything is trained."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from lstm_sweep.models.config import Config
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.confirmation import SHARE
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.times import about, budget_text, duration

#: draws of a space that pass the size rule, of which costs are predicted, and draws at most
ADMITTED, DRAWS = 200, 2_000


def announcement(spec: SweepSpec, task: Task, slots: int, gone: float = 0.0) -> str:
    """How long a sweep will take, and when there are results, in a line for people.

    It was driven for `gone` seconds before. The seconds are those of a common machine.
    """
    limit = limit_s(spec)
    on = f"on {slots} slot{'s' if slots != 1 else ''}"
    wanted = budget_text(spec.trials, spec.minutes)
    if gone:
        left = "" if limit is None else f", {duration(max(0.0, limit - gone))} of it left"
        return f"{wanted}{left}, {on}"
    known = task.known_costs(spec)
    if known is None:
        return f"{wanted} {on}"
    problem, costs = known.problem, known.problem.costs()
    drawn, _ = draws(task, spec)
    text = f"{wanted} {on}"
    if spec.trials is not None:
        _, seconds = bought(spec, problem, costs, drawn, slots)
        text += f", about {about(seconds)} here"
        text += " (--minutes N limits it)" if limit is None else ""
    return f"{text}; first results after about {about(first_result_s(spec, problem, costs, drawn))}"


def first_result_s(
    spec: SweepSpec, problem: SearchProblem, costs: Costs, drawn: Sequence[Config]
) -> float:
    """Seconds until a trial has a loss: one of the ladder, or the first at its first rung."""
    rates = ladder.rates_of(spec.space) if spec.ladder else ()
    if not rates or ladder.is_left_out(rates, spec.plan().trials) or problem.smallest is None:
        return min(costs.trial_seconds(config, problem.first_rung) for config in drawn)
    length = problem.ladder_length(limit_s(spec), 1)
    if length.steps is None:
        return costs.trial_seconds(problem.smallest, length.rounds or problem.rounds)
    return costs.fixed_seconds + length.steps * costs.step_seconds(problem.smallest)


def limit_s(spec: SweepSpec) -> float | None:
    """Seconds that a sweep may take; None: no limit."""
    return None if spec.minutes is None else 60 * spec.minutes


def draws(task: Task, spec: SweepSpec) -> tuple[list[Config], float]:
    """Configs that may be tried, and the share of draws that may not."""
    rng = np.random.default_rng(spec.seed)
    drawn = [spec.space.sample(rng) for _ in range(DRAWS)]
    admitted = [config for config in drawn if task.admits(config)]
    return admitted[:ADMITTED], 1 - len(admitted) / DRAWS


def bought(
    spec: SweepSpec, problem: SearchProblem, costs: Costs, drawn: Sequence[Config], slots: int
) -> tuple[int, float | None]:
    """How many trials are begun, and the seconds that they take.

    Half of the slots train leaders; the others train each new trial to its first rung. The best
    configs are trained again in the end. Without halving each trial is trained to its end. One
    trial takes as long as the middle one does: a few large networks raise the mean far above it.
    """
    most = spec.plan().trials
    average = statistics.median_high if most == 1 else statistics.mean
    halving = spec.halving and problem.pausable
    rounds = problem.first_rung if halving else problem.rounds
    each = average(costs.trial_seconds(config, rounds) for config in drawn)
    whole = average(costs.trial_seconds(config, problem.rounds) for config in drawn)
    rates = len(ladder.rates_of(spec.space)) if spec.ladder else 0
    rates = 0 if most <= rates else rates
    again = min(spec.confirm_configs * spec.confirm_seeds, int(most * SHARE))
    others = (slots - slots // 2 if slots > 1 else 0.5) if halving else slots
    longest = whole if halving else 0.0
    again_s, limit = again * whole / slots, limit_s(spec)
    if limit is not None:
        again_s = min(again_s, SHARE * limit)
    searched = max(0, most - rates - again)
    to_the_end = whole * (1 + (searched - 1) / slots)
    search_s = min(max(searched * each / others, longest), to_the_end)
    seconds = search_s + rates * each / slots + again_s
    if limit is None or seconds <= limit:
        return most, seconds
    time_to_search = max(0.0, limit - again_s - rates * each / slots)
    searched = min(searched, int(time_to_search * others / each))
    return max(1, rates + searched + again), limit
