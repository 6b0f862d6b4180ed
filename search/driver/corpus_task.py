"""`CorpusTask`: LSTMs of a size that suits a corpus, scored on chosen targets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from typing_extensions import override

from lstm_sweep.models import baselines
from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.served_model import NUMBERS
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring, scoring_windows
from lstm_sweep.models.normality import held_out
from lstm_sweep.models.quality import FEWEST, OverRates
from lstm_sweep.models.scoring import bits, unknown_text
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.driver.lstm_task import (
    LstmTask,
    check_room,
    check_same,
    check_space,
    load_data,
    networks_of,
    rate_notes,
    settled_spec,
)
from lstm_sweep.search.driver.task import (
    WriteBundle,
    check_parity,
    ladder_notes,
    parity_lines,
    prepare_backend,
)
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.process.files import keep, kept_folder
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.tags import Tag, scoring_tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.options import CORPUS
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Training, Trial


def load_same_corpus(source: Source, record: TrialRecord) -> Corpus:
    """Load the data of a trial again; those that are not what they were are refused."""
    corpus = load_data(corpora.load, source)
    check_same(corpus, source, record.tags, f"trial {record.id}")
    return corpus


def kept_network(store: Store, record: TrialRecord) -> Path:
    """A folder among the user's data with the network of a trial, from which others begin.

    It is named by the trial and its content, and stands in for a bundle.
    """
    source, _ = reader.read_source(record)
    alphabet = load_same_corpus(source, record).alphabet
    with kept_folder() as (kept, scratch):
        folder = scratch / "network"
        folder.mkdir()
        store.fetch(record.run_id, f"{WEIGHTS}/{bundle.MODEL}", scratch).rename(
            folder / bundle.MODEL
        )
        bundle.write_json(folder / bundle.ALPHABET, alphabet.to_dict())
        bundle.write_json(folder / bundle.CONFIG, record.config.to_dict())
        bundle.write_json(
            folder / bundle.METRICS, {"trial": record.id, "val_loss": record.best_loss}
        )
        return keep(folder, kept, record.id.replace("/", "-"))


#: test targets that are scored at least, or all there are: since that is done only once, by an
#: export, they need not be as few as the validation targets that are scored after each round
TEST_TARGETS = 10_000
#: windows of the test split on which the bundle is compared with the trial's network, at most, and
#: at least if they take as much memory as a call of a served model may
PARITY_WINDOWS, FEWEST_WINDOWS = 100, 10
#: of them, those that are also read symbol by symbol, if the state is carried
PARITY_STREAMS = 10


def _write(
    record: TrialRecord, weights: Path, corpus: Corpus, scoring: Scoring, folder: Path, format: str
) -> dict[str, Any]:
    """Write a network of ours and check it, in a process of its own."""
    config = as_lstm_config(record.config)
    prepare_backend(record.seed)
    from lstm_sweep.models.bundle import bundle, clean_process, onnx
    from lstm_sweep.models.cpu.program_types import Program
    from lstm_sweep.models.cpu.programs import StepwiseProgram
    from lstm_sweep.models.network import evaluation
    from lstm_sweep.models.network.program import program_of

    networks = networks_of(record, weights, len(corpus.alphabet))
    model = networks.scored
    targets = scoring.drawn(corpus.test, at_least=TEST_TARGETS)
    if config.carried or scoring.share_windows:
        program: Program = program_of(networks, config, seed=0)
    else:
        program = StepwiseProgram(networks, config)
    test = evaluation.evaluate(
        program, config, corpus, corpus.test, targets, share_windows=scoring.share_windows
    )
    share = corpus.unknown_share(corpus.test)
    metrics = {
        "trial": record.id,
        "run_id": record.run_id,
        "val_loss": record.best_loss,
        "best_epoch": record.best_epoch,
        "test_loss": test["loss"],
        "test_accuracy": test["accuracy"],
        "test_top5_accuracy": test["top5_accuracy"],
        "test_bits_per_symbol": bits(test["loss"]),
        "test_unknown_share": share,
        "corpus_digest": corpus.digest,
        "parameters": record.parameters,
    }
    calibration = evaluation.calibrate(program, config, corpus) if corpus.alphabet.ends else None
    content = bundle.Bundle(record.id, config, corpus.alphabet, metrics, calibration)
    bundle.write(model, content, folder, format)
    length = config.sequence_length
    suits = NUMBERS // (length * len(corpus.alphabet))  # for the memory that they take
    most = max(FEWEST_WINDOWS, min(PARITY_WINDOWS, suits))
    compared = targets[:: max(1, len(targets) // most)][:most]
    windows, _ = next(scoring_windows(corpus.test, compared, length, len(compared)))
    further: dict[str, Any] = {"test_unknown_share": share} if share else {}
    if format == "onnx":
        files = onnx.add(model, content, [windows], folder)
        further["files"] = files
        differences = [one["max_difference"] for one in files.values()]
    else:
        here = np.asarray(model.predict_on_batch(windows))
        [theirs] = clean_process.outputs(folder, format, [windows])
        differences = [float(np.abs(here - theirs).max())]
        if config.carried:
            codes = np.ascontiguousarray(windows[:PARITY_STREAMS])
            last = program.last_streamed(codes, 1)[:, 0]
            [theirs] = clean_process.outputs(folder, "by_symbol", [codes])
            further["by_symbol"] = len(codes)
            differences.append(float(np.abs(last - theirs).max()))
    return {
        "format": format,
        "trial": record.id,
        "test_loss": test["loss"],
        "parity": {"max_difference": check_parity(*differences), "windows": len(windows)},
        "model_version": None,
    } | further


def _check_verdicts(trial: Trial, weights: Path, corpus: Corpus) -> OverRates | None:
    """What verdicts say of later normal sessions, in a process of its own."""
    config = as_lstm_config(trial.config)
    prepare_backend(trial.seed)
    from lstm_sweep.models.network import evaluation
    from lstm_sweep.models.network.program import program_of

    program = program_of(networks_of(trial, weights, len(corpus.alphabet)), config, seed=0)
    return OverRates.of_later(evaluation.calibrate(program, config, corpus), trial.id)


@dataclass(frozen=True)
class CorpusTask(LstmTask):
    """A corpus, scored on chosen targets."""

    runs: ClassVar[RunKind] = reader.CORPUS

    corpus: Corpus
    scoring: Scoring

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.kind == CORPUS

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        return cls.of(spec, load_data(corpora.load, spec.source()))

    @classmethod
    def of(cls, spec: SweepSpec, corpus: Corpus) -> Self:
        corpus.check_targets()
        spec = settled_spec(spec, corpus)
        return cls(corpus, spec.source(), spec.rule(), spec.size_rule == "reject", spec.scoring())

    @classmethod
    @override
    def loaded(cls, spec: SweepSpec) -> Self:
        source = spec.source()
        corpus = load_data(corpora.load, source)
        return cls(corpus, source, spec.rule(), strict=False, scoring=Scoring(0, 0))

    @override
    def check_space(self, spec: SweepSpec) -> float:
        return check_space(spec, self.corpus)

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        source, scoring = reader.read_source(record)
        corpus = load_same_corpus(source, record)
        corpus.check_windows(as_lstm_config(config).sequence_length)
        check_room(as_lstm_config(config), len(corpus.alphabet), device)
        return cls(corpus, source, SizeRule(), strict=False, scoring=scoring)

    @override
    def settled(self, spec: SweepSpec) -> SweepSpec:
        return settled_spec(spec, self.corpus)

    @override
    def tags(self) -> dict[str, str]:
        share = self.unknown_share
        unknown = {Tag.UNKNOWN_SHARE: f"{share:.6g}"} if share else {}
        return super().tags() | {Tag.SCORING: scoring_tag(self.scoring)} | unknown

    @property
    @override
    def unknown_share(self) -> float:
        return self.corpus.unknown_share(self.corpus.validation)

    @override
    def notes(self, spec: SweepSpec) -> list[str]:
        corpus, rounds = self.corpus, spec.settled_rounds_per_epoch()
        each = f" after each of {rounds} rounds an epoch, {len(corpus.train) // rounds:,} symbols"
        parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
        passed = self.check_space(spec)
        return [
            f"corpus: {corpus.decided}",
            f"corpus: {parts} symbols, alphabet {len(corpus.alphabet)}",
            *([f"corpus: {text}"] if (text := unknown_text(self.unknown_share)) else []),
            f"size rule ({spec.size_rule}): {passed:.0%} of draws pass",
            f"scoring: {self.data_size.targets:,} validation targets{each if rounds > 1 else ''}",
            *(ladder_notes(spec) or rate_notes(spec)),
        ]

    @property
    @override
    def data_size(self) -> DataSize:
        corpus, split, scoring = self.corpus, self.corpus.validation, self.scoring
        return DataSize(
            len(corpus.train),
            len(corpus.alphabet),
            min(scoring.targets, len(split) - len(split.unknown)),
            validation=len(split),
            adjacent=scoring.adjacent,
        )

    @override
    def training(self, folder: Path) -> Training:
        return CorpusTraining(folder / "corpus", self.scoring)

    @override
    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        if known.keys() >= baselines.FAMILIES.keys():
            return
        targets = self.scoring.drawn(self.corpus.validation)
        yield from baselines.score_all(self.corpus, targets, known)

    @override
    def check_verdicts(self, store: Store, trial: Trial) -> OverRates | None:
        split = held_out(self.corpus) if self.corpus.alphabet.ends else None
        if split is None or len(split.starts) < 2 * FEWEST:
            return None
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            weights = store.fetch(trial.run_id, f"{WEIGHTS}/{bundle.MODEL}", Path(scratch))
            return forkserver.call(_check_verdicts, trial, weights, self.corpus)

    @classmethod
    @override
    def bundle_writer(cls, store: Store, record: TrialRecord, *others: TrialRecord) -> WriteBundle:
        source, scoring = reader.read_source(record)
        corpus = load_same_corpus(source, record)

        def write(folder: Path, format: str) -> dict[str, Any]:
            weights = store.fetch(record.run_id, f"{WEIGHTS}/model.keras", folder.parent)
            return forkserver.call(_write, record, weights, corpus, scoring, folder, format)

        return write

    @classmethod
    @override
    def bundle_lines(cls, result: Mapping[str, Any]) -> list[str]:
        loss = result["test_loss"]
        streams, rows = result.get("by_symbol"), "windows"
        rows += f", {streams} of them also symbol by symbol" if streams else ""
        unknown = unknown_text(result.get("test_unknown_share", 0.0), "test")
        told = [f"test loss {loss:.4f} nats, {bits(loss):.4f} bits a symbol", unknown]
        return [*filter(None, told), *parity_lines(result, rows)]
