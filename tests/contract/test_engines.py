"""One suite for every place where trials run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine, Event, devices
from lstm_sweep.search.values.trial import Ended, Outcome, TrialFiles
from tests.contract.engine_jobs import (
    CONFIG,
    ENDLESS,
    EVERY_ENGINE,
    job,
    listen,
    losses,
    opened,
    saved_corpus,
    wait_for_progress,
)

#: seconds for which a slot is waited for: a machine that is busy needs minutes for an agent
WITHIN_S = 400.0


@pytest.fixture(scope="module", params=EVERY_ENGINE)
def shared(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with opened(request, request.param, workers=2) as engine:
        yield engine


@pytest.fixture
def engine(shared: Engine) -> Engine:
    """An engine that no test closes, and of which nothing is still to be heard."""
    while shared.wait(0.05):
        pass
    return shared


@pytest.fixture(params=EVERY_ENGINE)
def own(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of a test that closes it; it has a slot, once a cluster has let go of others'."""
    with opened(request, request.param, workers=2) as engine:
        until = time.monotonic() + WITHIN_S
        while not engine.slots:
            assert time.monotonic() < until, "no slot"
            engine.wait(0.1)
        yield engine


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_corpus(tmp_path_factory.mktemp("engines"))


def test_a_trial_reports_each_epoch_and_ends_complete(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot, *_ = before = engine.slots
    with pytest.raises(LookupError, match=str(slot)):
        engine.collect(slot)
    assert engine.wait(0.01) == []
    engine.start(job(corpus, tmp_path, slot))
    with pytest.raises(RuntimeError, match="taken"):
        engine.start(job(corpus, tmp_path, slot))
    messages = listen(engine)[slot]
    assert engine.slots == before
    assert messages[-1] == Ended(Outcome.COMPLETE)
    assert [m.number for m in messages if isinstance(m, RoundDone)] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "ended"),
    [({"steps": 5}, "it was to take 5 steps"), ({"most_rounds": 1}, "it was to take 1 epochs")],
)
def test_a_trial_of_so_many_steps_or_rounds_ends_with_them(
    engine: Engine, corpus: Path, tmp_path: Path, changes: dict[str, Any], ended: str
) -> None:
    slot = engine.slots[0]
    begun = job(corpus, tmp_path, slot)
    engine.start(replace(begun, trial=replace(begun.trial, **changes)))
    heard = listen(engine)[slot]
    [done] = [message for message in heard if isinstance(message, RoundDone)]
    assert done.number == 1
    assert done.last or "steps" not in changes
    assert heard[-1] == Ended(Outcome.COMPLETE, ended)


def test_the_files_of_a_trial_are_collected_once_it_has_ended(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus, tmp_path, slot))
    listen(engine)
    files = TrialFiles(folder=engine.collect(slot))
    assert files.weights.stat().st_size > 0
    engine.start(job(corpus, tmp_path / "next", slot))
    listen(engine)
    again = TrialFiles(folder=engine.collect(slot))
    assert again.weights.exists() and again.folder != files.folder


def test_each_slot_is_described(engine: Engine) -> None:
    assert len(set(engine.slots)) == len(engine.slots) > 0
    for slot in engine.slots:
        device = engine.describe(slot)
        assert device.gpu == (slot.gpu is not None) == device.kind.startswith("gpu")
        assert device.gpu or device.kind.startswith("cpu: ")
        assert device.node == slot.node
        assert device.cores >= 1
    assert set(devices(engine)) == set(map(engine.describe, engine.slots))


def test_an_engine_is_closed_by_its_context_and_has_the_files_of_its_trials_after_that(
    own: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = own.slots[0]
    with own as entered:
        assert entered is own
        own.start(job(corpus, tmp_path, slot, ENDLESS))
        heard: list[Event] = []
        while not any(isinstance(message, RoundDone) for message in heard):
            heard += [message for _, message in own.wait(0.2)]
    assert TrialFiles(folder=own.collect(slot)).weights.exists()
    assert own.wait(0.01) == []
    with pytest.raises(RuntimeError, match="closed"):
        own.start(job(corpus, tmp_path / "late", slot))
    own.close()


def test_a_stopped_trial_ends_as_it_is_told(engine: Engine, corpus: Path, tmp_path: Path) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus, tmp_path, slot, ENDLESS))
    wait_for_progress(engine)
    engine.stop(slot, Ended(Outcome.PRUNED, "enough"))
    assert listen(engine)[slot][-1] == Ended(Outcome.PRUNED, "enough")


def test_an_exception_ends_the_trial_with_its_reason(
    engine: Engine, corpus: Path, tmp_path: Path
) -> None:
    slot = engine.slots[0]
    engine.start(job(corpus / "missing", tmp_path, slot))
    ended = listen(engine)[slot][-1]
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.ERROR
    assert ended.reason.startswith("FileNotFoundError")


@pytest.fixture(scope="module")
def local_losses(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    with open_engine("local", workers=1) as engine:
        return losses_with_dropout(engine, corpus, tmp_path_factory.mktemp("local"))


def losses_with_dropout(engine: Engine, corpus: Path, folder: Path) -> list[float]:
    slot = engine.slots[0]
    engine.start(job(corpus, folder, slot, CONFIG.evolve(dropout=0.2)))
    return losses(listen(engine)[slot])


def test_all_engines_give_the_same_bits(
    engine: Engine, local_losses: list[float], corpus: Path, tmp_path: Path
) -> None:
    assert losses_with_dropout(engine, corpus, tmp_path) == local_losses
    assert len(local_losses) == 2
