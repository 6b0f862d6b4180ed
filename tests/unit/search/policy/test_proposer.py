"""What each algorithm proposes, and what TPE and Hyperopt are told of the trials before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import hyperopt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.data.streams import scoring_blocks
from lstm_sweep.models.data.windows import scoring_targets
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.cost import (
    PRIOR,
    PRIOR_FIXED,
    CostModel,
    DataSize,
    operations,
    scored_windows,
)
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.policy.proposer import (
    CANDIDATES,
    GOOD,
    HISTORY,
    Observation,
    Observed,
    Proposal,
    Proposer,
    suggest,
)
from lstm_sweep.search.values.spec import ALGORITHMS
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space
from tests.unit.models.data.corpus_files import split_of
from tests.unit.search.policy.player import SMALL

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
FREE = Space(
    {
        "dropout": Range("dropout", 0.0, 0.8),
        "layers": Listed("layers", (2, 3)),
        "layer_size": Range("layer_size", 32, 512, step=16, log=True),
    }
)


def observations(seen: Iterable[Observation], pending: Collection[int] = ()) -> Observed:
    """What these trials say, in order of their numbers."""
    observed = Observed()
    for one in seen:
        waits = one.number in pending
        observed.put(one.number, one.config, one.point, one.loss, pending=waits)
    return observed


def asked(proposer: Proposer, number: int, seen: Sequence[Observation]) -> Proposal:
    """A proposal where there has to be one."""
    proposal = next(proposer.candidates(number, observations(seen)), None)
    assert proposal
    return proposal


def by_dropout(config: TrialConfig) -> float:
    return 1.0 + config.dropout


def search(
    proposer: Proposer,
    trials: int,
    loss: Callable[[TrialConfig], float | None] = by_dropout,
    slots: int = 1,
) -> list[Observation]:
    """Run so many trials, as many at a time as there are slots."""
    seen: list[Observation] = []

    def end(trial: Observation) -> Observation:
        return replace(trial, loss=loss(as_lstm_config(trial.config)))

    for number in range(trials):
        if number >= slots:
            seen[number - slots] = end(seen[number - slots])
        proposal = asked(proposer, number, seen)
        seen.append(Observation(number, proposal.config, proposal.point, None))
    return [end(trial) for trial in seen]


def configs(seen: Sequence[Observation]) -> list[TrialConfig]:
    return [as_lstm_config(trial.config) for trial in seen]


def narrow(config: Config) -> bool:
    return as_lstm_config(config).layer_size < 300


def large(config: Config) -> bool:
    return not narrow(config)


@each_algorithm
def test_proposals_are_new_admitted_and_a_pure_function_of_the_seed_and_what_is_seen(
    algorithm: str,
) -> None:
    def proposer(seed: int = 3) -> Proposer:
        return Proposer(presets.DEFAULT, seed=seed, algorithm=algorithm, admits=narrow)

    first = proposer()
    seen = search(first, 25, slots=3)
    assert seen == search(proposer(), 25, slots=3)
    assert configs(seen)[:5] != configs(search(proposer(seed=4), 5))
    assert len(set(configs(seen))) == 25
    for trial in seen:
        assert narrow(trial.config) and presets.DEFAULT.admits(trial.config)
        assert presets.DEFAULT.decode(trial.point) == trial.config
        assert set(trial.point) == set(presets.DEFAULT.varying)
    for number in (0, 7, 14):  # it remembers nothing of what it was asked
        known = observations(seen[:number])
        found = [one.config for one in itertools.islice(proposer().candidates(number, known), 6)]
        assert found[0] == asked(first, number, seen[:number]).config
        assert len(set(found) - set(configs(seen[:number]))) == 6
        assert all(narrow(config) for config in found)


@each_algorithm
@pytest.mark.parametrize("slots", [1, 12])
@pytest.mark.parametrize("layers", [{1, 2, 3}, {2}])
def test_a_space_that_can_be_listed_is_used_up_exactly(
    algorithm: str, slots: int, layers: set[int]
) -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layers in layers

    proposer = Proposer(SMALL, seed=5, algorithm=algorithm, admits=admits)
    left = [config for config in SMALL.points() if admits(config)]
    seen = search(proposer, len(left), lambda config: float(config.layers), slots)
    assert set(configs(seen)) == set(left)
    assert not any(proposer.candidates(len(left), observations(seen)))


def test_a_continuous_space_of_which_nothing_is_admitted_is_used_up() -> None:
    space = Space({"dropout": Range("dropout", 0.0, 0.8)})
    proposer = Proposer(space, seed=0, admits=lambda config: False)
    assert not any(proposer.candidates(0, observations([])))


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="algo is 'grid': expected one of tpe, hyperopt, random, anneal"
    ):
        Proposer(FREE, seed=0, algorithm="grid")


def failing_above(config: TrialConfig) -> float | None:
    return None if config.dropout > 0.4 else 1.0 + config.layer_size / 1e6


@pytest.mark.parametrize(
    "algorithm, loss, at_most",
    [
        ("tpe", by_dropout, 0.3),
        ("hyperopt", by_dropout, 0.3),
        ("anneal", by_dropout, 0.15),
        ("tpe", failing_above, 0.34),
        ("hyperopt", failing_above, 0.34),
    ],
)
def test_learned_suggestions_go_where_losses_are_low_and_trials_do_not_fail(
    algorithm: str, loss: Callable[[TrialConfig], float | None], at_most: float
) -> None:
    def later(algorithm: str) -> float:
        proposers = (Proposer(FREE, seed=seed, algorithm=algorithm) for seed in range(5))
        tried = [configs(search(one, 40, loss)[20:]) for one in proposers]
        return float(np.mean([config.dropout for config in itertools.chain(*tried)]))

    assert later(algorithm) < at_most < later("random") - 0.05


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What Hyperopt's TPE was told when it was last asked: points by numbers, and gamma."""
    found, suggest = SimpleNamespace(), hyperopt.tpe.suggest

    def listen(ids: Any, domain: Any, trials: Any, seed: int, **options: Any) -> Any:
        found.told = {document["tid"]: document["misc"]["vals"] for document in trials.trials}
        found.gamma = options["gamma"]
        return suggest(ids, domain, trials, seed, **options)

    monkeypatch.setattr(hyperopt.tpe, "suggest", listen)
    return found


def test_hyperopt_is_told_points_as_it_draws_them_and_a_trial_outside_of_the_space_is_not_told(
    heard: SimpleNamespace,
) -> None:
    proposer = Proposer(FREE, seed=1, algorithm="hyperopt")
    inside = search(proposer, 12)
    following = asked(proposer, 13, inside)
    outside = Observation(12, following.config, {}, 0.5)
    assert asked(proposer, 13, [*inside, outside]).config != following.config
    points = {one.number: {name: [at] for name, at in one.point.items()} for one in inside}
    assert heard.told == points


def test_of_a_long_history_tpe_sees_the_best_and_all_under_way_and_the_last(
    heard: SimpleNamespace,
) -> None:
    pending, losses, seen = set(range(50, 10_000, 100)), rng(), list[Observation]()
    for number, point in enumerate(points(FREE, 10_000)):
        loss = None if number in pending or number % 7 == 0 else losses.random()
        seen.append(Observation(number, FREE.decode(point), point, loss))
    known = observations(seen, pending)
    proposal = next(Proposer(FREE, seed=1, algorithm="hyperopt").candidates(10_000, known))
    assert proposal.config not in configs(seen)
    told = set(heard.told)
    ranked = sorted((t for t in seen if t.loss is not None), key=lambda t: t.loss or 0.0)
    best = {trial.number for trial in ranked[:GOOD]}
    others = told - best - pending
    assert len(told) == HISTORY and best <= told and pending <= told
    assert others and others == set(range(min(others), 10_000)) - best - pending
    assert list(heard.told) == sorted(told)
    # Hyperopt takes gamma * sqrt(number of trials), 25 at most: as many as of the whole
    assert math.ceil(heard.gamma * math.sqrt(HISTORY) - 1e-9) == GOOD


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def points(space: Space, count: int, seed: int = 1) -> list[dict[str, float]]:
    source = rng(seed)
    return [space.encode(space.sample(source)) for _ in range(count)]


@settings(max_examples=30)
@given(good=st.integers(0, 6), others=st.integers(0, 30), seed=st.integers(0, 1000))
def test_suggestions_are_in_the_space_and_no_two_alike(good: int, others: int, seed: int) -> None:
    known = points(presets.DEFAULT, good + others + 1, seed)
    found = suggest(presets.DEFAULT, known[: good + 1], known[good + 1 :], admits_all, rng(seed))
    assert len(found) == CANDIDATES == len({one.config for one in found})
    for one in found:
        assert presets.DEFAULT.admits(one.config)
        assert presets.DEFAULT.decode(one.point) == one.config


def test_what_is_learned_of_a_rate_holds_for_sizes_that_were_never_tried() -> None:
    """A rate is good and another bad on small networks: on large ones the good one comes first."""
    sizes = {"layer_size": FREE["layer_size"]}
    space = Space({**sizes, "learning_rate": Listed("learning_rate", (0.001, 0.01, 0.1))})
    others, good, more = (
        [{"layer_size": math.log(size), "learning_rate": rate} for size in (32, 48, 64, 80)]
        for rate in range(3)
    )
    share = 0
    for seed in range(20):
        found = suggest(space, good, others + more, large, rng(seed))
        share += as_lstm_config(found[0].config).learning_rate == 0.01
    assert share >= 19


EXTENT = DataSize(symbols=1_000_000, alphabet=90, targets=10_000)
#: rates of a machine whose products are slower than the prior says, and the rest quicker
RATES = np.array([1 / 20e9, 50e-6, 1e-9])
#: rates of one that is quick at products and slow at beginning them, as a GPU is
GPU_RATES = np.array([1 / 200e9, 400e-6, 1e-9])


def sampled(count: int, seed: int = 0) -> list[TrialConfig]:
    rng = np.random.default_rng(seed)
    return [as_lstm_config(presets.DEFAULT.sample(rng)) for _ in range(count)]


def seconds(config: TrialConfig, rates: NDArray[np.float64] = RATES) -> float:
    """What an epoch takes on a machine of these rates."""
    return float(operations(config, EXTENT) @ rates)


@pytest.mark.parametrize(
    "targets, adjacent", [(10_752, 128), (4_608, 24), (512, 128), (111_540, 1)]
)
def test_what_streams_read_is_about_what_is_predicted(targets: int, adjacent: int) -> None:
    split = split_of([111_540])
    config = TrialConfig(direction="uni", state="carried", sequence_length=50)
    size = DataSize(10**6, 90, targets, validation=len(split), adjacent=adjacent)
    windows, batches = scored_windows(config, size)
    blocks = list(scoring_blocks(split, scoring_targets(split, targets, 0, adjacent)))
    read = sum(block.codes.size for block in blocks)
    steps = sum(block.codes.shape[1] for block in blocks)
    assert 0.6 < windows * 50 / read < 1.2
    assert 0.4 < batches * 50 / steps < 1.6


def test_the_work_of_an_epoch_is_counted_in_closed_form() -> None:
    config = TrialConfig(layers=2, layer_size=10, sequence_length=20, batch_size=50)
    products, steps, elements = operations(config, DataSize(symbols=2_000, alphabet=5, targets=512))
    passes = 3 * 100 + 512  # 100 windows forward and back, and the targets forward
    layers = 8 * 10 * (5 + 10) + 8 * 10 * (10 + 10)
    head = 2 * 10 * 5
    assert products == passes * 20 * layers + (3 * 100 * 20 + 512) * head
    assert steps == (3 * 2 + 2) * 20 * 2
    assert elements == passes * 20 * 2 * 10
    uni = TrialConfig(direction="uni", embedding_size=8)  # of many words few are drawn in a step
    work = [operations(uni, DataSize(10**6, size, 0))[0] for size in (1_024, 8_191, 8_192, 20_000)]
    assert work[0] == work[2] == work[3] < work[1] / 3


@pytest.mark.parametrize(
    "count, noise, rates, typical, at_most",
    [
        (10, 0.0, RATES, 0.05, 0.15),
        (20, 0.0, RATES, 0.03, 0.06),
        (40, 0.0, RATES, 0.02, 0.05),
        (40, 0.05, RATES, 0.03, 0.08),  # epochs that differ by 5 % from one to the next
        (40, 0.0, GPU_RATES, 0.1, math.inf),  # a machine that is unlike the prior
    ],
)
def test_predictions_for_other_configs_are_near(
    count: int, noise: float, rates: NDArray[np.float64], typical: float, at_most: float
) -> None:
    model, rng = CostModel(EXTENT), np.random.default_rng(1)
    for number, config in enumerate(sampled(count, seed=1)):
        epochs = seconds(config, rates) * (1 + noise * rng.standard_normal(4))
        model.observe(number, config, [9 * epochs[0], *epochs[1:]])  # the first is a slow one
    errors = [
        abs(model.round_seconds(other) / seconds(other, rates) - 1)
        for other in sampled(200, seed=2)
    ]
    assert np.median(errors) < typical and np.max(errors) < at_most


@pytest.mark.parametrize(
    ("rounds", "total", "typical", "fixed"),
    [
        ([], None, None, PRIOR_FIXED),
        ([70.0], 80.0, None, PRIOR_FIXED),
        ([500.0, 4.0, 4.0], None, 4.0, PRIOR_FIXED),  # the first one includes tracing
        ([9.0, 4.0, 4.0, 90.0, 4.0], None, 4.0, PRIOR_FIXED),  # one took long by chance
        # the first epoch counts as a typical one, and what it took beyond that is fixed
        ([5.0, 4.0, 4.0], 19.0, 4.0, 7.0),
        ([5.0, 4.0, 4.0], 1.0, 4.0, 0.0),  # a clock that runs backwards
    ],
)
def test_what_is_learned_of_a_trial(
    rounds: list[float], total: float | None, typical: float | None, fixed: float
) -> None:
    model, config = CostModel(EXTENT), TrialConfig()
    model.observe(0, config, [9.0, 8.0] if typical else [])  # what is seen later takes its place
    model.observe(0, config, rounds, total=total)
    expected = typical or seconds(config, np.array(PRIOR))
    assert model.round_seconds(config) == pytest.approx(expected)
    assert model.fixed_seconds == pytest.approx(fixed)
    assert model.trial_seconds(config, 10) == pytest.approx(fixed + 10 * expected)
