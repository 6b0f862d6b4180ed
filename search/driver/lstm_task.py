"""`LstmTask`: what all tasks have in common that train networks of ours on data of a user."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from typing_extensions import override

from lstm_sweep.models.baselines import best_order
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import NORMALIZING, Config, TrialConfig, as_lstm_config
from lstm_sweep.models.cpu.program_types import Networks
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.labelled import LabelledCorpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import usual_adjacent
from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.size import SizeRule, Verdict, parameters, step_numbers
from lstm_sweep.search.driver.task import Task, check_instructions
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import (
    all_carried,
    fewest_steps,
    fitting_grain,
    fitting_rounds,
    lstm_problem,
)
from lstm_sweep.search.policy.problem import MOST_EARLIER, EarlierBest, SearchProblem, admits_all
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import FORMAT, WEIGHTS, Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Trial, ranked
from lstm_sweep.spaces.dimension import CorpusFacts
from lstm_sweep.spaces.space import Space

Loaded = TypeVar("Loaded", Corpus, LabelledCorpus)
#: draws by which a space is measured against the size rule, and how many must pass
SIZE_DRAWS = 1_000
SIZE_SHARE = 1 / 50
#: bytes that training takes for each parameter, at least: itself, its gradient, two moments
PARAMETER_BYTES = 16
#: by how much a number may lie beyond the end of a range, for rounding
ROUNDING = 1e-6


def check_space(spec: SweepSpec, corpus: Corpus) -> float:
    """Share of drawn configs that the size rule admits."""
    if "carried" in spec.space["state"] and "uni" not in spec.space["direction"]:
        raise InputError(
            "state is carried and direction is bi, which reads each window from its end, too: "
            "expected state reset, or direction uni"
        )
    corpus.check_windows(int(spec.space.largest("sequence_length")))
    return check_sizes(spec, len(corpus.train), len(corpus.alphabet))


def check_sizes(spec: SweepSpec, symbols: int, alphabet: int, classes: int | None = None) -> float:
    """Share of drawn configs that the size rule admits."""
    rng, rule = np.random.default_rng(spec.seed), spec.rule()
    configs = [as_lstm_config(spec.space.sample(rng)) for _ in range(SIZE_DRAWS)]
    verdicts = [rule.judge(config, alphabet, symbols, classes) for config in configs]
    passed = sum(verdict.admitted for verdict in verdicts) / SIZE_DRAWS
    if spec.size_rule == "reject" and passed < SIZE_SHARE:
        counts = [verdict.parameters for verdict in verdicts]
        fewest, most = rule.bounds(symbols)
        raise InputError(
            f"size rule: {passed:.1%} of {SIZE_DRAWS:,} draws pass, expected at least "
            f"{SIZE_SHARE:.0%}; they have {min(counts):,} to {max(counts):,} parameters and "
            f"{symbols:,} training symbols admit {fewest:,.0f} to {most:,.0f}; change layer_size "
            "by --set, or --size-rule warn"
        )
    return passed


def rate_notes(spec: SweepSpec) -> list[str]:
    """A line for people if the ladder finds rates that suit some optimizers of a space alone."""
    if not (spec.ladder and ladder.rates_of(spec.space)):
        return []
    dimension = spec.space["optimizer"]
    climbs = str(dimension.value_at(0.0))
    others = [
        str(name)
        for name in dimension.values() or []
        if (name in NORMALIZING) != (climbs in NORMALIZING)
    ]
    if not others:
        return []
    return [
        f"ladder: climbed with {climbs}, and its rates are far from those of {', '.join(others)}: "
        f"better a sweep of their own for these, or no ladder"
    ]


def check_stored(record: TrialRecord, space: Space) -> None:
    """Refuse a config of the store that a search of `space` cannot have proposed."""
    values = record.config.to_dict()
    if set(values) != set(space):
        raise record.tags.bad(Tag.CONFIG, f"values of {', '.join(space)}")
    for name, value in values.items():
        dimension = space[name]
        low, high = (getattr(dimension, end, math.nan) for end in ("low", "high"))
        if name == space.rate and ladder.refinable(space):
            low, high = ladder.ends_of(dimension)
        more = ROUNDING * max(abs(low), abs(high))
        is_within = isinstance(value, int | float) and low - more <= value <= high + more
        if not is_within and value not in dimension:
            raise BadRunError(
                f"run {record.run_id}: tag {Tag.CONFIG}: {name} is {shown(value)}, expected a "
                f"value of the sweep's space: {shown(dimension.describe())}"
            )


def check_room(
    config: TrialConfig, alphabet: int, device: Device, classes: int | None = None
) -> None:
    """Refuse a network whose weights a device's node cannot train, whatever else there is."""
    count = parameters(config, alphabet, classes)
    if device.memory is not None and count * PARAMETER_BYTES > device.memory:
        raise InputError(
            f"a network of {config.layers}x{config.layer_size} has {count:,} parameters: expected "
            f"at most the {device.memory // PARAMETER_BYTES:,} that fit into the memory of "
            f"{'this machine' if device.node is None else f'node {device.node}'}"
        )


#: symbols of a session of event ids in the mean, at least, where most windows lie within a session:
#: those that show where one begins share no targets (`windows.shared_windows`)
LONG_SESSION = 100


def settled_spec(spec: SweepSpec, corpus: Corpus) -> SweepSpec:
    """The spec with the space and grain that suit its corpus, and whether that has ends."""
    if not isinstance(spec.ends, bool):
        spec = dataclasses.replace(spec, ends=corpus.alphabet.ends)
    adjacent, split = spec.adjacent_targets, corpus.validation
    if not isinstance(adjacent, int):
        adjacent = usual_adjacent(
            sharing=corpus.alphabet.is_text or len(split) >= LONG_SESSION * len(split.starts),
            carried=all_carried(spec.space),
            targets=spec.targets if isinstance(spec.targets, int) else None,
        )
        spec = dataclasses.replace(spec, adjacent_targets=adjacent)
    symbols, alphabet = len(corpus.train), len(corpus.alphabet)
    rounds, targets = spec.rounds_per_epoch, spec.targets
    size, facts = DataSize(symbols, alphabet, 0), CorpusFacts(symbols, partial(best_order, corpus))
    spec = _with_space(spec, facts, size)
    if isinstance(rounds, int) and isinstance(targets, int):
        return spec
    rounds, fitting = fitting_grain(
        spec.space,
        dataclasses.replace(size, validation=len(split), adjacent=adjacent),
        _fits(spec, size),
        rounds=rounds if isinstance(rounds, int) else None,
        targets=targets if isinstance(targets, int) else None,
    )
    if not isinstance(targets, int):  # no more than can be drawn
        targets = min(fitting, len(split) - len(split.unknown))
    return dataclasses.replace(spec, targets=targets, rounds_per_epoch=rounds)


def settled_classes(spec: SweepSpec, size: DataSize) -> SweepSpec:
    """The spec with the space and rounds that suit labelled sequences of this size."""
    spec = _with_space(spec, CorpusFacts(size.symbols, lengths=size.lengths), size)
    if isinstance(spec.rounds_per_epoch, int):
        return spec
    rounds = fitting_rounds(spec.space, size, _fits(spec, size))
    return dataclasses.replace(spec, rounds_per_epoch=rounds)


def _fits(spec: SweepSpec, size: DataSize) -> Callable[[Config], bool]:
    """Whether a network on data of this size is not turned down."""
    if spec.size_rule != "reject":
        return admits_all
    rule, sizes = spec.rule(), (size.alphabet, size.symbols, size.classes)
    return lambda config: rule.judge(as_lstm_config(config), *sizes).admitted


def _with_space(spec: SweepSpec, facts: CorpusFacts, size: DataSize) -> SweepSpec:
    """The spec with the space that suits its data, in which its rounds are checked."""
    space = spec.space.settled(facts)
    if space is not spec.space:
        spec = dataclasses.replace(spec, space=space)
    rounds, steps = spec.rounds_per_epoch, fewest_steps(spec.space, size)
    if isinstance(rounds, int) and rounds > steps:
        raise InputError(
            f"rounds_per_epoch is {rounds}: expected at most {steps}, the fewest steps that an "
            f"epoch has in this space"
        )
    return spec


def load_data(load: Callable[[Source], Loaded], source: Source) -> Loaded:
    """What `load` makes of a source, of a log always in a main thread.

    Expressions that take for ever are stopped there alone.
    """
    if source.has_lines and threading.current_thread() is not threading.main_thread():
        return forkserver.call(load, source)
    return load(source)


def check_same(corpus: Corpus | LabelledCorpus, source: Source, tags: Tags, since: str) -> None:
    """Refuse data that are not what they were when a run with these tags began."""
    expected = tags.text(Tag.CORPUS_DIGEST)
    if corpus.digest != expected:
        raise InputError(
            f"data '{source.data}' have changed since {since}: found digest {corpus.digest}, "
            f"expected {expected}"
        )


def networks_of(
    record: Trial, weights: Path, alphabet_size: int, classes: int | None = None
) -> Networks:
    """The networks of a trial with weights of a file, in a process that may have Keras."""
    sizes = [as_lstm_config(record.config)], alphabet_size, classes
    try:
        bundle.check_size(weights, *sizes)
        return bundle.networks_of(weights, *sizes)
    except InputError as error:
        raise InputError(
            f"trial {record.id}: its network is not loaded: {error}; expected one that "
            f"lstm-sweep has trained"
        ) from None


#: sweeps that are looked at, the newest, and trials of each, those with the lowest losses
EARLIER_SWEEPS, THEIR_TRIALS = 20, 20


def earlier_best(
    store: Store, corpus_digest: str, kind: RunKind = reader.CORPUS
) -> tuple[EarlierBest, ...]:
    """The best trials of the newest sweeps of a kind on a corpus, no config twice.

    Runs that cannot be read are left out.
    """
    found: dict[Config, EarlierBest] = {}
    own = {Tag.ROLE: "sweep", Tag.CORPUS_DIGEST: corpus_digest}
    for tags in map(Tags, store.select(own, EARLIER_SWEEPS)[0]):
        if reader.run_kind(tags) is not kind:
            continue
        own = {Tag.PARENT: tags.run_id}
        children, _ = store.select(own, THEIR_TRIALS, order="best_val_loss")
        trained = [one for one in children if one.data.tags.get(Tag.PHASE) in reader.TRAINED]
        if best := next(iter(ranked(reader.readable_trials(trained))), None):
            found.setdefault(best.config, EarlierBest(best.id, best.config))
        if len(found) == MOST_EARLIER:
            break
    return tuple(found.values())


def source_tags(source: Source) -> dict[str, str]:
    written = vars(source) | {"split": list(source.split)}
    return {Tag.DATA: json.dumps(written), Tag.FORMAT: str(FORMAT)}


#: nats that stand for its loss where only costs are asked for, of which it says nothing
ANY_LOSS = 3.0


@dataclass(frozen=True)
class LstmTask(Task):
    """Networks of ours on data of a user, of a size that suits these."""

    corpus: Corpus | LabelledCorpus
    origin: Source
    rule: SizeRule
    #: whether networks of other sizes are turned down
    strict: bool

    @classmethod
    @abstractmethod
    def loaded(cls, spec: SweepSpec) -> Self:
        """The task of a spec that is not settled; it says how large networks are."""

    @abstractmethod
    def check_space(self, spec: SweepSpec) -> float:
        """Share of drawn configs that the size rule admits; refuses a space that does not fit."""

    @classmethod
    @override
    def check_devices(cls, spec: SweepSpec, devices: Iterable[Device]) -> None:
        check_instructions(spec.space["precision"].values() or [], devices)

    @classmethod
    @override
    def queued_tags(cls, spec: SweepSpec) -> dict[str, str]:
        return source_tags(spec.source())

    @override
    def check_unchanged(self, sweep: str, tags: Tags) -> None:
        check_same(self.corpus, self.origin, tags, f"sweep '{sweep}' began")

    @property
    @override
    def dataset(self) -> Dataset:
        return Dataset(self.corpus.name, self.corpus.digest, self.origin.data)

    @override
    def tags(self) -> dict[str, str]:
        return source_tags(self.origin) | {Tag.CORPUS_DIGEST: self.corpus.digest}

    @property
    @abstractmethod
    def data_size(self) -> DataSize:
        """How much there is to train and to score, in epochs of one round."""

    @override
    def save(self, folder: Path) -> None:
        self.corpus.save(folder / "corpus")

    @override
    def admits(self, config: Config) -> bool:
        return not self.strict or self._judge(config).admitted

    @override
    def remarks(self, config: Config) -> dict[str, str]:
        verdict = self._judge(config)
        return {} if verdict.admitted else {Tag.SIZE_RULE: verdict.reason}

    def _judge(self, config: Config) -> Verdict:
        size = self.data_size
        return self.rule.judge(as_lstm_config(config), size.alphabet, size.symbols, size.classes)

    @override
    def prior(self, spec: SweepSpec, store: Store) -> tuple[EarlierBest, ...]:
        return earlier_best(store, self.corpus.digest, self.runs) if spec.prior else ()

    @override
    def problem(
        self,
        spec: SweepSpec,
        baselines: Mapping[str, float],
        prior: Sequence[EarlierBest] = (),
    ) -> SearchProblem:
        size = dataclasses.replace(self.data_size, rounds_per_epoch=spec.settled_rounds_per_epoch())
        return lstm_problem(
            spec.space,
            size,
            objective=self.runs.objective,
            untrained_loss=baselines[self.runs.untrained],
            admits=self.admits,
            prior=[one.config for one in prior],
        )

    @override
    def costed_problem(self, spec: SweepSpec) -> SearchProblem:
        return self.problem(spec, {self.runs.untrained: ANY_LOSS})

    @override
    def memory_of(self, config: Config) -> int:
        size = self.data_size
        return 4 * step_numbers(as_lstm_config(config), size.alphabet, size.classes)

    @property
    @override
    def training_symbols(self) -> int:
        return self.data_size.symbols

    @override
    def parameters_of(self, config: Config) -> int:
        size = self.data_size
        return parameters(as_lstm_config(config), size.alphabet, size.classes)

    @override
    def params(self, config: Config) -> dict[str, int | float]:
        count = self.parameters_of(config)
        share = count / self.training_symbols
        # readers reckon the size of the corpus from it
        rounded = round(share, 4) if share >= 0.1 else float(f"{share:.4g}")
        return {"parameters": count, "parameters_per_symbol": rounded}

    def model_files(self, store: Store, trial: Trial) -> dict[str, Any]:
        """What the logged model of a trial has beside its network: values by names of files."""
        alphabet = self.corpus.alphabet
        return {bundle.ALPHABET: alphabet.to_dict(), bundle.CONFIG: trial.config.to_dict()}

    @override
    def log_model(self, store: MlflowStore, trial: Trial) -> None:
        if registry.logged_model_of(store, trial.run_id):
            return
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            data = Path(scratch) / "network"
            data.mkdir()
            weights = store.fetch(trial.run_id, f"{WEIGHTS}/{bundle.MODEL}", Path(scratch))
            weights.rename(data / bundle.MODEL)
            for name, values in self.model_files(store, trial).items():
                (data / name).write_text(json_text(values), encoding="utf-8")
            write = _model_of(store, data, self.corpus.alphabet)
            registry.log_model(store, trial.run_id, trial.id, write)

    @classmethod
    @override
    def model_writer(
        cls, store: Store, record: TrialRecord, folder: Path, scratch: Path
    ) -> WriteModel:
        _, content = bundle.read_any(str(folder))
        assert isinstance(content, Bundle)
        data = scratch / "network"
        data.mkdir()
        for name in (bundle.MODEL, bundle.ALPHABET, bundle.CONFIG, bundle.CLASSES):
            if (folder / name).exists():
                shutil.copyfile(folder / name, data / name)
        return _model_of(store, data, content.alphabet)


def _model_of(store: Store, data: Path, alphabet: Alphabet) -> WriteModel:
    """What writes the MLflow model of a network with the files in a folder."""

    def write(folder: Path, about: Any) -> None:
        classes = (data / bundle.CLASSES).exists()
        registry.write_symbols_model(store.settings, data, folder, alphabet, about, classes=classes)

    return write
