"""What TPE and Hyperopt are told of the trials before."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import hyperopt
import pytest

from lstm_sweep.search.policy import tpe
from lstm_sweep.search.policy.proposer import (
    FEWEST_LOSSES,
    GOOD,
    HISTORY,
    STARTUP,
    Observation,
    Proposer,
)
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.proposals import FREE, SMALL, asked, configs, search


@dataclass
class Heard:
    """What Hyperopt's TPE was told when it was last asked."""

    documents: dict[int, Any]
    gamma: float

    @property
    def results(self) -> dict[int, Any]:
        return {number: document["result"] for number, document in self.documents.items()}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Notes what is told to TPE, and lets it suggest."""
    found, suggest = Heard({}, 0.0), hyperopt.tpe.suggest

    def listen(ids: Any, domain: Any, trials: Any, seed: int, **options: Any) -> Any:
        found.documents = {document["tid"]: document for document in trials.trials}
        found.gamma = options["gamma"]
        return suggest(ids, domain, trials, seed, **options)

    monkeypatch.setattr(hyperopt.tpe, "suggest", listen)
    return found


@dataclass
class Told:
    """The points that TPE was told when it was last asked."""

    good: list[Any]
    others: list[Any]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Notes what is told to TPE, and lets it suggest."""
    found, suggest = Told([], []), tpe.suggest

    def listen(space: Space, good: Any, others: Any, accepts: Any, rng: Any) -> Any:
        found.good, found.others = list(good), list(others)
        return suggest(space, good, others, accepts, rng)

    monkeypatch.setattr(tpe, "suggest", listen)
    return found


def test_the_best_are_told_as_good_and_failures_among_the_others(told: Told) -> None:
    proposer = Proposer(FREE, seed=1)
    seen = search(proposer, 20)
    best = min(seen, key=lambda trial: trial.loss or math.inf)
    seen[3], seen[best.number] = replace(seen[3], loss=None), replace(best, loss=0.1)
    asked(proposer, 20, seen)
    ranked = sorted(seen, key=lambda trial: math.inf if trial.loss is None else trial.loss)
    assert told.good == [trial.point for trial in ranked[:2]]  # a quarter of the root of 20
    assert told.others == [trial.point for trial in ranked[2:]]
    assert told.others[-1] == seen[3].point


def test_tpe_is_not_asked_before_there_are_losses_to_learn_from(told: Told) -> None:
    proposer = Proposer(FREE, seed=3)
    seen = [replace(trial, loss=None) for trial in search(proposer, STARTUP)]
    few = [replace(trial, loss=1.0) for trial in seen[: FEWEST_LOSSES - 1]]
    asked(proposer, STARTUP, few + seen[len(few) :])
    assert told.good == []
    enough = [replace(trial, loss=1.0) for trial in seen[:FEWEST_LOSSES]]
    asked(proposer, STARTUP, enough + seen[len(enough) :])
    assert len(told.good) == 1 and len(told.others) == STARTUP - 1


def test_a_promising_config_that_was_used_gives_way_to_the_next(told: Told) -> None:
    proposer = Proposer(SMALL, seed=1)
    seen = search(proposer, STARTUP, lambda config: float(config.layers))
    left = set(SMALL.points()) - set(configs(seen))
    proposal = asked(proposer, STARTUP, seen)
    assert told.good and len(left) == 2
    assert proposal.config in left and proposal.acquisition is not None


def test_a_failure_is_told_without_a_loss_and_others_with_theirs(heard: Heard) -> None:
    proposer = Proposer(FREE, seed=1, algorithm="hyperopt")
    seen = search(proposer, 12)
    seen[3] = replace(seen[3], loss=None)
    asked(proposer, 12, seen)
    fail, ok = {"status": hyperopt.STATUS_FAIL}, hyperopt.STATUS_OK
    assert heard.results == {
        trial.number: fail if trial.number == 3 else {"status": ok, "loss": trial.loss}
        for trial in seen
    }
    assert {document["state"] for document in heard.documents.values()} == {hyperopt.JOB_STATE_DONE}


def test_points_are_told_as_hyperopt_draws_them(heard: Heard) -> None:
    space = FREE.replace(direction=Listed("direction", ("uni", "bi")))
    proposer = Proposer(space, seed=1, algorithm="hyperopt")
    seen = search(proposer, 12)
    asked(proposer, 12, seen)
    for trial in seen:
        told = heard.documents[trial.number]["misc"]
        assert told["vals"] == {name: [raw] for name, raw in trial.point.items()}
        assert told["idxs"] == {name: [trial.number] for name in trial.point}
        assert type(told["vals"]["direction"][0]) is int  # as hp.choice draws it


def test_a_trial_outside_of_the_space_is_not_told_but_not_proposed_either(heard: Heard) -> None:
    proposer = Proposer(FREE, seed=1, algorithm="hyperopt")
    inside = search(proposer, 12)
    following = asked(proposer, 13, inside)
    outside = Observation(12, following.config, {}, 0.5)
    assert asked(proposer, 13, [*inside, outside]).config != following.config
    assert set(heard.documents) == set(range(12))


def test_points_under_way_keep_suggestions_away_from_them() -> None:
    def nearness(extra: bool) -> float:
        """Mean distance of suggestions from the best dropout, over several seeds."""
        found = []
        for seed in range(6):
            proposer = Proposer(FREE, seed=seed)
            seen = search(proposer, 25)
            best = min(seen, key=lambda trial: trial.loss or math.inf)
            points = [
                {**best.point, "dropout": best.point["dropout"] + 0.002 * n} for n in range(1, 9)
            ]
            beside = [
                Observation(24 + n, FREE.decode(point), point, None, pending=True)
                for n, point in enumerate(points, start=1)
            ]
            proposal = asked(proposer, 40, [*seen, *beside] if extra else seen)
            found.append(abs(proposal.point["dropout"] - best.point["dropout"]))
        return sum(found) / len(found)

    assert nearness(True) > nearness(False)


def long_history(trials: int) -> list[Observation]:
    """Trials in no order of merit; each hundredth is under way, each seventh has failed."""
    found = []
    for number in range(trials):
        share = number * 0.6180339887 % 1  # an even spread
        point = {"dropout": 0.8 * share, "layers": float(number % 2), "layer_size": math.log(64)}
        pending, failed = number % 100 == 50, number % 7 == 0
        loss = None if pending or failed else 1.0 + (number * 7919 % trials) / trials
        found.append(Observation(number, FREE.decode(point), point, loss, pending=pending))
    return found


def test_of_a_long_history_tpe_sees_the_best_and_all_under_way_and_the_last(heard: Heard) -> None:
    seen = long_history(10_000)
    proposal = asked(Proposer(FREE, seed=1, algorithm="hyperopt"), 10_000, seen)
    assert proposal.config not in configs(seen)
    told = set(heard.documents)
    ranked = sorted((t for t in seen if t.loss is not None), key=lambda t: t.loss or 0.0)
    best = {trial.number for trial in ranked[:GOOD]}
    pending = {trial.number for trial in seen if trial.pending}
    assert len(told) == HISTORY
    assert best <= told and pending <= told
    others = told - best - pending
    assert others and others == set(range(min(others), 10_000)) - best - pending
    assert list(heard.documents) == sorted(told)


def test_of_a_long_history_as_many_count_as_good_as_of_the_whole(heard: Heard) -> None:
    for trials in (HISTORY + 1, 1_000, 10_000):
        asked(Proposer(FREE, seed=1, algorithm="hyperopt"), trials, long_history(trials))
        # Hyperopt takes gamma * sqrt(number of trials), 25 at most
        good = math.ceil(heard.gamma * math.sqrt(len(heard.documents)) - 1e-9)
        assert good == min(GOOD, math.ceil(0.25 * math.sqrt(trials)))
