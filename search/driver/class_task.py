"""`ClassTask`: LSTMs that tell the class of a sequence, by their log loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from typing_extensions import override

from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.labelled import LabelledCorpus, load_labelled
from lstm_sweep.models.size import SizeRule
from lstm_sweep.search.driver.lstm_task import LstmTask, check_same
from lstm_sweep.search.driver.preflight import (
    check_room,
    check_sizes,
    ladder_notes,
    rate_notes,
    settled_classes,
)
from lstm_sweep.search.engines.worker import ClassesTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.tags import Tag, source_of
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.options import CLASSES
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Training

#: quantiles of the lengths of sequences that costs and the space depend on
QUANTILES = 65


@dataclass(frozen=True)
class ClassTask(LstmTask):
    """Labelled sequences; trials are scored on all that are for validation."""

    runs: ClassVar[RunKind] = reader.CLASSES

    corpus: LabelledCorpus

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.kind == CLASSES

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        return cls.loaded(spec)

    @classmethod
    @override
    def loaded(cls, spec: SweepSpec) -> Self:
        source = spec.source()
        return cls(load_labelled(source), source, spec.rule(), spec.size_rule == "reject")

    @classmethod
    @override
    def queued_tags(cls, spec: SweepSpec) -> dict[str, str]:
        return super().queued_tags(spec) | {Tag.CLASSES: "0"}

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        source = source_of(record.tags)
        corpus = load_labelled(source)
        check_same(corpus, source, record.tags, f"trial {record.id}")
        check_room(as_lstm_config(config), len(corpus.alphabet), device, len(corpus.classes))
        return cls(corpus, source, SizeRule(), strict=False)

    @override
    def check_space(self, spec: SweepSpec) -> float:
        size = self.data_size
        return check_sizes(spec, size.symbols, size.alphabet, size.classes)

    @override
    def settled(self, spec: SweepSpec) -> SweepSpec:
        return settled_classes(spec, self.data_size)

    @override
    def tags(self) -> dict[str, str]:
        return super().tags() | {Tag.CLASSES: str(len(self.corpus.classes))}

    @override
    def notes(self, spec: SweepSpec) -> list[str]:
        corpus, size, rounds = self.corpus, self.data_size, spec.settled_rounds_per_epoch()
        each = f", after each of {rounds} rounds an epoch" if rounds > 1 else ""
        parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
        passed = self.check_space(spec)
        return [
            f"corpus: {corpus.decided}",
            f"corpus: {parts} sequences of {len(corpus.classes)} classes, alphabet "
            f"{size.alphabet}; {size.symbols:,} training symbols, {self.lengths[-1]:,} at most "
            "in a sequence",
            f"size rule ({spec.size_rule}): {passed:.0%} of draws pass",
            f"scoring: {size.targets:,} validation sequences{each}",
            *(ladder_notes(spec) or rate_notes(spec)),
        ]

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Symbols of the training sequences at equally spaced quantiles, ascending."""
        lengths = np.sort(self.corpus.train.sequences.session_lengths)
        places = np.linspace(0, len(lengths) - 1, QUANTILES)
        return tuple(lengths[np.rint(places).astype(int)].tolist())

    @property
    @override
    def data_size(self) -> DataSize:
        corpus = self.corpus
        return DataSize(
            len(corpus.train.sequences),
            len(corpus.alphabet),
            len(corpus.validation),
            lengths=self.lengths,
            classes=len(corpus.classes),
        )

    @override
    def training(self, folder: Path) -> Training:
        return ClassesTraining(folder / "corpus")

    @override
    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        from lstm_sweep.models.baselines import score_baselines

        return iter(score_baselines(self.corpus, known))
