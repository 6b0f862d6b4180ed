"""What a sweep is about: a corpus, on which networks of ours are trained, or a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lstm_sweep.models import baselines
from lstm_sweep.models.baselines import BaselineScore
from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import scoring_targets
from lstm_sweep.models.size import SizeRule, Verdict, parameters
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.spec import Scoring, SweepSpec
from lstm_sweep.search.store.journal import data_tags, template_tags
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.trial import Job, Slot, Trial
from lstm_sweep.spaces.template.template import Template

#: the baseline that knows nothing but how frequent each symbol is
UNIGRAM = "unigram"


class Task(Protocol):
    """What a sweep has to know of what it is about."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def digest(self) -> str:
        """Its fingerprint."""

    @property
    def source(self) -> str:
        """Where it comes from."""

    @property
    def data_size(self) -> DataSize | None:
        """How much there is to train on; None if nobody knows."""

    def tags(self) -> dict[str, str]:
        """What each run says of it."""

    def save(self, folder: Path) -> None:
        """Lay out in the sweep's folder what workers need."""

    def job(self, trial: Trial, slot: Slot, folder: Path) -> Job:
        """All that a worker needs for a trial, in the sweep's folder."""

    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        """The baselines that are not known yet."""

    def unigram_loss(self, known: Mapping[str, float]) -> float:
        """The loss of one that has learned nothing; infinite if nobody knows."""

    def admits(self, config: Config) -> bool:
        """Whether a config may be tried."""

    def remarks(self, config: Config) -> dict[str, str]:
        """What the run of a trial says of its config beside, as tags."""

    def params(self, config: Config) -> dict[str, int | float]:
        """What the run of a trial says of its network, as params."""


@dataclass(frozen=True)
class CorpusTask:
    """A corpus, scored on chosen targets, with networks of a size that suits it."""

    corpus: Corpus
    origin: Source
    scoring: Scoring
    rule: SizeRule
    #: whether networks of other sizes are turned down
    strict: bool

    @property
    def name(self) -> str:
        """What the corpus is called."""
        return self.corpus.name

    @property
    def digest(self) -> str:
        """Its fingerprint."""
        return self.corpus.digest

    @property
    def source(self) -> str:
        """Path of its data, or name of a sample."""
        return self.origin.data

    @property
    def data_size(self) -> DataSize:
        """How much there is to train and to score."""
        corpus = self.corpus
        targets = min(self.scoring.targets, len(corpus.validation))
        return DataSize(len(corpus.train), len(corpus.alphabet), targets)

    def tags(self) -> dict[str, str]:
        """Which data, and on what is scored."""
        return data_tags(self.origin, self.corpus, self.scoring)

    def save(self, folder: Path) -> None:
        """Save the corpus."""
        self.corpus.save(folder / "corpus")

    def job(self, trial: Trial, slot: Slot, folder: Path) -> Job:
        """Train a network on the corpus."""
        return Job(
            trial=trial,
            slot=slot,
            corpus=folder / "corpus",
            targets=self.scoring.targets,
            targets_seed=self.scoring.seed,
            folder=folder / str(trial.number),
        )

    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        """Those of the families that are not known."""
        if UNIGRAM in known and len(known) == len(baselines.FAMILIES):
            return
        targets = scoring_targets(self.corpus.validation, self.scoring.targets, self.scoring.seed)
        for score in baselines.score_all(self.corpus, targets):
            if score.name not in known:
                yield score

    def unigram_loss(self, known: Mapping[str, float]) -> float:
        """Loss of the baseline that knows frequencies alone, nats."""
        return known[UNIGRAM]

    def admits(self, config: Config) -> bool:
        """Whether the size rule lets a config pass."""
        return not self.strict or self._judge(config).admitted

    def remarks(self, config: Config) -> dict[str, str]:
        """What the size rule says against a config."""
        verdict = self._judge(config)
        return {} if verdict.admitted else {Tag.SIZE_RULE: verdict.reason}

    def params(self, config: Config) -> dict[str, int | float]:
        """Size of the network."""
        count = parameters(as_lstm_config(config), len(self.corpus.alphabet))
        per_symbol = round(count / len(self.corpus.train), 4)
        return {"parameters": count, "parameters_per_symbol": per_symbol}

    def _judge(self, config: Config) -> Verdict:
        return self.rule.judge(
            as_lstm_config(config), len(self.corpus.alphabet), len(self.corpus.train)
        )


@dataclass(frozen=True)
class TemplateTask:
    """A template, which brings data and networks of its own."""

    template: Template
    data_size: None = None

    @property
    def name(self) -> str:
        """What its file is called."""
        return self.template.path.stem

    @property
    def digest(self) -> str:
        """Fingerprint of its file."""
        return self.template.digest

    @property
    def source(self) -> str:
        """Path of its file."""
        return str(self.template.path)

    def tags(self) -> dict[str, str]:
        """Which file, and what was in it."""
        return template_tags(self.template)

    def save(self, folder: Path) -> None:
        """Nothing: a job has the template in it."""

    def job(self, trial: Trial, slot: Slot, folder: Path) -> Job:
        """Run the template with the values of a config."""
        return Job(
            trial=trial, slot=slot, corpus=folder, targets=0, targets_seed=0,
            folder=folder / str(trial.number), template=self.template,
        )  # fmt: skip

    def baselines(self, known: Mapping[str, float]) -> Iterator[BaselineScore]:
        """None."""
        return iter(())

    def unigram_loss(self, known: Mapping[str, float]) -> float:
        """Not known."""
        return float("inf")

    def admits(self, config: Config) -> bool:
        """All are."""
        return True

    def remarks(self, config: Config) -> dict[str, str]:
        """None."""
        return {}

    def params(self, config: Config) -> dict[str, int | float]:
        """Nothing is known before the network is built."""
        return {}


def task_of(spec: SweepSpec, corpus: Corpus | None) -> Task:
    """What the sweep of a spec is about; without a corpus it is the template."""
    if corpus is None:
        assert spec.template
        return TemplateTask(spec.template)
    scoring = spec.settled(corpus).scoring()
    return CorpusTask(corpus, spec.source(), scoring, spec.rule(), spec.size_rule == "reject")
