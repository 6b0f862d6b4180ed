"""What workers train, and a worker process: it trains one trial and sends messages about it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from lstm_sweep.models.config import ClassConfig, Config, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.labelled import LabelledCorpus
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.process.files import NO_SPACE, graphs, permanent_reason
from lstm_sweep.search.process.secrets import hide_address, take_secrets, without_secrets
from lstm_sweep.search.process.signals import SIGNALS
from lstm_sweep.search.values.trial import Computing, Ended, Job, Message, Outcome, Slot, Trial
from lstm_sweep.search.values.trial import Training as JobTraining
from lstm_sweep.spaces.template.template import Template

if TYPE_CHECKING:
    from lstm_sweep.models import rounds
    from lstm_sweep.models.network.classifier import ClassTraining
    from lstm_sweep.models.network.training import Training


@dataclass(frozen=True)
class LstmTraining(JobTraining):
    """Trains networks of ours on saved data."""

    #: folder of the data
    reads: Path

    @override
    def reading(self, folder: Path) -> Self:
        return replace(self, reads=folder)

    @override
    def events(self, job: Job) -> Iterator[rounds.TrainingEvent]:
        from lstm_sweep.models.network import checkpoint

        checkpoints = checkpoint.CheckpointSettings(
            job.checkpoint, job.checkpoint_every_s, job.best_loss
        )
        yield from self.training(
            job.trial.config,
            seed=job.trial.seed,
            weights=job.weights,
            checkpoints=checkpoints,
            graphs=graphs(),
            rounds_per_epoch=job.trial.rounds_per_epoch,
            steps=job.trial.steps,
            most_rounds=job.trial.most_rounds,
        ).events()

    @abstractmethod
    def training(self, config: Config, **more: Any) -> Training | ClassTraining:
        """The training of a config; `more` is what any has."""


@dataclass(frozen=True)
class CorpusTraining(LstmTraining):
    """Trains a network that predicts the next symbols of a corpus."""

    #: on which validation targets
    scoring: Scoring

    @override
    def training(self, config: Config, **more: Any) -> Training:
        from lstm_sweep.models.network.training import Training

        corpus = Corpus.open(self.reads)
        return Training(
            config=as_lstm_config(config),
            corpus=corpus,
            targets=self.scoring.drawn(corpus.validation),
            share_windows=self.scoring.share_windows,
            **more,
        )


#: weights that trials begin with, in the folder of the data
PRETRAINED = "pretrained.npz"


class ClassesTraining(LstmTraining):
    """Trains a network that predicts the classes of labelled sequences."""

    @override
    def training(self, config: Config, **more: Any) -> ClassTraining:
        import numpy as np

        from lstm_sweep.models.network.classifier import ClassTraining

        assert isinstance(config, ClassConfig)
        corpus = LabelledCorpus.open(self.reads)
        targets = np.arange(len(corpus.validation))
        file = self.reads / PRETRAINED
        more["pretrained"] = file if file.exists() else None
        return ClassTraining(config=config, corpus=corpus, targets=targets, **more)


@dataclass(frozen=True)
class TemplateTraining(JobTraining):
    """Runs a template, whose text is a part of this value, with the values of a config."""

    template: Template
    reads = None
    runs_user_code = True

    @override
    def load(self) -> None:
        """Import Keras as a whole, which the template may need."""
        import lstm_sweep.spaces.template.runner  # noqa: F401

    @override
    def events(self, job: Job) -> Iterator[rounds.TemplateEvent]:
        from lstm_sweep.spaces.template import runner

        values = job.trial.config.to_dict()
        return runner.train(self.template, values, job.weights, job.inputs)

    @override
    def place_of(self, error: Exception) -> str:
        from lstm_sweep.spaces.template import runner

        return runner.place(error, self.template.path)


#: seconds between two reports of progress within a round, at least
REPORT_EVERY_S = 0.5
#: seconds between two looks at whether a trial computes that has not reported meanwhile, and the
#: share of them that it must
COMPUTING_EVERY_S, COMPUTING_SHARE = 15.0, 0.002
#: names of exceptions by which backends say that memory is used up
OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError")


def run(job: Job) -> Iterator[Message]:
    """Train a trial in this process; the last message is `Ended`, whatever happens."""
    try:
        yield from _train(job)
    except Exception as error:
        with contextlib.suppress(OSError):  # the log lies on the disk that may be full
            print(without_secrets(traceback.format_exc()), end="", file=sys.stderr, flush=True)
        place = job.training.place_of(error)
        reason = f"{type(error).__name__}: {_first_line(error)}"
        reason = without_secrets(f"{place}: {reason}" if place else reason)
        if _is_out_of_memory(error):
            # the host's memory may be used up also while a card computes
            of_host = isinstance(error, MemoryError) or re.search(r"device:CPU:\d+", str(error))
            where = "host" if job.slot.gpu is None or of_host else "card"
            yield Ended(Outcome.OUT_OF_MEMORY, f"memory of the {where}: {reason}")
        elif permanent_reason(error) == NO_SPACE:
            yield Ended(Outcome.LOST, f"{NO_SPACE}: {reason}", unfinished=True)
        else:
            yield Ended(Outcome.ERROR, reason)


def _train(job: Job) -> Iterator[Message]:
    job.training.load()
    from lstm_sweep.models import backend, rounds

    backend.prepare(gpu=job.slot.gpu is not None, seed=job.trial.seed)
    reported = time.monotonic()
    for event in job.training.events(job):
        if isinstance(event, rounds.Result):
            if event.reason:
                outcome = Outcome.ERROR if event.loss is None else Outcome.DIVERGED
                yield Ended(outcome, event.reason)
            else:
                yield Ended(Outcome.COMPLETE, loss=event.loss)
            return
        if isinstance(event, rounds.Diverged):
            yield Ended(Outcome.DIVERGED, event.reason)
            return
        if isinstance(event, rounds.RoundDone):
            yield event
        elif time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            yield event
    yield Ended(Outcome.COMPLETE, _own_end(job.trial))


def _own_end(trial: Trial) -> str:
    """Why a trial that was not cut short ends before its last epoch; empty if it does not."""
    if trial.steps is not None:
        return f"it was to take {trial.steps} steps"
    if trial.most_rounds is not None:
        return f"it was to take {trial.epoch_text(trial.planned_rounds)} epochs"
    return ""


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or a backend says that memory is used up."""
    named = type(error).__name__ in OUT_OF_MEMORY or "RESOURCE_EXHAUSTED" in str(error)
    return named or isinstance(error, MemoryError)


def _first_line(error: Exception) -> str:
    """Of what an error says; bytes of file names that are no text are escaped."""
    text = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    lines = text.strip().splitlines()
    return lines[0] if lines else "no message"


def main(job: Job, connection: Connection) -> None:
    """Be a worker process: train one trial on its slot, send each message, and leave.

    Everything printed goes to the trial's log. If the driver goes away, so does the worker.
    """
    for number in SIGNALS:  # they reach the whole group; the driver decides what follows
        signal.signal(number, signal.SIG_IGN)
    take_secrets(os.environ)  # it has no business with the store
    hide_address(os.environ.pop("MLFLOW_TRACKING_URI", ""))
    _print_to(job)
    threading.Thread(target=_leave_with_driver, args=(connection,), daemon=True).start()
    with telling_that_it_computes(connection) as report:
        _take_slot(job.slot)
        for message in run(job):
            report(message)


def _take_slot(slot: Slot) -> None:
    from lstm_sweep.models import backend
    from lstm_sweep.search.engines import hardware

    backend.environment(slot.gpu)
    if slot.core is not None and hardware.pins():
        os.sched_setaffinity(0, {slot.core})


def _leave_with_driver(connection: Connection) -> None:
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


@contextlib.contextmanager
def telling_that_it_computes(connection: Connection) -> Iterator[Callable[[Message], None]]:
    """Yield a function that sends the messages of a trial.

    As long as it is not called, `Computing` is sent now and then if CPU time is used: while
    libraries are imported, graphs traced, or a network scored. A process that is blocked uses none,
    so that it can be found to hang.
    """
    lock, over = threading.Lock(), threading.Event()
    reports = 0

    def report(message: Message) -> None:
        nonlocal reports
        with lock:
            reports += 1
            connection.send(message)

    def tell() -> None:
        before, known = time.process_time(), reports
        while not over.wait(COMPUTING_EVERY_S):
            now = time.process_time()
            computes = now - before > COMPUTING_SHARE * COMPUTING_EVERY_S
            with lock, contextlib.suppress(OSError):  # such as of a driver that is gone
                if computes and reports == known and not over.is_set():
                    connection.send(Computing())
                before, known = now, reports

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield report
    finally:
        over.set()


def _print_to(job: Job) -> None:
    try:
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # such as on a full disk; what cannot go on without says so itself
        log = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
