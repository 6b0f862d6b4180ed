"""Trials that wait since another sweep needs their slot, and sweeps that wait for a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import RoundDone, Slot
from tests.contract.four_trials import Listening, four_trials
from tests.contract.sittings import go_on, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, store_in, sweep_of, tiny_spec


class Shared(ScriptedEngine):
    """A slot that another sweep needs from one `wait` to another, both counted from 1.

    `look` is called at each `wait` in between in which no trial runs. A checkpoint is written after
    each round.
    """

    def __init__(self, first: int, last: int, look: Callable[[], None] = lambda: None) -> None:
        super().__init__(LOSSES)
        self._first, self._last, self._look = first, last, look
        self._waits = 0
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
        return [(slot, _saved(event)) for slot, event in found]


def _saved(event: Event) -> Event:
    return replace(event, saved=True) if isinstance(event, RoundDone) else event


def test_a_trial_makes_room_and_goes_on_in_its_run(
    workplace: Callable[[str], Path], data: Path, corpus: Corpus
) -> None:
    store, display = store_in(workplace("room")), Listening()
    seen: list[tuple[str, str, str | None]] = []

    why_now = list[str | None]()

    def look() -> None:
        record = reader.trials(store, "s")[-1]
        report = Local(store.settings).status("s")
        seen.append((record.status, record.tags.get(Tag.MAKES_ROOM, ""), report.why))

    engine = Shared(4, 8, look)
    engine._watch = lambda message: why_now.append(Local(store.settings).status("s").why)
    state = four_trials(store, corpus, data, engine=engine, observer=display).run()
    assert state.counts == {"complete": 4}
    why = "waiting for a slot: 2 sweeps share 1 slot"
    assert ("SCHEDULED", "at epoch 1: makes room", why) in seen
    assert display.told.count(why) == 1 and why_now[-1] is None
    records = reader.trials(store, "s")
    assert [(one.number, one.attempt) for one in records] == [(n, 1) for n in range(4)]
    assert [one.tags.get(Tag.MAKES_ROOM, "") for one in records] == [""] * 4
    for record in records:
        first, second = LOSSES[record.number]
        assert store.history(record.run_id, "val_loss") == {1: first, 2: second}
    assert Local(store.settings).status("s").why == "all 4 trials are done"
    assert set(engine.demands) == {0, 1}


def test_time_without_a_slot_is_not_taken_from_its_minutes(data: Path, corpus: Corpus) -> None:
    store, now = MemoryStore(), [0.0]

    def later() -> None:
        now[0] += 600.0

    spec = tiny_spec(data=str(data), trials=4, minutes=1, **PLAIN)
    engine = Shared(1, 5, later)
    state = sweep_of(store, corpus, engine, spec, clock=lambda: now[0]).run()
    assert now[0] >= 600.0
    assert (state.counts, state.seconds) == ({"complete": 4}, 0.0)


@pytest.fixture
def broken_off(data: Path, corpus: Corpus) -> Store:
    """A sweep that was interrupted while a trial made room."""
    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        four_trials(store, corpus, data, engine=Shared(4, 8, interrupt)).run()
    return store


@pytest.mark.parametrize("killed", [False, True])
def test_a_sweep_that_was_broken_off_meanwhile_tries_it_again(
    broken_off: Store, corpus: Corpus, killed: bool
) -> None:
    record = reader.trials(broken_off, "s")[-1]
    assert (record.outcome, record.tags[Tag.UNFINISHED]) == ("stopped", "yes")
    if killed:  # as if its driver had been killed
        broken_off.log(record.run_id, tags={Tag.OUTCOME: "", Tag.UNFINISHED: ""})
        broken_off.reopen(record.run_id, "SCHEDULED")
    state = go_on(broken_off, corpus, ScriptedEngine(LOSSES))
    assert state.counts == {"complete": 4}
    last = {one.number: one.attempt for one in reader.trials(broken_off, "s")}
    assert last == {0: 1, 1: 2, 2: 1, 3: 1}
