from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hyperopt
import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.policy import proposer as module
from lstm_sweep.search.policy import tpe
from lstm_sweep.search.policy.ladder import narrowed
from lstm_sweep.search.policy.proposer import (
    ALGORITHMS,
    FEWEST_LOSSES,
    GOOD,
    HISTORY,
    STARTUP,
    Observation,
    Proposal,
    Proposer,
)
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)

SMALL = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "layers": Listed("layers", (1, 2, 3)),
        "batch_size": Listed("batch_size", (32, 64)),
    }
)
FREE = Space(
    {
        "dropout": Range("dropout", 0.0, 0.8),
        "layers": Listed("layers", (2, 3)),
        "layer_size": Range("layer_size", 32, 512, step=16, log=True),
    }
)

Loss = Callable[[TrialConfig], float | None]


def by_dropout(config: TrialConfig) -> float:
    return 1.0 + config.dropout


def asked(proposer: Proposer, number: int, seen: Sequence[Observation]) -> Proposal:
    """A proposal where there has to be one."""
    proposal = proposer.propose(number, seen)
    assert proposal
    return proposal


def under_way(number: int, proposal: Proposal) -> Observation:
    return Observation(number, proposal.config, proposal.point, None, pending=True)


def ended(number: int, proposal: Proposal, loss: float | None) -> Observation:
    return Observation(number, proposal.config, proposal.point, loss)


def search(
    proposer: Proposer, trials: int, loss: Loss = by_dropout, slots: int = 1
) -> list[Observation]:
    """Run so many trials, as many at a time as there are slots."""
    seen: list[Observation] = []
    for number in range(trials):
        if number >= slots:
            oldest = seen[number - slots]
            known = replace(oldest, loss=loss(as_lstm_config(oldest.config)), pending=False)
            seen[number - slots] = known
        seen.append(under_way(number, asked(proposer, number, seen)))
    return [
        replace(trial, loss=loss(as_lstm_config(trial.config)), pending=False) for trial in seen
    ]


def configs(seen: Sequence[Observation]) -> list[TrialConfig]:
    return [as_lstm_config(trial.config) for trial in seen]


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


# always the same -------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("slots", [1, 3])
def test_suggestions_are_a_pure_function_of_the_seed_and_what_is_seen(
    algorithm: str, slots: int
) -> None:
    first, second = (Proposer(presets.DEFAULT, seed=3, algorithm=algorithm) for _ in range(2))
    assert search(first, 25, slots=slots) == search(second, 25, slots=slots)


@each_algorithm
def test_a_proposer_remembers_nothing_of_what_it_was_asked(algorithm: str) -> None:
    old = Proposer(presets.DEFAULT, seed=3, algorithm=algorithm)
    seen = search(old, 15)
    new = Proposer(presets.DEFAULT, seed=3, algorithm=algorithm)
    for number in (0, 7, 14):
        assert new.propose(number, seen[:number]) == old.propose(number, seen[:number])


@each_algorithm
def test_another_seed_gives_other_suggestions(algorithm: str) -> None:
    first, second = (Proposer(presets.DEFAULT, seed=s, algorithm=algorithm) for s in (3, 4))
    assert configs(search(first, 5)) != configs(search(second, 5))


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_other_losses_give_other_suggestions(algorithm: str) -> None:
    first, second = (Proposer(FREE, seed=3, algorithm=algorithm) for _ in range(2))
    one, other = search(first, 25), search(second, 25, lambda config: 2 - config.dropout)
    assert configs(one) != configs(other)
    assert configs(one)[:STARTUP] == configs(other)[:STARTUP]


def test_random_search_does_not_depend_on_losses() -> None:
    first, second = (Proposer(FREE, seed=3, algorithm="random") for _ in range(2))
    assert configs(search(first, 25)) == configs(search(second, 25, lambda config: None))


# what is proposed ------------------------------------------------------------------------------


@each_algorithm
def test_a_point_decodes_to_its_config(algorithm: str) -> None:
    for trial in search(Proposer(FREE, seed=1, algorithm=algorithm), 15):
        assert FREE.decode(trial.point) == trial.config
        assert set(trial.point) == set(FREE.varying)


@each_algorithm
def test_every_suggestion_is_in_the_space(algorithm: str) -> None:
    seen = search(Proposer(presets.DEFAULT, seed=8, algorithm=algorithm), 25)
    assert all(presets.DEFAULT.admits(config) for config in configs(seen))


@each_algorithm
@pytest.mark.parametrize("slots", [1, 4])
def test_no_config_is_proposed_twice(algorithm: str, slots: int) -> None:
    found = configs(search(Proposer(presets.QUICK, seed=2, algorithm=algorithm), 40, slots=slots))
    assert len(set(found)) == len(found)


@each_algorithm
def test_a_space_that_can_be_listed_is_used_up_exactly(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    seen = search(proposer, 12, lambda config: float(config.layers))
    assert set(configs(seen)) == set(SMALL.points())
    assert proposer.propose(12, seen) is None


@each_algorithm
def test_a_space_is_used_up_by_trials_that_are_still_under_way(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    seen: list[Observation] = []
    for number in range(12):
        seen.append(under_way(number, asked(proposer, number, seen)))
    assert set(configs(seen)) == set(SMALL.points())
    assert proposer.propose(12, seen) is None


@each_algorithm
def test_only_what_is_admitted_is_proposed_until_it_is_used_up(algorithm: str) -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layers == 2

    proposer = Proposer(SMALL, seed=5, algorithm=algorithm, admits=admits)
    seen = search(proposer, 4, lambda config: 1.0)
    assert set(configs(seen)) == {
        config for config in SMALL.points() if admits(as_lstm_config(config))
    }
    assert proposer.propose(4, seen) is None


@each_algorithm
def test_only_what_is_admitted_is_proposed_from_a_continuous_space(algorithm: str) -> None:
    proposer = Proposer(
        FREE,
        seed=5,
        algorithm=algorithm,
        admits=lambda config: as_lstm_config(config).dropout > 0.7,
    )
    assert all(config.dropout > 0.7 for config in configs(search(proposer, 20)))


def test_a_continuous_space_of_which_nothing_is_admitted_is_used_up() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    assert Proposer(space, seed=0, admits=lambda config: False).propose(0, []) is None


@each_algorithm
def test_a_space_of_one_point_gives_it_once(algorithm: str) -> None:
    proposer = Proposer(Space({}), seed=0, algorithm=algorithm)
    proposal = asked(proposer, 0, [])
    assert proposal.config == TrialConfig() and proposal.point == {}
    assert proposer.propose(1, [ended(0, proposal, 1.0)]) is None


@each_algorithm
def test_values_of_a_list_are_proposed_about_equally_often_before_anything_is_seen(
    algorithm: str,
) -> None:
    space = FREE.replace(layers=Listed("layers", (1, 2, 3, 4)))
    first = [
        asked(Proposer(space, seed=seed, algorithm=algorithm), 0, []).config for seed in range(200)
    ]
    counts = [
        sum(as_lstm_config(config).layers == layers for config in first) for layers in (1, 2, 3, 4)
    ]
    assert sum(counts) == 200
    assert sum((count - 50) ** 2 / 50 for count in counts) < 3 + 4 * math.sqrt(6)


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="algo is 'grid': expected one of tpe, hyperopt, random, anneal"
    ):
        Proposer(FREE, seed=0, algorithm="grid")


# candidates ------------------------------------------------------------------------------------


@each_algorithm
@pytest.mark.parametrize("known", [0, 5, 30])
def test_the_first_candidate_is_what_is_proposed(algorithm: str, known: int) -> None:
    proposer = Proposer(presets.QUICK, seed=1, algorithm=algorithm)
    seen = search(proposer, known)
    assert next(proposer.candidates(known, seen)) == proposer.propose(known, seen)


@each_algorithm
@pytest.mark.parametrize("known", [0, 15])
def test_candidates_are_new_admitted_and_no_two_alike(algorithm: str, known: int) -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layer_size != 64

    proposer = Proposer(presets.QUICK, seed=1, algorithm=algorithm, admits=admits)
    seen = search(proposer, known)
    found = [p.config for p in itertools.islice(proposer.candidates(known, seen), 6)]
    assert len(found) == 6 == len(set(found) - set(configs(seen)))
    assert all(admits(as_lstm_config(config)) for config in found)


def test_candidates_of_a_space_that_can_be_listed_are_all_that_is_left() -> None:
    proposer = Proposer(SMALL, seed=1)
    seen = search(proposer, 5)
    left = [p.config for p in proposer.candidates(5, seen)]
    assert len(left) == 7 and {*left, *configs(seen)} == set(SMALL.points())


# the start -------------------------------------------------------------------------------------


def fits(config: Config) -> bool:
    """Whether a config suits a corpus of a million symbols."""
    return SizeRule().judge(as_lstm_config(config), 90, 1_000_000).admitted


def test_the_first_trials_spread_over_the_space() -> None:
    rates = presets.DEFAULT["learning_rate"].values() or []
    for seed in range(20):
        first = configs(search(Proposer(presets.DEFAULT, seed=seed), STARTUP))
        assert len(set(first)) == STARTUP
        assert Counter(config.direction for config in first) == {"uni": 5, "bi": 5}
        assert Counter(config.layers for config in first) == {2: 5, 3: 5}
        counts = Counter(config.learning_rate for config in first)
        assert set(counts) == set(rates) and max(counts.values()) <= 3


@pytest.mark.parametrize("best", [1e-5, 1e-3, 1.0])
def test_each_learning_rate_near_the_best_is_among_the_first_trials(best: float) -> None:
    space = narrowed(presets.DEFAULT, best)
    for seed in range(20):
        first = configs(search(Proposer(space, seed=seed), STARTUP))
        assert {c.learning_rate for c in first} == set(space["learning_rate"].values() or [])


def test_the_first_trials_are_admitted_and_spread_over_what_is_left() -> None:
    for seed in range(20):
        first = configs(search(Proposer(presets.DEFAULT, seed=seed, admits=fits), 8))
        assert len(set(first)) == 8 and all(fits(config) for config in first)
        assert 2 <= Counter(config.direction for config in first)["uni"] <= 6
        assert 2 <= Counter(config.layers for config in first)[2] <= 6


def test_the_first_trials_spread_over_numbers_too() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    for seed in range(20):
        proposer = Proposer(space, seed=seed)
        first = sorted(t.point["dropout"] for t in search(proposer, STARTUP))
        # a point in each tenth of the range
        assert [int(STARTUP * dropout / 0.8) for dropout in first] == list(range(STARTUP))


def test_trials_that_came_before_take_the_place_of_first_ones() -> None:
    proposer = Proposer(FREE, seed=3)
    first = configs(search(proposer, STARTUP))
    seen = [
        Observation(number, FREE.decode(point), point, 1.0)
        for number in range(STARTUP - 1)
        for point in [{"dropout": 0.01 * number, "layers": 0.0, "layer_size": math.log(32)}]
    ]
    assert asked(proposer, STARTUP - 1, seen).config == first[0]
    last = seen[-1]
    more = replace(last, number=STARTUP - 1, config=last.config.evolve(layers=3))
    assert asked(proposer, STARTUP, [*seen, more]).config not in first


def test_after_the_start_hyperopt_waits_for_losses_to_learn_from(heard: Heard) -> None:
    proposer = Proposer(FREE, seed=3, algorithm="hyperopt")
    seen = [replace(trial, loss=None) for trial in search(proposer, STARTUP)]
    few = [replace(trial, loss=1.0) for trial in seen[: FEWEST_LOSSES - 1]]
    asked(proposer, STARTUP, few + seen[len(few) :])
    assert heard.documents == {}
    enough = [replace(trial, loss=1.0) for trial in seen[:FEWEST_LOSSES]]
    asked(proposer, STARTUP, enough + seen[len(enough) :])
    assert set(heard.documents) == set(range(STARTUP))


# learning --------------------------------------------------------------------------------------


def mean_dropout(algorithm: str) -> float:
    """Mean dropout of the last 20 of 40 trials whose losses grow with it, over several seeds."""
    last = [
        config.dropout
        for seed in range(5)
        for config in configs(search(Proposer(FREE, seed=seed, algorithm=algorithm), 40)[20:])
    ]
    return sum(last) / len(last)


@pytest.mark.parametrize("algorithm, at_most", [("tpe", 0.3), ("hyperopt", 0.3), ("anneal", 0.15)])
def test_learned_suggestions_go_where_losses_are_low(algorithm: str, at_most: float) -> None:
    assert mean_dropout(algorithm) < at_most < mean_dropout("random") - 0.05


def bad_share(algorithm: str) -> float:
    """Share of later suggestions in the half that always fails, over several seeds."""
    later = [
        config.dropout > 0.4
        for seed in range(5)
        for config in configs(
            search(
                Proposer(FREE, seed=seed, algorithm=algorithm),
                50,
                lambda config: None if config.dropout > 0.4 else 1.0 + config.layer_size / 1e6,
            )[20:]
        )
    ]
    return sum(later) / len(later)


@pytest.mark.parametrize("algorithm", ["tpe", "hyperopt"])
def test_tpe_stays_away_from_where_trials_fail(algorithm: str) -> None:
    assert bad_share(algorithm) < 0.4 < bad_share("random") - 0.05


# what TPE is told ------------------------------------------------------------------------------


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


def test_trials_under_way_are_bad_to_tpe(told: Told) -> None:
    proposer = Proposer(FREE, seed=1)
    seen = search(proposer, 12)
    seen[10] = replace(seen[10], loss=None, pending=True)
    asked(proposer, 12, seen)
    everything = told.good + told.others
    assert everything.index(seen[10].point) == len(everything) - 1 == 11


def test_a_promising_config_that_was_used_gives_way_to_the_next(told: Told) -> None:
    proposer = Proposer(SMALL, seed=1)
    seen = search(proposer, STARTUP, lambda config: float(config.layers))
    left = set(SMALL.points()) - set(configs(seen))
    proposal = asked(proposer, STARTUP, seen)
    assert told.good and len(left) == 2
    assert proposal.config in left and proposal.acquisition is not None


def test_of_a_long_history_tpe_is_told_the_good_ones_of_the_whole(told: Told) -> None:
    seen = long_history(10_000)
    asked(Proposer(FREE, seed=1), 10_000, seen)
    ranked = sorted((t for t in seen if t.loss is not None), key=lambda t: t.loss or 0.0)
    assert told.good == [trial.point for trial in ranked[:GOOD]]
    assert len(told.good) + len(told.others) == HISTORY


# what Hyperopt is told -------------------------------------------------------------------------


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


def test_what_was_turned_down_is_not_told(heard: Heard) -> None:
    proposer = Proposer(
        FREE,
        seed=5,
        algorithm="hyperopt",
        admits=lambda config: as_lstm_config(config).dropout > 0.7,
    )
    asked(proposer, 12, search(proposer, 12))
    known = [document["misc"]["vals"]["dropout"][0] for document in heard.documents.values()]
    assert len(known) == 12 and min(known) > 0.69


def test_a_trial_outside_of_the_space_is_not_told_but_not_proposed_either(heard: Heard) -> None:
    proposer = Proposer(FREE, seed=1, algorithm="hyperopt")
    inside = search(proposer, 12)
    following = asked(proposer, 13, inside)
    outside = Observation(12, following.config, {}, 0.5)
    assert asked(proposer, 13, [*inside, outside]).config != following.config
    assert set(heard.documents) == set(range(12))


def test_trials_under_way_are_told_as_failures(heard: Heard) -> None:
    proposer = Proposer(FREE, seed=1, algorithm="hyperopt")
    seen = search(proposer, 12)
    seen[10] = replace(seen[10], loss=None, pending=True)
    asked(proposer, 12, seen)
    assert heard.results[10] == {"status": hyperopt.STATUS_FAIL}
    assert len(heard.results) == 12


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


# a long history --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("trials", [STARTUP, 100, HISTORY])
def test_a_short_history_is_told_whole(
    trials: int, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = long_history(trials)
    bounded = asked(Proposer(FREE, seed=1, algorithm="hyperopt"), trials, seen)
    assert list(heard.documents) == list(range(trials)) and heard.gamma == 0.25
    monkeypatch.setattr(module, "HISTORY", 10**9)
    assert asked(Proposer(FREE, seed=1, algorithm="hyperopt"), trials, seen) == bounded
