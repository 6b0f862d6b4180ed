"""`CorpusTask`: LSTMs of a size that suits a corpus, scored on chosen targets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from typing_extensions import override

from lstm_sweep.models import baselines
from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import bits, unknown_text
from lstm_sweep.models.size import SizeRule, Verdict, parameters, step_numbers
from lstm_sweep.search.device import Device
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.prior import EarlierBest
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive, run_kind
from lstm_sweep.search.store.journal import SCHEMA, Dataset
from lstm_sweep.search.store.registry import WriteModel
from lstm_sweep.search.store.run_kind import RunKind
from lstm_sweep.search.store.tags import Tag, Tags, scoring_tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep import own_templates
from lstm_sweep.search.sweep.bundle_parity import parity_lines
from lstm_sweep.search.sweep.earlier_sweeps import earlier_best
from lstm_sweep.search.sweep.logged_network import checked_writer, log_network
from lstm_sweep.search.sweep.lstm_bundle import lstm_bundle_writer
from lstm_sweep.search.sweep.preflight import (
    check_instructions,
    check_precision,
    check_room,
    check_space,
    ladder_notes,
    rate_notes,
)
from lstm_sweep.search.sweep.same_corpus import load_same_corpus
from lstm_sweep.search.sweep.settled_spec import settled_spec
from lstm_sweep.search.sweep.task import KnownCosts, Task, WriteBundle
from lstm_sweep.search.trial import Job, Slot, Trial

#: the baseline that knows nothing but how frequent each symbol is
UNIGRAM = "unigram"
#: nats that stand for its loss where only costs are asked for, of which it says nothing
ANY_LOSS = 3.0
#: bytes of a number
NUMBER = 4


@dataclass(frozen=True)
class CorpusTask(Task):
    """A corpus, scored on chosen targets, with networks of a size that suits it."""

    runs: ClassVar[RunKind] = run_kind.CORPUS

    corpus: Corpus
    origin: Source
    scoring: Scoring
    rule: SizeRule
    #: whether networks of other sizes are turned down
    strict: bool

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.template is None

    @classmethod
    @override
    def check_devices(cls, spec: SweepSpec, devices: Iterable[Device]) -> None:
        check_precision(spec, devices)

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        return cls.of(spec, corpora.load(spec.source()))

    @classmethod
    def of(cls, spec: SweepSpec, corpus: Corpus) -> Self:
        """The task of a spec whose corpus is there already."""
        corpus.check_targets()
        spec = settled_spec(spec, corpus)
        return cls(corpus, spec.source(), spec.scoring(), spec.rule(), spec.size_rule == "reject")

    @classmethod
    @override
    def queued_tags(cls, spec: SweepSpec) -> dict[str, str]:
        return _source_tags(spec.source())

    @classmethod
    @override
    def read_spec(cls, run: Any, tags: Tags, file: str | None) -> SweepSpec:
        own_templates.read(tags, file)  # there must be none
        return archive.read_spec(run)

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        source, scoring = archive.read_source(record)
        corpus = load_same_corpus(source, record)
        corpus.check_windows(as_lstm_config(config).sequence_length)
        check_room(as_lstm_config(config), len(corpus.alphabet), device)
        return cls(corpus, source, scoring, SizeRule(), strict=False)

    @override
    def settled(self, spec: SweepSpec) -> SweepSpec:
        return settled_spec(spec, self.corpus)

    @override
    def check_unchanged(self, sweep: str, tags: Tags) -> None:
        expected = tags.text(Tag.CORPUS_DIGEST)
        if self.corpus.digest != expected:
            raise InputError(
                f"data '{self.origin.data}' have changed since sweep '{sweep}' began: found "
                f"digest {self.corpus.digest}, expected {expected}"
            )

    @property
    @override
    def dataset(self) -> Dataset:
        return Dataset(self.corpus.name, self.corpus.digest, self.origin.data)

    @override
    def tags(self) -> dict[str, str]:
        share = self.unknown_share
        return _source_tags(self.origin) | {
            Tag.CORPUS_DIGEST: self.corpus.digest,
            Tag.SCORING: scoring_tag(self.scoring),
            **({Tag.UNKNOWN_SHARE: f"{share:.6g}"} if share else {}),
        }

    @property
    @override
    def unknown_share(self) -> float:
        return self.corpus.unknown_share(self.corpus.validation)

    @override
    def notes(self, spec: SweepSpec, devices: Iterable[Device]) -> list[str]:
        corpus = self.corpus
        parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
        passed = check_space(spec, corpus)
        return [
            f"corpus: {corpus.decided}",
            f"corpus: {parts} symbols, alphabet {len(corpus.alphabet)}",
            *([f"corpus: {text}"] if (text := unknown_text(self.unknown_share)) else []),
            f"size rule ({spec.size_rule}): {passed:.0%} of draws pass",
            f"scoring: {self.data_size.targets:,} validation targets"
            + _after_rounds(spec.settled_rounds_per_epoch(), len(corpus.train)),
            *(ladder_notes(spec) or rate_notes(spec)),
        ]

    @property
    def data_size(self) -> DataSize:
        """How much there is to train and to score."""
        corpus = self.corpus
        known = len(corpus.validation) - len(corpus.validation.unknown)
        targets = min(self.scoring.targets, known)
        return DataSize(
            len(corpus.train),
            len(corpus.alphabet),
            targets,
            validation=len(corpus.validation),
            adjacent=self.scoring.adjacent,
        )

    @override
    def save(self, folder: Path) -> None:
        self.corpus.save(folder / "corpus")

    @override
    def job(self, trial: Trial, slot: Slot, folder: Path) -> Job:
        training = CorpusTraining(folder / "corpus", self.scoring)
        return Job(trial=trial, slot=slot, folder=folder / str(trial.number), training=training)

    @override
    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        if known.keys() >= baselines.FAMILIES.keys():
            return
        targets = self.scoring.drawn(self.corpus.validation)
        yield from baselines.score_all(self.corpus, targets, known)

    @override
    def admits(self, config: Config) -> bool:
        return not self.strict or self._judge(config).admitted

    @override
    def remarks(self, config: Config) -> dict[str, str]:
        verdict = self._judge(config)
        return {} if verdict.admitted else {Tag.SIZE_RULE: verdict.reason}

    def _judge(self, config: Config) -> Verdict:
        return self.rule.judge(
            as_lstm_config(config), len(self.corpus.alphabet), self.training_symbols
        )

    @override
    def prior(self, spec: SweepSpec, store: Store) -> tuple[EarlierBest, ...]:
        return earlier_best(store, self.corpus.digest) if spec.prior else ()

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
            unigram_loss=baselines[UNIGRAM],
            admits=self.admits,
            prior=[one.config for one in prior],
        )

    @override
    def known_costs(self, spec: SweepSpec) -> KnownCosts:
        problem = self.problem(spec, {UNIGRAM: ANY_LOSS})
        return KnownCosts(problem, self.parameters_of, self._memory_of)

    def _memory_of(self, config: Config) -> int:
        return NUMBER * step_numbers(as_lstm_config(config), len(self.corpus.alphabet))

    @property
    @override
    def training_symbols(self) -> int:
        return len(self.corpus.train)

    @override
    def parameters_of(self, config: Config) -> int:
        return parameters(as_lstm_config(config), len(self.corpus.alphabet))

    @override
    def params(self, config: Config) -> dict[str, int | float]:
        count = self.parameters_of(config)
        share = count / self.training_symbols
        # readers reckon the size of the corpus from it
        rounded = round(share, 4) if share >= 0.1 else float(f"{share:.4g}")
        return {"parameters": count, "parameters_per_symbol": rounded}

    @override
    def log_model(self, store: Store, progress: TrialProgress) -> None:
        log_network(store, progress.run_id, progress.trial, self.corpus.alphabet)

    @classmethod
    @override
    def check_rerun(
        cls,
        record: TrialRecord,
        changes: Mapping[str, Any],
        file: str | None,
        devices: Iterable[Device],
    ) -> None:
        own_templates.read(record.tags, file)  # there must be none
        config = as_lstm_config(record.trial.config.evolve(**changes))
        check_instructions([config.precision], devices)

    @classmethod
    @override
    def bundle_writer(cls, store: Store, record: TrialRecord) -> WriteBundle:
        source, scoring = archive.read_source(record)
        return lstm_bundle_writer(store, record, load_same_corpus(source, record), scoring)

    @classmethod
    @override
    def model_writer(
        cls, store: Store, record: TrialRecord, bundle: Path, scratch: Path
    ) -> WriteModel:
        return checked_writer(store, bundle)

    @classmethod
    @override
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        loss = result["test_loss"]
        told = f"test loss {loss:.4f} nats, {bits(loss):.4f} bits a symbol"
        streams = result.get("by_symbol")
        rows = f"windows, {streams} of them also symbol by symbol" if streams else "windows"
        unknown = unknown_text(result.get("test_unknown_share", 0.0), "test")
        return [told, *([unknown] if unknown else []), *parity_lines(result, rows)]


def _after_rounds(rounds: int, symbols: int) -> str:
    """After what networks are scored, for people; empty if after each epoch."""
    if rounds == 1:
        return ""
    return f" after each of {rounds} rounds an epoch, {symbols // rounds:,} symbols"


def _source_tags(source: Source) -> dict[str, str]:
    written = vars(source) | {"split": list(source.split)}
    return {Tag.DATA: json.dumps(written), Tag.SCHEMA: str(SCHEMA)}
