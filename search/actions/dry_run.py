"""What `launch` would do with a spec, how long it will take, and which networks its space has."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from lstm_sweep.models.config import Config, values_text
from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.size import SizeRule, parameters_of
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.pretraining import first_of, second_of, with_network
from lstm_sweep.search.actions.references import Here, Wanted
from lstm_sweep.search.driver.lstm_task import LstmTask
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.driver.tasks import task_kind
from lstm_sweep.search.engines.base import devices
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.confirmation import SHARE
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.problem import Costs, EarlierBest, SearchProblem, described
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.documents import SAID, Document, about, budget_text, duration, rounded
from lstm_sweep.search.values.spec import PLACES, SweepSpec


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
        yield f"takes: {self.takes()}"
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
        configs = "infinitely many" if self.configs is None else f"{self.configs:,}"
        share = self.refused
        refused = "" if share is None else f"; the size rule refuses {share:.0%} of them"
        yield f"space: {configs} configs{refused}"
        fixed = list[str]()
        for name, values in self.spec["space"].items():
            text = plain(f"{name} {values_text(values)}")
            if isinstance(values, dict) or (isinstance(values, list) and len(values) > 1):
                yield f"  {text}"
            else:
                fixed.append(text)
        if fixed:
            yield f"  always: {', '.join(fixed)}"
        yield "--json has every option, as it is resolved"

    def takes(self) -> str:
        """For how long, how many trials, and how many at once."""
        slots, seconds = self.slots, self.budget.seconds
        at_once = f"{slots} at once" if slots else "as many at once as the cluster has slots"
        wanted = budget_text(self.spec.get("trials"), self.spec.get("minutes"))
        if seconds is None or self.typical is None:
            return f"{wanted}, {at_once}; nobody knows yet how long a trial takes"
        trials = budget_text(self.budget.trials, None)
        return f"{wanted} at most: about {trials} in about {about(seconds)}, {at_once}"


def dry_run(here: Here, spec: Wanted, most_slots: int | None = None) -> DryRun:
    """What `launch` would do with a spec.

    The seconds are those of a common machine, or, if the store has sweeps, at their pace.
    `most_slots` is how many trials run at once at most; None if only the engine says.
    """
    assert isinstance(spec, SweepSpec)
    before = list[str]()
    if ahead := first_of(spec):
        first, said = ahead
        takes = dry_run(here, replace(first, name=None), most_slots).takes()
        before = [said, f"first {spec.name or 'sweep'}{references.AHEAD} takes: {takes}"]
        spec = second_of(spec, first)
    spec = with_network(here.settings, spec, spec.name)
    kind = task_kind(spec)
    on_cluster = spec.on == "ray"
    asked = replace(spec, on="local", workers=1) if on_cluster else spec  # no cluster is asked
    with references.engine_of(asked) as engine:
        slots = spec.workers if on_cluster else len(engine.slots)
        if most_slots is not None:
            slots = min(most_slots, slots or most_slots)
        kind.check_devices(spec, devices(engine))
        task = kind.open(spec)
        spec = task.settled(spec)
        notes = task.notes(spec)
    file = here.settings.database_file
    prior: Sequence[EarlierBest] = ()
    if file is None or file.exists():
        store = MlflowStore(here.settings)
        if spec.name:
            references.check_free(store, spec.name)
        prior = task.prior(spec, store)
    estimate, seconds = Estimate.of(task, spec), spec.plan().seconds
    return DryRun(
        spec=spec.to_dict(),
        slots=slots,
        configs=spec.space.size(),
        refused=estimate.refused if estimate else None,
        typical=estimate.typical() if estimate else None,
        budget=estimate.budget(slots or 1) if estimate else Budget(spec.trials, seconds),
        notes=(*before, *notes, *described(prior)),
    )


def announcement(spec: SweepSpec, task: Task, slots: int, gone: float = 0.0) -> str:
    """How long a sweep will take, and when there are results, in a line for people.

    It was driven for `gone` seconds before. The seconds are those of a common machine. Nothing is
    estimated as long as it has no slot, as on a cluster that others have filled.
    """
    limit = spec.plan().seconds
    on = f"on {slots} slot{'s' if slots != 1 else ''}" if slots else "on no slot yet"
    wanted = budget_text(spec.trials, spec.minutes)
    if gone:
        left = "" if limit is None else f", {duration(max(0.0, limit - gone))} of it left"
        return f"{wanted}{left}, {on}"
    estimate = Estimate.of(task, spec) if slots else None
    if estimate is None:
        return f"{wanted} {on}"
    takes = ""
    if spec.trials is not None:
        takes = f", about {about(estimate.budget(slots).seconds)} here"
        takes += " (--minutes N limits it)" if limit is None else ""
    return f"{wanted} {on}{takes}; first results after about {about(estimate.first_result_s())}"


#: draws of a space that pass the size rule, of which costs are predicted, and draws at most
ADMITTED, DRAWS = 200, 2_000


@dataclass(frozen=True)
class Estimate:
    """What a sweep takes, by the predicted costs of drawn configs."""

    spec: SweepSpec
    task: Task
    problem: SearchProblem
    costs: Costs
    #: configs that may be tried, and the share of draws that may not
    drawn: list[Config]
    refused: float

    @classmethod
    def of(cls, task: Task, spec: SweepSpec) -> Self | None:
        """None if costs are not known beforehand."""
        if (problem := task.costed_problem(spec)) is None:
            return None
        rng = np.random.default_rng(spec.seed)
        drawn = [spec.space.sample(rng) for _ in range(DRAWS)]
        admitted = [config for config in drawn if task.admits(config)]
        refused = 1 - len(admitted) / DRAWS
        return cls(spec, task, problem, problem.costs(), admitted[:ADMITTED], refused)

    def typical(self) -> TypicalTrial:
        """The drawn config of the median cost."""
        config = sorted(self.drawn, key=self.costs.round_seconds)[len(self.drawn) // 2]
        return TypicalTrial(
            config,
            self.task.parameters_of(config) or 0,
            self.costs.trial_seconds(config, self.problem.rounds),
            self.task.memory_of(config),
        )

    def first_result_s(self) -> float:
        """Seconds until a trial has a loss: one of the ladder, or the first at its first rung."""
        spec, problem, costs = self.spec, self.problem, self.costs
        rates = ladder.rates_of(spec.space) if spec.ladder else ()
        if not rates or ladder.is_left_out(rates, spec.plan().trials) or problem.smallest is None:
            return min(costs.trial_seconds(config, problem.first_rung) for config in self.drawn)
        length = problem.ladder_length(spec.plan().seconds, 1)
        return costs.trial_seconds(problem.smallest, length.rounds or problem.rounds)

    def budget(self, slots: int) -> Budget:
        """How many trials are begun, and the seconds that they take.

        Half of the slots train leaders; the others train each new trial to its first rung. The best
        configs are trained again in the end. Without halving each trial is trained to its end. One
        trial takes as long as the middle one does: a few large networks raise the mean far above
        it.
        """
        spec, problem, plan = self.spec, self.problem, self.spec.plan()
        most, limit = plan.trials, plan.seconds
        average = statistics.median_high if most == 1 else statistics.mean
        halving = spec.halving and problem.pausable
        seconds_of = self.costs.trial_seconds
        whole = average(seconds_of(config, problem.rounds) for config in self.drawn)
        first = problem.first_rung
        each = average(seconds_of(config, first) for config in self.drawn) if halving else whole
        rates = len(ladder.rates_of(spec.space)) if spec.ladder else 0
        rates = 0 if most <= rates else rates
        again = min(spec.confirm_configs * spec.confirm_seeds, int(most * SHARE))
        others = (slots - slots // 2 if slots > 1 else 0.5) if halving else slots
        again_s = again * whole / slots
        if limit is not None:
            again_s = min(again_s, SHARE * limit)
        searched = max(0, most - rates - again)
        to_the_end = whole * (1 + (searched - 1) / slots)
        search_s = min(max(searched * each / others, whole if halving else 0.0), to_the_end)
        rates_s = rates * each / slots
        seconds = search_s + rates_s + again_s
        if limit is None or seconds <= limit:
            return Budget(most, seconds)
        time_to_search = max(0.0, limit - again_s - rates_s)
        searched = min(searched, int(time_to_search * others / each))
        return Budget(max(1, rates + searched + again), limit)


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


def size(here: Here, spec: Wanted) -> SizeReport:
    assert isinstance(spec, SweepSpec)
    kind = task_kind(spec)
    assert issubclass(kind, LstmTask)
    task = kind.loaded(spec)
    rule, data_size = task.rule, task.data_size
    symbols, alphabet, classes = data_size.symbols, data_size.alphabet, data_size.classes

    def judged(shape: tuple[Any, ...]) -> NetworkSize:
        fields = dict(zip(SIZE_FIELDS, shape, strict=True))
        config = spec.space.points_are.from_dict(fields)
        found = rule.judge(config, alphabet, symbols, classes)
        return NetworkSize(
            **fields,
            parameters=found.parameters,
            per_symbol=found.ratio,
            admitted=found.admitted,
            reason=found.reason,
        )

    axes = [sorted(spec.space[field].values() or []) for field in SIZE_FIELDS]
    structures, ends = math.prod(map(len, axes)), axes
    if structures > LISTED:
        # without an embedding, of size 0, symbols are vectors as long as the alphabet: so the
        # smallest embedding that there is counts as an end as well
        ends = [[*axis[:1], *axis[-1:]] for axis in axes[:-1]] + [[*axes[-1][:2], axes[-1][-1]]]
    networks = sorted(map(judged, itertools.product(*ends)), key=lambda one: one.parameters)
    fewest, most = rule.bounds(symbols)
    refused = ""
    try:
        task.check_space(spec)
    except InputError as error:
        refused = str(error)
    return SizeReport(
        corpus=task.corpus.decided,
        training_symbols=symbols,
        alphabet=alphabet,
        unknown_share=task.unknown_share,
        low=rule.low,
        high=rule.high,
        fewest=fewest,
        most=most,
        structures=structures,
        admitted=_admitted(axes, rule, data_size),
        networks=tuple(networks if structures <= LISTED else (networks[0], networks[-1])),
        refused=refused,
    )


def _admitted(axes: Sequence[Sequence[Any]], rule: SizeRule, data_size: DataSize) -> int:
    directions, layers, sizes, embeddings = axes
    symbols, ends = data_size.symbols, (data_size.alphabet, data_size.classes)
    units, admitted = np.array(sizes, np.int64), 0
    for direction, count, embedding in itertools.product(directions, layers, embeddings):
        parameters = parameters_of(direction, count, units, embedding, *ends)
        bad = rule.is_too_small(parameters, symbols) | rule.is_too_large(parameters, symbols)
        admitted += len(units) - int(bad.sum())
    return admitted
