"""A policy played against trials that cost nothing, on a clock of its own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.policy import lstm_problem
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space
from tests.simulated import Said, Says, Simulation

UNIGRAM = 3.0
EXTENT = DataSize(symbols=100_000, alphabet=50, targets=1_000)
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: the best rate is 0.01, and 1 fails
SPACE = Space(
    {
        "learning_rate": Listed("learning_rate", RATES),
        "dropout": Range("dropout", 0.0, 0.5),
        "layers": Listed("layers", (1, 2)),
        "layer_size": Range("layer_size", 16, 64, step=16),
        "epochs": Listed("epochs", (9,)),
    }
)
#: twelve configs, one learning rate
SMALL = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "layers": Listed("layers", (1, 2, 3)),
        "batch_size": Listed("batch_size", (32, 64)),
        "epochs": Listed("epochs", (9,)),
    }
)
#: a plan that does nothing but search
PLAIN: dict[str, Any] = {
    "ladder": False,
    "halving": False,
    "early_stopping": 0,
    "confirm_configs": 0,
}


@dataclass(frozen=True)
class Curve:
    """What a trial would do if it were let alone."""

    losses: Sequence[float]
    outcome: Outcome = Outcome.COMPLETE
    #: of a round
    seconds: float = 1.0


Curves = Callable[[Trial], Curve]


def usual(trial: Trial) -> Curve:
    """Better near a learning rate of 0.01 and with little dropout; slower the larger it is."""
    config = as_lstm_config(trial.config)
    if config.learning_rate >= 1:
        return Curve([], Outcome.DIVERGED)
    chance = random.Random(trial.seed)
    floor = 1 + 0.3 * abs(math.log10(config.learning_rate) + 2) + 0.2 * config.dropout
    floor += 4 / config.layer_size + 0.02 * chance.random()
    epochs = [trial.epochs_after(number) for number in range(1, trial.planned_rounds + 1)]
    losses = [floor + 1.2 * math.exp(-epoch / 3) for epoch in epochs]
    seconds = 0.02 * config.layer_size * config.layers
    return Curve(losses, seconds=seconds / trial.rounds_per_epoch)


def always(*losses: float, outcome: Outcome = Outcome.COMPLETE) -> Curves:
    """Curves that are all the same."""
    return lambda trial: Curve(losses, outcome)


def with_rounds(progress: Trial, *epochs: dict[str, float]) -> Trial:
    """The trial once these epochs have been trained too."""
    return replace(progress, rounds=(*progress.rounds, *epochs))


def course_of(trial: Trial) -> Trial:
    return trial.with_slot(Slot(0), 0.0)


def policy_of(plan: Plan, space: Space = SPACE, slots: int = 2, **known: Any) -> Policy:
    """`known` is of the problem."""
    return Policy(plan, problem_of(space, **known), sweep="s", slots=slots)


def problem_of(space: Space = SPACE, rounds_per_epoch: int = 1, **known: Any) -> SearchProblem:
    extent = replace(EXTENT, rounds_per_epoch=rounds_per_epoch)
    problem = lstm_problem.lstm_problem(space, extent, untrained_loss=UNIGRAM)
    return replace(problem, **known)


def reason_of(policy: Policy) -> str:
    """Why no more trials are begun; empty while they are."""
    return policy.stop.text if policy.stop else ""


#: seconds that a trial takes to begin, and to go on
START_S = 1.0


def says(curves: Curves) -> Says:
    def said(trial: Trial) -> Iterator[tuple[float, Said]]:
        curve, before = curves(trial), START_S
        for number, loss in enumerate(curve.losses[: trial.planned_rounds], 1):
            metrics = {"val_loss": loss, "round_seconds": curve.seconds}
            yield before + curve.seconds, RoundDone(number, metrics)
            before = 0.0
        if len(curve.losses) >= trial.planned_rounds:
            yield 0.0, Ended(Outcome.COMPLETE)
        yield before + curve.seconds, Ended(curve.outcome)

    return said


def play(
    plan: Plan, space: Space = SPACE, *, curves: Curves = usual, slots: int = 2, **known: Any
) -> Simulation:
    """Play a whole sweep."""
    policy = policy_of(plan, space, slots, **known)
    return Simulation(policy, says(curves), slots, resume_s=START_S).run()


PLANS = [
    Plan(trials=24),
    Plan(trials=24, algorithm="random"),
    Plan(trials=30, algorithm="anneal"),
    Plan(trials=24, ladder=False),
    Plan(trials=24, halving=False, early_stopping=2),
    Plan(trials=24, confirm_configs=0),
    Plan(trials=24, patience=6),
    Plan(trials=40, seconds=120.0),
]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
each_slots = pytest.mark.parametrize("slots", [1, 4])


def in_order(losses: Sequence[float], wobble: float = 0.0) -> Curves:
    """Trials whose best losses are those, by their number; epochs move by `wobble`."""

    def curve(trial: Trial) -> Curve:
        best = losses[min(trial.number, len(losses) - 1)]
        return Curve([best + (wobble if epoch % 2 else 0.0) for epoch in range(9)])

    return curve
