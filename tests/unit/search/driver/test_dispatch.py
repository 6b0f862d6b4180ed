from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.loop import TURN_S
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.store import reader, writer
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.values.trial import Slot
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, InlineWriter, LateWriter, sweep_of, tiny_spec

SLOTS = tuple(Slot(index, core=index) for index in range(7))


class Watched(ScriptedCluster):
    """Notes at each `wait` how many trials were started by then, and for how long it waits."""

    def __init__(self) -> None:
        super().__init__(LOSSES, SLOTS, {})
        self.waits: list[tuple[int, float]] = []

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Note it."""
        self.waits.append((len(self.started), timeout_s))
        return super().wait(timeout_s)


def test_messages_are_received_before_all_slots_are_filled_if_that_takes_long(
    corpus: Corpus, data: Path
) -> None:
    engine, clock = Watched(), itertools.count(step=2 * TURN_S)
    spec = tiny_spec(data=str(data), trials=7, **PLAIN)
    state = sweep_of(MemoryStore(), corpus, engine, spec, clock=lambda: next(clock)).run()
    assert state.counts == {"complete": 7}
    assert engine.waits[:3] == [(1, 0.0), (2, 0.0), (3, 0.0)]


def test_no_trial_is_begun_while_too_much_waits_to_be_written(
    corpus: Corpus, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Behind(LateWriter):
        def breathe(self, seconds: float) -> None:
            self._step()

    monkeypatch.setattr(writer, "MOST_WAITING", 8)
    store, engine = MemoryStore(), Watched()
    spec = tiny_spec(data=str(data), trials=7, **PLAIN)
    state = sweep_of(store, corpus, engine, spec, writer=Behind).run()
    assert state.counts == {"complete": 7}
    assert engine.busiest < 7


def test_of_trials_that_are_broken_off_all_are_closed_but_the_one_that_cannot_be(
    corpus: Corpus, data: Path
) -> None:
    class Broken(ScriptedCluster):
        def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
            if self._waits:
                raise KeyboardInterrupt
            return super().wait(timeout_s)

        def collect(self, slot: Slot) -> Path:
            if slot == SLOTS[0]:
                raise LookupError("no files")
            return super().collect(slot)

    store = MemoryStore()
    spec = tiny_spec(data=str(data), trials=7, **PLAIN)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(store, corpus, Broken(LOSSES, SLOTS[:3], {}), spec).run()
    assert [one.outcome for one in reader.trials(store, "s")] == ["", "stopped", "stopped"]


def test_a_sweep_goes_on_if_all_is_written_just_after_no_trial_was_begun_for_it(
    corpus: Corpus, data: Path
) -> None:
    class CatchingUp(InlineWriter):
        looks = itertools.count()

        @property
        def is_behind(self) -> bool:
            return next(self.looks) == 0

    spec = tiny_spec(data=str(data), trials=4, **PLAIN)
    engine = ScriptedEngine(LOSSES)
    state = sweep_of(MemoryStore(), corpus, engine, spec, writer=CatchingUp).run()
    assert state.counts == {"complete": 4}
