"""Jobs for engines, and what is heard of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.values.spec import ENGINES
from lstm_sweep.search.values.trial import Ended, Job, Message, Slot, Trial
from tests.conftest import in_full, write_text

#: each engine; `make test` leaves out the one that needs a cluster
EVERY_ENGINE = [*(name for name in ENGINES if name != "ray"), *in_full("ray")]

CONFIG = TrialConfig(layers=2, layer_size=8, sequence_length=10, batch_size=32, epochs=2)
ENDLESS = CONFIG.evolve(epochs=10_000)


def opened(request: pytest.FixtureRequest, name: str, workers: int | None = None) -> Engine:
    """An engine on this machine, or on the cluster that tests share."""
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return open_engine(name, workers=workers)


def job(corpus: Path, folder: Path, slot: Slot, config: TrialConfig = CONFIG, seed: int = 1) -> Job:
    trial = Trial(sweep="s", number=slot.index, config=config, seed=seed)
    return Job(
        trial=trial, slot=slot, training=CorpusTraining(corpus, Scoring(200, 0)),
        folder=folder / str(slot.index),
    )  # fmt: skip


def listen(engine: Engine, slots: int = 1, within_s: float = 120) -> dict[Slot, list[Message]]:
    heard: dict[Slot, list[Message]] = {}
    until = time.monotonic() + within_s
    ended = 0
    while ended < slots:
        assert time.monotonic() < until, heard
        for slot, message in engine.wait(0.2):
            assert isinstance(message, Message), "slots of this machine stay"
            heard.setdefault(slot, []).append(message)
            ended += isinstance(message, Ended)
    return heard


def losses(messages: list[Message]) -> list[float]:
    return [message.metrics["val_loss"] for message in messages if isinstance(message, RoundDone)]


def wait_for_progress(engine: Engine) -> None:
    until = time.monotonic() + 120
    while not engine.wait(0.2):
        assert time.monotonic() < until


def worker_of(engine: Engine, slot: Slot) -> int:
    pid = engine._running[slot].process.pid  # type: ignore[attr-defined]
    assert isinstance(pid, int)
    return pid


def saved_corpus(folder: Path, seed: int = 0) -> Path:
    """A corpus as workers find it, in a folder of its own."""
    load(Source(data=str(write_text(folder / "words.txt", seed=seed)))).save(folder / "corpus")
    return folder / "corpus"
