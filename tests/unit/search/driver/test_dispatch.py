from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.dispatch import FEWEST, TURN_S, expected_tags
from lstm_sweep.search.driver.inbox import LOOK_S
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.transitions import EndEstimated, after
from lstm_sweep.search.engines.base import Event
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Job, Slot
from tests.fakes import ScriptedCluster
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec


def state(**known: Any) -> SweepState:
    """A sweep that began at 100 s, 20 s ago."""
    return SweepState("s", SweepSpec(trials=9), "run", (), began=100.0, now=120.0, **known)


def test_the_store_is_told_of_the_end_that_is_shown_on_the_spot() -> None:
    now = after(state(), EndEstimated(150.0))
    told = float(expected_tags(now)[Tag.EXPECTED_SECONDS])
    assert now.seconds_left == pytest.approx(told - now.seconds) == 30.0


SLOTS = tuple(Slot(index, core=index) for index in range(7))


class SlowStore(MemoryStore):
    """A store whose clock shows for how long its requests have taken."""

    def __init__(self, request_s: float) -> None:
        super().__init__()
        self.request_s, self.now = request_s, 0.0

    def create_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Make a run, and take some time."""
        self.now += self.request_s
        return super().create_run(name, tags, parent)


class Watched(ScriptedCluster):
    """Notes at each `wait` how many trials were started by then, and for how long it waits."""

    def __init__(self) -> None:
        super().__init__(LOSSES, SLOTS, {})
        self.waits: list[tuple[int, float]] = []

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Note it."""
        self.waits.append((len(self.started), timeout_s))
        return super().wait(timeout_s)


class Reserving(Watched):
    """Knows which slots it keeps for trials that are not started yet."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: set[Slot] = set()
        self.unreserved: list[Slot] = []
        #: how many slots were reserved at each `wait`
        self.kept: list[int] = []

    def reserve(self, slot: Slot) -> str:
        """Keep it."""
        self.reserved.add(slot)
        return ""

    def release(self) -> None:
        """Keep none."""
        self.reserved.clear()

    def start(self, job: Job) -> None:
        """Note a trial on a slot that was not kept for it."""
        if job.slot not in self.reserved:
            self.unreserved.append(job.slot)
        self.reserved.discard(job.slot)
        super().start(job)

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Count."""
        self.kept.append(len(self.reserved))
        return super().wait(timeout_s)


class FarStore(MemoryStore):
    """A store that is asked aside, as one on a server, and that takes its time."""

    def create_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Make a run after a while."""
        made = super().create_run

        def slowly() -> str:
            time.sleep(3 * LOOK_S)
            return made(name, tags, parent)

        return str(self.make_request(slowly))


def waits_of(request_s: float, corpus: Corpus, data: Path) -> list[tuple[int, float]]:
    store, engine = SlowStore(request_s), Watched()
    spec = tiny_spec(data=str(data), trials=7, **PLAIN)
    given: dict[str, Any] = {"clock": lambda: store.now}
    state = sweep_of(store, corpus, engine, spec, **given).run()
    assert state.counts == {"complete": 7}
    return engine.waits


def test_messages_are_received_before_all_slots_are_filled_if_that_takes_long(
    corpus: Corpus, data: Path
) -> None:
    waits = waits_of(TURN_S, corpus, data)
    assert waits[:3] == [(FEWEST, 0.0), (2 * FEWEST, 0.0), (3 * FEWEST, 0.0)]
    assert waits[-1][0] == 7


def test_a_slot_is_kept_for_a_trial_while_a_server_is_told_of_it(
    corpus: Corpus, data: Path
) -> None:
    engine = Reserving()
    spec = tiny_spec(data=str(data), trials=7, **PLAIN)
    state = sweep_of(FarStore(), corpus, engine, spec).run()
    assert state.counts == {"complete": 7}
    assert (max(engine.kept), engine.unreserved) == (1, [])  # events were received meanwhile
    assert engine.kept[-1] == 0
