from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import hyperopt
import pytest

from models.config import TrialConfig
from models.errors import InputError
from search.proposer import ALGORITHMS, Proposer
from spaces import lstm
from spaces.dimension import Listed, Range
from spaces.space import Space

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


def search(proposer: Proposer, trials: int, loss: Loss = by_dropout) -> list[TrialConfig]:
    """Ask and tell one trial after the other."""
    configs = []
    for number in range(trials):
        proposal = proposer.ask(number)
        assert proposal
        configs.append(proposal.config)
        proposer.tell(number, loss(proposal.config))
    return configs


def documents(proposer: Proposer) -> dict[int, Any]:
    """What Hyperopt knows, by number."""
    return {document["tid"]: document for document in proposer._trials.trials}


@each_algorithm
def test_suggestions_are_a_pure_function_of_the_seed_and_what_was_told(algorithm: str) -> None:
    first, second = (Proposer(lstm.DEFAULT, seed=3, algorithm=algorithm) for _ in range(2))
    assert search(first, 25) == search(second, 25)


@each_algorithm
def test_another_seed_gives_other_suggestions(algorithm: str) -> None:
    first, second = (Proposer(lstm.DEFAULT, seed=s, algorithm=algorithm) for s in (3, 4))
    assert search(first, 5) != search(second, 5)


@pytest.mark.parametrize("algorithm", ["tpe", "anneal"])
def test_other_losses_give_other_suggestions(algorithm: str) -> None:
    first, second = (Proposer(FREE, seed=3, algorithm=algorithm) for _ in range(2))
    assert search(first, 25) != search(second, 25, lambda config: 2 - config.dropout)


def test_random_search_does_not_depend_on_losses() -> None:
    first, second = (Proposer(FREE, seed=3, algorithm="random") for _ in range(2))
    assert search(first, 25) == search(second, 25, lambda config: None)


@each_algorithm
def test_a_point_decodes_to_its_config(algorithm: str) -> None:
    proposer = Proposer(FREE, seed=1, algorithm=algorithm)
    for number in range(15):
        proposal = proposer.ask(number)
        assert proposal and FREE.decode(proposal.point) == proposal.config
        assert set(proposal.point) == set(FREE.varying)
        proposer.tell(number, 1.0)


@each_algorithm
def test_every_suggestion_is_in_the_space(algorithm: str) -> None:
    configs = search(Proposer(lstm.DEFAULT, seed=8, algorithm=algorithm), 25)
    assert all(lstm.DEFAULT.admits(config) for config in configs)


@each_algorithm
def test_no_config_is_proposed_twice(algorithm: str) -> None:
    configs = search(Proposer(lstm.QUICK, seed=2, algorithm=algorithm), 60)
    assert len(set(configs)) == len(configs)


@each_algorithm
def test_a_space_that_can_be_listed_is_used_up_exactly(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    configs = search(proposer, 12, lambda config: float(config.layers))
    assert set(configs) == set(SMALL.points())
    assert proposer.ask(12) is None


@each_algorithm
def test_a_space_is_used_up_by_trials_that_are_still_in_flight(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    proposals = [proposer.ask(number) for number in range(13)]
    assert {p.config for p in proposals if p} == set(SMALL.points())
    assert proposals[-1] is None


@each_algorithm
def test_only_what_is_admitted_is_proposed_until_it_is_used_up(algorithm: str) -> None:
    def admits(config: TrialConfig) -> bool:
        return config.layers == 2

    proposer = Proposer(SMALL, seed=5, algorithm=algorithm, admits=admits)
    configs = search(proposer, 4, lambda config: 1.0)
    assert set(configs) == {config for config in SMALL.points() if admits(config)}
    assert proposer.ask(4) is None


def test_only_what_is_admitted_is_proposed_from_a_continuous_space() -> None:
    proposer = Proposer(FREE, seed=5, admits=lambda config: config.dropout > 0.7)
    assert all(config.dropout > 0.7 for config in search(proposer, 20))


def test_a_continuous_space_of_which_nothing_is_admitted_is_used_up() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    assert Proposer(space, seed=0, admits=lambda config: False).ask(0) is None


def test_what_was_turned_down_is_not_told_to_hyperopt() -> None:
    proposer = Proposer(FREE, seed=5, admits=lambda config: config.dropout > 0.7)
    search(proposer, 8)
    known = [document["misc"]["vals"]["dropout"][0] for document in documents(proposer).values()]
    assert len(known) == 8 and min(known) > 0.69


@each_algorithm
def test_a_space_of_one_point_gives_it_once(algorithm: str) -> None:
    proposer = Proposer(Space({}), seed=0, algorithm=algorithm)
    proposal = proposer.ask(0)
    assert proposal and proposal.config == TrialConfig() and proposal.point == {}
    proposer.tell(0, 1.0)
    assert proposer.ask(1) is None


@each_algorithm
def test_values_of_a_list_are_proposed_about_equally_often_before_anything_is_told(
    algorithm: str,
) -> None:
    space = FREE.replace(layers=Listed("layers", (1, 2, 3, 4)))
    configs = [
        proposal.config
        for seed in range(200)
        if (proposal := Proposer(space, seed=seed, algorithm=algorithm).ask(0))
    ]
    counts = [sum(config.layers == layers for config in configs) for layers in (1, 2, 3, 4)]
    assert sum(counts) == 200
    assert sum((count - 50) ** 2 / 50 for count in counts) < 3 + 4 * math.sqrt(6)


def mean_dropout(algorithm: str) -> float:
    """Mean dropout of the last 20 of 40 trials whose losses grow with it, over several seeds."""
    last = [
        config.dropout
        for seed in range(8)
        for config in search(Proposer(FREE, seed=seed, algorithm=algorithm), 40)[20:]
    ]
    return sum(last) / len(last)


@pytest.mark.parametrize("algorithm, at_most", [("tpe", 0.3), ("anneal", 0.15)])
def test_learned_suggestions_go_where_losses_are_low(algorithm: str, at_most: float) -> None:
    assert mean_dropout(algorithm) < at_most < mean_dropout("random") - 0.05


def bad_share(algorithm: str) -> float:
    """Share of later suggestions in the half that always fails, over several seeds."""
    later = [
        config.dropout > 0.4
        for seed in range(8)
        for config in search(
            Proposer(FREE, seed=seed, algorithm=algorithm),
            50,
            lambda config: None if config.dropout > 0.4 else 1.0 + config.layer_size / 1e6,
        )[20:]
    ]
    return sum(later) / len(later)


def test_tpe_stays_away_from_where_trials_fail() -> None:
    assert bad_share("tpe") < 0.4 < bad_share("random") - 0.05


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
def test_a_failure_is_told_without_a_loss(loss: float | None) -> None:
    proposer = Proposer(FREE, seed=1)
    proposer.ask(0)
    proposer.tell(0, loss)
    document = documents(proposer)[0]
    assert document["result"] == {"status": hyperopt.STATUS_FAIL}
    assert document["state"] == hyperopt.JOB_STATE_DONE


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_teaches_the_same_as_a_failure(loss: float) -> None:
    def told(bad: float | None) -> list[TrialConfig]:
        proposer = Proposer(FREE, seed=1)
        return search(proposer, 25, lambda config: bad if config.dropout > 0.4 else 1.0)

    assert told(loss) == told(None)


def test_a_loss_is_told_as_it_is() -> None:
    proposer = Proposer(FREE, seed=1)
    proposer.ask(0)
    proposer.tell(0, 1.25)
    assert documents(proposer)[0]["result"] == {"status": hyperopt.STATUS_OK, "loss": 1.25}


@each_algorithm
def test_points_in_flight_are_known_to_hyperopt_as_new(algorithm: str) -> None:
    proposer = Proposer(FREE, seed=1, algorithm=algorithm)
    for number in range(3):
        proposer.ask(number)
    proposer.tell(1, 2.0)
    states = {number: document["state"] for number, document in documents(proposer).items()}
    assert states == {
        0: hyperopt.JOB_STATE_NEW,
        1: hyperopt.JOB_STATE_DONE,
        2: hyperopt.JOB_STATE_NEW,
    }


def test_a_point_in_flight_changes_what_tpe_suggests_next() -> None:
    ahead, behind = (Proposer(FREE, seed=1) for _ in range(2))
    search(ahead, 25)
    search(behind, 25)
    ahead.ask(25)
    assert ahead.ask(26) != behind.ask(26)


@each_algorithm
def test_points_left_over_at_the_end_are_known_to_hyperopt_like_others(algorithm: str) -> None:
    proposer = Proposer(SMALL, seed=5, algorithm=algorithm)
    search(proposer, 12, lambda config: 1.0)
    known = [
        SMALL.decode({name: raws[0] for name, raws in document["misc"]["vals"].items()})
        for document in documents(proposer).values()
    ]
    assert set(known) == set(SMALL.points())


@each_algorithm
def test_losses_may_be_told_in_any_order(algorithm: str) -> None:
    orders = itertools.permutations(range(3))
    nexts = set()
    for order in orders:
        proposer = Proposer(FREE, seed=1, algorithm=algorithm)
        configs = [proposal.config for n in range(3) if (proposal := proposer.ask(n))]
        for number in order:
            proposer.tell(number, by_dropout(configs[number]))
        proposal = proposer.ask(3)
        assert proposal
        nexts.add(proposal.config)
    assert len(nexts) == 1


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="algo is 'grid': expected one of tpe, random, anneal"):
        Proposer(FREE, seed=0, algorithm="grid")
