"""Trials that wait with a checkpoint and go on: in the store, and with the same bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.engines.base import Engine, Event
from lstm_sweep.search.process import files
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Slot
from tests.conftest import in_full
from tests.contract.engine_jobs import (
    CONFIG,
    job,
    listen,
    losses,
    opened,
    saved_corpus,
)
from tests.contract.sittings import Listening, Sittings, after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, store_in

EPOCHS = 9
#: each trial is worse than the first, which is the leader all the time
CURVES = {n: [3.0 + n - epoch / 100 for epoch in range(EPOCHS)] for n in range(6)}


#: each of four trials waits for others
HALVING: dict[str, Any] = {"epochs": EPOCHS, "trials": 4, "halving": True}


@pytest.fixture
def kept(store: MemoryStore, corpus: Corpus, data: Path) -> Sittings:
    return Sittings(store, corpus, data)


def states(kept: Sittings) -> Counter[str]:
    """How many trials have ended, wait or run, by their runs."""
    waits = {True: "paused", False: "running"}
    return Counter(one.outcome or waits[bool(one.tags.get(Tag.PAUSED))] for one in kept.trials)


class Noting(ScriptedEngine):
    """Notes which trials were given the slot; each round takes a second."""

    def __init__(self, losses: dict[int, list[float]], **more: Any) -> None:
        super().__init__(losses, **more)
        self.started: list[int] = []

    def start(self, job: Any) -> None:
        """Note it."""
        self.started.append(job.trial.number)
        super().start(job)
        for message in self._messages:
            if isinstance(message, RoundDone):
                message.metrics["round_seconds"] = 1.0


def test_trials_wait_scheduled_and_go_on_in_one_run_each(kept: Sittings) -> None:
    display, seen, counts = Listening(), list[tuple[str, str]](), dict[str, int]()

    def look() -> None:
        seen.extend((one.status, one.tags.get(Tag.PAUSED, "")) for one in kept.trials)
        counts.update(states(kept))

    engine = Noting(CURVES, watch=after(5, look))
    state = kept.run(engine, driver={"observer": display}, **HALVING)
    assert counts == {"running": 1, "paused": 1}
    assert seen == [("SCHEDULED", "at epoch 3: loss 2.9800, number 1 of 1 there"), ("RUNNING", "")]
    assert not [line for line in display.told if "waits" in line]  # displays see it in the state
    assert engine.started.count(0) > 1, "the leader has waited for others, and gone on"
    assert {1, 2, 3} <= set(engine.started)
    records = kept.trials
    assert [(one.number, one.attempt) for one in records] == [(n, 1) for n in range(4)]
    assert {one.status for one in records} == {"FINISHED"} and records[0].tags[Tag.PAUSED] == ""
    assert [one.outcome for one in records] == ["complete", "pruned", "pruned", "pruned"]
    assert state.counts == {"complete": 1, "pruned": 3} and not state.paused
    for record in records:
        losses_seen = kept.store.history(record.run_id, "val_loss")
        assert losses_seen == dict(enumerate(CURVES[record.number][: len(losses_seen)], 1))
    assert records[0].epochs == EPOCHS
    assert records[1].reason == "it waited at epoch 3: loss 3.9800, number 2 of 2 there"


@pytest.fixture
def broken_off(kept: Sittings) -> Sittings:
    """A sweep that was interrupted while two trials waited."""
    kept.break_off(Noting(CURVES, watch=after(19, interrupt)), **HALVING)
    return kept


def test_trials_that_waited_when_a_sweep_was_broken_off_wait_when_it_goes_on(
    broken_off: Sittings,
) -> None:
    waiting = [one for one in broken_off.trials if one.tags.get(Tag.PAUSED)]
    assert [one.number for one in waiting] == [1, 2]
    assert {one.status for one in broken_off.trials} == {"FINISHED", "KILLED"}
    counts: dict[str, int] = {}
    engine = Noting(CURVES, watch=after(1, lambda: counts.update(states(broken_off))))
    state = broken_off.go_on(engine)
    assert counts == {"complete": 1, "paused": 2, "running": 1}
    assert state.counts == {"complete": 1, "pruned": 3}
    assert engine.started == [3], "those that wait are given no slot"
    again = {one.run_id: one for one in broken_off.trials}
    for one in waiting:  # in the same run
        assert (again[one.run_id].status, again[one.run_id].attempt) == ("FINISHED", 1)
        seen = broken_off.store.history(one.run_id, "val_loss")
        assert list(seen.values()) == CURVES[one.number][: len(seen)]


def test_checkpoints_survive_an_interrupt_before_a_sweep_goes_on(
    broken_off: Sittings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files.open_folder(broken_off.parent.info.run_id)
    assert {"1", "2", "3"} <= {one.name for one in folder.iterdir() if one.is_dir()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CorpusTask, "baselines", lambda self, known: interrupt())
        broken_off.go_on(Noting(CURVES))
    assert {"1", "2", "3"} <= {one.name for one in folder.iterdir()}


@pytest.mark.parametrize("name", ["local", *in_full("ray")])
def test_a_trial_that_has_waited_has_the_bits_of_one_that_has_not(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    corpus, config = saved_corpus(tmp_path), CONFIG.evolve(dropout=0.2, epochs=3)
    with opened(request, name, workers=1) as engine:
        slot = engine.slots[0]
        engine.start(job(corpus, tmp_path / "whole", slot, config))
        whole = losses(listen(engine)[slot])
        found: dict[int, float] = {}
        for waits in (1, 2, 3):
            engine.start(job(corpus, tmp_path / "parts", slot, config))
            found |= until_round(engine, slot, waits)
    assert found == dict(enumerate(whole, start=1)) and len(whole) == 3


def until_round(engine: Engine, slot: Slot, number: int) -> dict[int, float]:
    """Losses of a trial's rounds up to the one after which it is paused, or has ended."""
    found = {}
    while True:
        for _, message in engine.wait(0.2):
            if isinstance(message, RoundDone):
                found[message.number] = message.metrics["val_loss"]
                if message.number == number:
                    engine.stop(slot, Paused("waits"))
            elif isinstance(message, Ended | Paused):
                assert message in (Paused("waits"), Ended(Outcome.COMPLETE))
                return found


# Trials that wait since another sweep needs their slot, and sweeps that wait for a slot


class Shared(ScriptedEngine):
    """A slot that another sweep needs from one `wait` to another, both counted from 1.

    `look` is called at each `wait` in between in which no trial runs. A checkpoint is written after
    each round, if it is `saved`.
    """

    def __init__(
        self, first: int, last: int, look: Callable[[], None] = lambda: None, *, saved: bool = True
    ) -> None:
        super().__init__(LOSSES)
        self._first, self._last, self._look, self._saved = first, last, look, saved
        self._waits = self.stops = 0
        self.demands: list[int] = []

    @property
    def _is_taken(self) -> bool:
        return self._first <= self._waits <= self._last

    def reserve(self, slot: Slot) -> str:
        """Why the slot cannot be had."""
        return "2 sweeps share 1 slot" if self._is_taken else ""

    def surplus(self) -> int:
        """The trial that runs is one too many."""
        return int(self._is_taken and bool(self._messages))

    def demand(self, count: int) -> None:
        """Remember it."""
        self.demands.append(count)

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Count."""
        self._waits += 1
        found = super().wait(timeout_s)
        if self._is_taken and not found:
            self._look()
        return [
            (slot, replace(event, saved=self._saved) if isinstance(event, RoundDone) else event)
            for slot, event in found
        ]

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """Count the trials that are stopped."""
        self.stops += 1
        super().stop(slot, ended)


def test_a_trial_makes_room_and_goes_on_in_its_run(
    workplace: Callable[[str], Path], data: Path, corpus: Corpus
) -> None:
    kept, display = Sittings(store_in(workplace("room")), corpus, data), Listening()
    shown, why_now = Local(kept.store.settings), list[str | None]()
    seen = set[tuple[str, str, str | None]]()

    def look() -> None:
        record = kept.trials[-1]
        seen.add((record.status, record.tags.get(Tag.MAKES_ROOM, ""), shown.status("s").why))

    engine = Shared(4, 8, look)
    engine._watch = lambda message: why_now.append(shown.status("s").why)
    state = kept.run(engine, driver={"observer": display}, trials=4)
    assert state.counts == {"complete": 4}
    why = "waiting for a slot: 2 sweeps share 1 slot"
    assert ("SCHEDULED", "at epoch 1: makes room", why) in seen
    assert display.told.count(why) == 1 and why_now[-1] is None
    assert [(one.number, one.attempt) for one in kept.trials] == [(n, 1) for n in range(4)]
    for record in kept.trials:
        assert record.tags.get(Tag.MAKES_ROOM, "") == ""
        assert list(kept.store.history(record.run_id, "val_loss").values()) == LOSSES[record.number]
    assert shown.status("s").why == "all 4 trials are done"
    assert set(engine.demands) == {0, 1}


@pytest.mark.parametrize("saved", [False, True])
def test_a_trial_without_a_checkpoint_keeps_its_slot(kept: Sittings, saved: bool) -> None:
    engine = Shared(4, 8, saved=saved)
    state = kept.run(engine, trials=4)
    assert (state.counts, engine.stops) == ({"complete": 4}, int(saved))


def test_time_without_a_slot_is_not_taken_from_its_minutes(kept: Sittings) -> None:
    now = [0.0]

    def later() -> None:
        now[0] += 600.0

    clock = {"clock": lambda: now[0]}
    state = kept.run(Shared(1, 5, later), driver=clock, trials=4, minutes=1)
    assert now[0] >= 600.0
    assert (state.counts, state.seconds) == ({"complete": 4}, 0.0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_sweep_that_was_broken_off_meanwhile_tries_it_again(kept: Sittings, killed: bool) -> None:
    kept.break_off(Shared(4, 8, interrupt), trials=4)
    record = kept.trials[-1]
    assert (record.outcome, record.tags[Tag.UNFINISHED]) == ("stopped", "yes")
    if killed:  # as if its driver had been killed
        kept.store.log(record.run_id, tags={Tag.OUTCOME: "", Tag.UNFINISHED: ""})
        kept.store.reopen(record.run_id, "SCHEDULED")
    assert kept.go_on(ScriptedEngine(LOSSES)).counts == {"complete": 4}
    assert [(one.number, one.attempt) for one in kept.trials] == [(0, 1), (1, 2), (2, 1), (3, 1)]
