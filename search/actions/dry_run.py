"""What `launch` would do with a spec, how long it will take, and which networks its space has."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import Config, TrialConfig, values_text
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.size import SizeRule, parameters_of
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.references import Here, Wanted, read_here
from lstm_sweep.search.driver.preflight import check_space
from lstm_sweep.search.driver.task import KnownCosts, Task
from lstm_sweep.search.driver.tasks import task_kind
from lstm_sweep.search.engines.base import devices
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.confirmation import SHARE
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.policy.problem import SearchProblem, described
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.documents import SAID, Document, rounded
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.texts import about, budget_text, duration
from lstm_sweep.spaces.dimension import Value
from lstm_sweep.spaces.space import LISTABLE

#: fields of a spec that name files
PLACES = ("data", "template")


@dataclass(frozen=True)
class TypicalTrial(Document):
    """A trial of the search whose cost is the median of those of drawn configs."""

    config: Config
    parameters: int
    #: seconds that it takes if it is trained to its end, and bytes of its arrays in training
    seconds: float = field(metadata=rounded(1))
    memory_bytes: int


@dataclass(frozen=True)
class Budget(Document):
    """Trials that a budget buys, and seconds that they take; None if nobody knows."""

    trials: int | None
    seconds: float | None = field(metadata=rounded(1))


@dataclass(frozen=True, kw_only=True)
class DryRun(Document):
    """What `launch` would do."""

    #: the spec as it is resolved
    spec: Mapping[str, Any]
    #: trials at once; None if a cluster decides it
    slots: int | None
    #: configs of the space; None if a dimension is continuous
    configs: int | None
    #: share of drawn configs that the size rule turns down; None if costs are not known beforehand
    refused: float | None
    #: None if costs are not known beforehand, as those of a template
    typical: TypicalTrial | None
    budget: Budget
    #: what people are told when such a sweep begins
    notes: tuple[str, ...]

    def with_places(self, named: Callable[[str], str]) -> Self:
        """The same with places as `named` names them."""
        files = {field: named(self.spec[field]) for field in PLACES if self.spec.get(field)}
        return replace(self, spec={**self.spec, **files}, notes=tuple(map(named, self.notes)))

    def lines(self) -> Iterator[str]:
        """What a sweep would do, in lines for people: what matters most first."""
        yield "dry run: nothing is trained, and nothing is created"
        yield f"takes: {_takes(self)}"
        if typical := self.typical:
            yield (
                f"a typical network: {plain(typical.config.headline())}, {typical.parameters:,} "
                f"parameters, {typical.memory_bytes / 1e6:,.0f} MB beside TensorFlow's own"
            )
            yield (
                f"its trial would take about {about(typical.seconds)} to its end; most are pruned "
                f"long before"
            )
        yield from map(plain, self.notes)
        yield from _space_lines(self)
        yield "--json has every option, as it is resolved"


def _takes(result: DryRun) -> str:
    """For how long, how many trials, and how many at once."""
    slots, spec = result.slots, result.spec
    at_once = "as many at once as the cluster has slots" if slots is None else f"{slots} at once"
    trials, seconds = result.budget.trials, result.budget.seconds
    wanted = budget_text(spec.get("trials"), spec.get("minutes"))
    if seconds is None or result.typical is None:
        return f"{wanted}, {at_once}; nobody knows yet how long a trial takes"
    return (
        f"{wanted} at most: about {budget_text(trials, None)} in about {about(seconds)}, {at_once}"
    )


def _space_lines(result: DryRun) -> Iterator[str]:
    """What varies, a field a line, and what does not, in one line."""
    configs = "infinitely many" if result.configs is None else f"{result.configs:,}"
    share = result.refused
    refused = "" if share is None else f"; the size rule refuses {share:.0%} of them"
    yield f"space: {configs} configs{refused}"
    fixed = list[str]()
    for name, values in result.spec["space"].items():
        text = plain(f"{name} {values_text(values)}")
        if isinstance(values, dict) or (isinstance(values, list) and len(values) > 1):
            yield f"  {text}"
        else:
            fixed.append(text)
    if fixed:
        yield f"  always: {', '.join(fixed)}"


def dry_run(here: Here, spec: Wanted, most_slots: int | None = None) -> DryRun:
    """What `launch` would do with a spec.

    The seconds are those of a common machine, or, if the store has sweeps, at their pace.
    `most_slots` is how many trials run at once at most; None if only the engine says.

    Raises:
        InputError: as for `launch`.
    """
    spec = read_here(spec)
    kind = task_kind(spec)
    on_cluster = spec.on == "ray"
    asked = replace(spec, on="local", workers=1) if on_cluster else spec  # no cluster is asked
    with references.engine_of(asked) as engine:
        found = devices(engine)
        slots = spec.workers if on_cluster else len(engine.slots)
        if most_slots is not None:
            slots = min(most_slots, slots or most_slots)
        kind.check_devices(spec, found)
        task = kind.open(spec)
        spec = task.settled(spec)
        notes = task.notes(spec, found)
    store = _store_that_exists(here.settings)
    if store and spec.name:
        references.check_free(store, spec.name)
    configs = spec.space.size()
    notes = [*notes, *described(task.prior(spec, store) if store else ())]
    refused, typical, budget = None, None, Budget(spec.trials, limit_s(spec))
    if known := task.known_costs(spec):
        costs = known.problem.costs()
        drawn, refused = draws(task, spec)
        typical = _typical(known, costs, drawn)
        budget = Budget(*bought(spec, known.problem, costs, drawn, slots or 1))
    return DryRun(
        spec=spec.to_dict(),
        slots=slots,
        configs=configs,
        refused=refused,
        typical=typical,
        budget=budget,
        notes=tuple(notes),
    )


def _store_that_exists(settings: Settings) -> Store | None:
    file = settings.database_file
    return MlflowStore(settings) if file is None or file.exists() else None


def _typical(known: KnownCosts, costs: Costs, drawn: Sequence[Config]) -> TypicalTrial:
    """The drawn config of the median cost."""
    by_cost = sorted(drawn, key=costs.round_seconds)
    config = by_cost[len(by_cost) // 2]
    return TypicalTrial(
        config,
        known.parameters(config),
        costs.trial_seconds(config, known.problem.rounds),
        known.memory(config),
    )


#: draws of a space that pass the size rule, of which costs are predicted, and draws at most
ADMITTED, DRAWS = 200, 2_000


def announcement(spec: SweepSpec, task: Task, slots: int, gone: float = 0.0) -> str:
    """How long a sweep will take, and when there are results, in a line for people.

    It was driven for `gone` seconds before. The seconds are those of a common machine. Nothing is
    estimated as long as it has no slot, as on a cluster that others have filled.
    """
    limit = limit_s(spec)
    on = f"on {slots} slot{'s' if slots != 1 else ''}" if slots else "on no slot yet"
    wanted = budget_text(spec.trials, spec.minutes)
    if gone:
        left = "" if limit is None else f", {duration(max(0.0, limit - gone))} of it left"
        return f"{wanted}{left}, {on}"
    known = task.known_costs(spec)
    if known is None or not slots:
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


#: indices, one of each row
Places = NDArray[np.int64]
#: structures that are listed one by one, at most
LISTED = 12
SIZE_FIELDS = ("direction", "layers", "layer_size", "embedding_size")


@dataclass(frozen=True)
class NetworkSize(Document):
    """A network, compared with the size rule."""

    direction: str
    layers: int
    layer_size: int
    embedding_size: int
    parameters: int
    per_symbol: float | None
    admitted: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class SizeReport(Document):
    """Sizes of the networks of a space, compared with the size rule."""

    #: what was found out about the corpus, for people
    corpus: str = field(metadata=SAID)
    training_symbols: int
    alphabet: int
    #: share of the validation symbols that training data do not have, which are not scored
    unknown_share: float
    #: parameters for each training symbol that the rule admits; for `low` at most two million count
    low: float
    high: float
    #: parameters that it admits in all
    fewest: float
    most: float
    #: networks that differ in size, and how many of them pass
    structures: int
    admitted: int
    #: all of them by size, or the smallest and the largest if they are too many
    networks: tuple[NetworkSize, ...]
    #: why a sweep would refuse this space; empty if it would not
    refused: str = field(default="", metadata=SAID)


def size(spec: SweepSpec) -> SizeReport:
    """What the size rule says of the networks of a spec's space, on its data.

    Raises:
        InputError: the data cannot be read.
    """
    corpus = corpora.load(spec.source())
    rule, symbols, alphabet = spec.rule(), len(corpus.train), len(corpus.alphabet)

    def judged(config: TrialConfig) -> NetworkSize:
        found = rule.judge(config, alphabet, symbols)
        sizes = config.direction, config.layers, config.layer_size, config.embedding_size
        return NetworkSize(*sizes, found.parameters, found.ratio, found.admitted, found.reason)

    axes = [sorted(spec.space[field].values() or []) for field in SIZE_FIELDS]
    structures = math.prod(map(len, axes))
    if structures <= LISTABLE:
        networks = list(map(judged, _structures(axes)))
        admitted = sum(network.admitted for network in networks)
    else:
        networks = list(map(judged, _corners(axes)))
        admitted = _admitted(axes, rule, alphabet, symbols)
    fewest, most = rule.bounds(symbols)
    networks.sort(key=lambda network: network.parameters)
    return SizeReport(
        corpus=corpus.decided,
        training_symbols=symbols,
        alphabet=alphabet,
        unknown_share=corpus.unknown_share(corpus.validation),
        low=rule.low,
        high=rule.high,
        fewest=fewest,
        most=most,
        structures=structures,
        admitted=admitted,
        networks=tuple(networks if structures <= LISTED else (networks[0], networks[-1])),
        refused=_refusal(spec, corpus),
    )


def _structures(axes: Sequence[Sequence[Value]]) -> Iterator[TrialConfig]:
    """The networks of which each has one value of each axis, in the order of `SIZE_FIELDS`."""
    for values in itertools.product(*axes):
        yield TrialConfig.from_dict(dict(zip(SIZE_FIELDS, values, strict=True)))


def _corners(axes: Sequence[Sequence[Value]]) -> Iterator[TrialConfig]:
    """Networks with the ends of each axis, among which are the smallest and the largest.

    Without an embedding, of size 0, symbols are vectors as long as the alphabet: so the smallest
    embedding that there is counts as an end as well.
    """
    ends = [[axis[0], axis[-1]] for axis in axes]
    embedding = SIZE_FIELDS.index("embedding_size")
    ends[embedding] += axes[embedding][:2]
    return _structures([list(dict.fromkeys(values)) for values in ends])


def _admitted(axes: Sequence[Sequence[Any]], rule: SizeRule, alphabet: int, symbols: int) -> int:
    """How many networks the rule admits: the larger the layers, the more parameters they have."""
    directions, layers, *sizes = axes
    units, embeddings = (np.array(axis, np.int64) for axis in sizes)

    def admitted_of(direction: str, count: int) -> int:
        def parameters(place: Places) -> Any:
            return parameters_of(direction, count, units[place], embeddings, alphabet)

        def large_enough(place: Places) -> Any:
            return ~rule.is_too_small(parameters(place), symbols)

        def too_large(place: Places) -> Any:
            return rule.is_too_large(parameters(place), symbols)

        size = len(units), len(embeddings)
        return int((_first_place(too_large, *size) - _first_place(large_enough, *size)).sum())

    return sum(itertools.starmap(admitted_of, itertools.product(directions, layers)))


def _first_place(is_reached: Callable[[Places], Any], size: int, count: int) -> Places:
    """The first of `size` places where something is reached, for each of `count` rows, or `size`.

    Once it is reached it is so at all places after that.
    """
    low, high = np.zeros(count, np.int64), np.full(count, size)
    while (low < high).any():
        middle = np.minimum((low + high) // 2, size - 1)
        there = (low < high) & is_reached(middle)
        high = np.where(there, middle, high)
        low = np.where((low < high) & ~there, middle + 1, low)
    return low


def _refusal(spec: SweepSpec, corpus: Corpus) -> str:
    """Why a sweep would refuse a space; empty if it would not."""
    try:
        check_space(spec, corpus)
    except InputError as error:
        return str(error)
    return ""
