"""What workers train: networks of ours on a corpus, or the code of a user's template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.process import workdir
from lstm_sweep.search.values.trial import Job
from lstm_sweep.spaces.template.template import Template

if TYPE_CHECKING:
    from lstm_sweep.models import rounds


@dataclass(frozen=True)
class CorpusTraining:
    """Trains an LSTM on a saved corpus."""

    #: folder of the corpus
    corpus: Path
    #: on which validation targets
    scoring: Scoring
    runs_user_code: bool = False

    @property
    def reads(self) -> Path:
        """The folder of the corpus."""
        return self.corpus

    def reading(self, folder: Path) -> Self:
        """The same with the corpus in another folder."""
        return replace(self, corpus=folder)

    def load(self) -> None:
        """Import nothing beforehand: all of it is imported with the backend."""

    def events(self, job: Job) -> Iterator[rounds.TrainingEvent]:
        """Train the network of a job's trial."""
        from lstm_sweep.models.network import checkpoint, training

        corpus = Corpus.open(self.corpus)
        checkpoints = checkpoint.CheckpointSettings(
            job.checkpoint, job.checkpoint_every_s, job.best_loss
        )
        config = as_lstm_config(job.trial.config)
        yield from training.Training(
            config,
            corpus,
            self.scoring.drawn(corpus.validation),
            job.trial.seed,
            job.weights,
            checkpoints,
            workdir.graphs(),
            rounds_per_epoch=job.trial.rounds_per_epoch,
            steps=job.trial.steps,
            most_rounds=job.trial.most_rounds,
            share_windows=self.scoring.share_windows,
        ).events()

    def place_of(self, error: Exception) -> str:
        """Where in the user's code an error has come from: there is no such code."""
        return ""


@dataclass(frozen=True)
class TemplateTraining:
    """Runs a template with the values of a config."""

    template: Template
    runs_user_code: bool = True
    #: the text of the template is part of this value
    reads: None = None

    def reading(self, folder: Path) -> Self:
        """The same: there is no folder to read."""
        return self

    def load(self) -> None:
        """Import Keras as a whole, which the template may need."""
        import lstm_sweep.spaces.template.runner  # noqa: F401

    def events(self, job: Job) -> Iterator[rounds.TemplateEvent]:
        """Run the template."""
        from lstm_sweep.spaces.template import runner

        template = self.template
        code = template.code(job.trial.config.to_dict())
        program = runner.UserProgram(
            code, template.path, template.source, template.data, template.model, template.returned
        )
        return runner.train(program, job.weights, job.inputs)

    def place_of(self, error: Exception) -> str:
        """Where in the template an error has come from; empty if it has not."""
        from lstm_sweep.spaces.template import runner

        return runner.place(error, self.template.path)
