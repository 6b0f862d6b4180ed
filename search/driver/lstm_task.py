"""`LstmTask`: what all tasks have in common that train networks of ours on data of a user."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.cpu.program_types import Networks
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.labelled import LabelledCorpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule, Verdict, parameters, step_numbers
from lstm_sweep.search.driver.preflight import check_instructions
from lstm_sweep.search.driver.task import Task, read_template
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.problem import MOST_EARLIER, EarlierBest, SearchProblem
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.journal import FORMAT, WEIGHTS, Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Trial, ranked


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
    sizes = as_lstm_config(record.config), alphabet_size, classes
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
        """Share of drawn configs that the size rule admits; a space that does not fit is refused.

        Raises:
            InputError: the size rule rejects nearly all, or networks do not fit the data.
        """

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

    @classmethod
    @override
    def check_rerun(
        cls,
        record: TrialRecord,
        changes: Mapping[str, Any],
        file: str | None,
        devices: Iterable[Device],
    ) -> None:
        read_template(record.tags, file)  # there must be none
        config = as_lstm_config(record.config.evolve(**changes))
        check_instructions([config.precision], devices)

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
