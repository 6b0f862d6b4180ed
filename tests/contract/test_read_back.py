"""What is read of a sweep from its runs is what its driver knew, however its trials have ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions import sweeps
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver import loop
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.store import reader, writer
from lstm_sweep.search.store.faults import NoAnswerError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Phase, Slot, Trial
from tests.contract.sittings import Listening, after, interrupt
from tests.fakes import ScriptedCluster, ScriptedEngine
from tests.sweeps import PLAIN, sweep_of, tiny_spec

TRIALS, EPOCHS = 8, 4
#: losses of trials, no two alike; each trial has the first few of its own
LOSSES = st.lists(
    st.floats(0.1, 4), min_size=TRIALS * EPOCHS, max_size=TRIALS * EPOCHS, unique=True
)
ROUNDS = st.lists(st.integers(0, EPOCHS), min_size=TRIALS, max_size=TRIALS)
#: how some trials end, without another attempt
ENDS = st.dictionaries(
    st.integers(0, TRIALS - 1),
    st.sampled_from([one for one in Outcome if one.most_attempts(Phase.SEARCH) == 1]),
    max_size=4,
)


def known(attempts: Iterable[Trial]) -> dict[tuple[int, int], tuple[Any, ...]]:
    """What is known of attempts of trials, but for their times."""
    return {
        (one.number, one.attempt): (
            one.planned(),
            one.run_id,
            one.val_losses,
            # one that waited when its sweep was broken off waits again
            one.ended if one.ended and not one.ended.unfinished else None,
            one.best_loss,
        )
        for one in attempts
    }


@settings(
    max_examples=10,
    phases=[Stage.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    losses=LOSSES, rounds=ROUNDS, ends=ENDS, breaks_at=st.none() | st.integers(1, 20),
    halving=st.booleans(), lost=st.integers(0, 2),
)  # fmt: skip
def test_a_sweep_is_read_back_as_its_driver_knew_it(
    losses: list[float],
    rounds: list[int],
    ends: dict[int, Outcome],
    breaks_at: int | None,
    halving: bool,
    lost: int,
    corpus: Corpus,
    data: Path,
) -> None:
    fields = PLAIN | {"halving": halving, "confirm_configs": 2, "confirm_seeds": 2}
    spec = tiny_spec(EPOCHS, data=str(data), trials=TRIALS, max_failures=99, **fields)
    curves = {n: losses[n * EPOCHS :][:each] for n, each in enumerate(rounds)}
    endings = {number: Ended(outcome, "why") for number, outcome in ends.items()}
    watch = after(breaks_at or 10**9, interrupt)
    engine = ScriptedEngine(curves, endings=endings, lose_first=lost, watch=watch)
    store = MemoryStore()
    sweep = sweep_of(store, corpus, engine, spec)
    try:
        state = sweep.run()
    except KeyboardInterrupt:
        state = sweep.state
    check(store, state)


def check(store: MemoryStore, state: SweepState) -> None:
    run = reader.existing_sweep(store, "s")
    findings = read_findings(store, run)
    losses = [loss for _, loss in findings.best_over_time]
    assert losses == [loss for _, loss in state.best_over_time]
    time = findings.time
    assert time and time.to_dict() == pytest.approx(state.time_spent.to_dict(), abs=0.05)
    assert findings.baselines == state.baselines
    live, stored = SweepResult.of(state).to_dict(), sweeps.stored_result(store, run).to_dict()
    for name in ("seconds", "time"):  # of another clock
        del live[name], stored[name]
    for one in (live, stored):
        one["confirmed"].sort(key=str)
    assert stored == live
    past = rebuild(store, run)
    read = past.state
    assert known(read.attempts) == known(state.attempts)
    assert read.seconds == pytest.approx(state.seconds, abs=0.05)
    assert read.slot_seconds == pytest.approx(state.slot_seconds, abs=0.05)
    assert (read.baselines, read.name, read.run_id) == (state.baselines, "s", state.run_id)


# Slots that come and go while a sweep runs


A, B, C = (Slot(index, core=0, node=f"node-{index}") for index in range(3))
#: of trials of three epochs
SLOT_LOSSES = {number: [3.0, 2.9, 2.8 - number / 10] for number in range(12)}
GONE = SlotLost("its node has left the cluster")

Changes = dict[int, list[tuple[Slot, SlotAdded | SlotLost]]]


@pytest.fixture
def display() -> Listening:
    return Listening()


def swept(
    cluster: ScriptedCluster, corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> Sweep:
    """A sweep of six trials that has run on a cluster."""
    spec = tiny_spec(epochs=3, data=str(data), trials=6, **PLAIN)
    sweep = sweep_of(store, corpus, cluster, spec, observer=display, writer=Writer)
    sweep.run()
    assert {run.info.status for run in store.runs()} <= {"FINISHED", "FAILED"}
    assert store.run(sweep.state.run_id).info.status == "FINISHED"
    return sweep


def test_a_trial_whose_slot_is_lost_is_tried_again_on_another(
    corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> None:
    cluster = ScriptedCluster(SLOT_LOSSES, (A, B), {2: [(A, GONE)]})
    sweep = swept(cluster, corpus, data, store, display)
    assert sweep.state.counts == {"complete": 6}
    assert sweep.state.slots == (B,)
    assert [one for one in cluster.started if one[0] == 0] == [(0, 1, A), (0, 2, B)]
    [lost] = store.runs({Tag.OUTCOME: "lost"})
    assert (lost.data.tags[Tag.TRIAL], lost.data.tags[Tag.REASON]) == ("0", GONE.reason)
    assert display.told == ["node-0, core 0 is lost: its node has left the cluster"]


def test_a_sweep_without_any_slot_waits_for_one(
    corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> None:
    changes: Changes = {2: [(A, GONE)], 9: [(B, SlotAdded())]}
    cluster = ScriptedCluster(SLOT_LOSSES, (A,), changes)
    sweep = swept(cluster, corpus, data, store, display)
    assert sweep.state.counts == {"complete": 6}
    assert {slot for _, _, slot in cluster.started[1:]} == {B}
    assert display.told[1:] == ["no slot is left: waiting for one"]


@pytest.mark.parametrize("back", [False, True], ids=["gone", "and back"])
def test_slots_may_be_lost_while_the_store_is_away(
    corpus: Corpus,
    data: Path,
    store: MemoryStore,
    display: Listening,
    monkeypatch: pytest.MonkeyPatch,
    back: bool,
) -> None:
    asked, heard, create_run = threading.Event(), threading.Event(), store.create_run
    monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(loop, "TURN_S", 60.0)  # so that all begin before a slot is lost

    class Cluster(ScriptedCluster):
        def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
            events = super().wait(timeout_s)
            if self._waits > 3 and asked.wait(60):
                heard.set()
            return events

    def create_later(name: str, tags: Mapping[str, str], *more: Any) -> str:
        if tags.get(Tag.TRIAL) == "1" and not heard.is_set():
            asked.set()
            raise NoAnswerError("memory", "nobody there")
        return create_run(name, tags, *more)

    store.create_run = create_later  # type: ignore[method-assign, assignment]
    came = [(B, SlotAdded()), (C, SlotAdded())] if back else []
    cluster = Cluster(SLOT_LOSSES, (A, B, C), {1: [(B, GONE), (C, GONE), *came]})
    sweep = swept(cluster, corpus, data, store, display)
    assert sweep.state.counts == {"complete": 6}
    assert [attempt for number, attempt, _ in cluster.started if number == 1] == [1, 2]
    assert "the store does not answer, waiting: nobody there" in display.told
    names = [run.info.run_name for run in store.runs({Tag.TRIAL: "1"})]
    assert names == ["s/1", "s/1 (attempt 2)"]


def test_a_trial_that_loses_its_slot_each_time_is_given_up(
    corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> None:
    changes: Changes = {wait: [(A, GONE), (A, SlotAdded())] for wait in (2, 3, 4)}
    sweep = swept(ScriptedCluster(SLOT_LOSSES, (A,), changes), corpus, data, store, display)
    assert sweep.state.counts == {"complete": 5, "lost": 1}


def test_who_has_the_best_loss_and_no_weights_is_named(
    corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> None:
    class Dying(ScriptedCluster):
        def collect(self, slot: Slot) -> Path:
            folder = super().collect(slot)
            if folder.name == "5":
                (folder / "model.keras").unlink()
            return folder

    sweep = swept(Dying(SLOT_LOSSES, (A,), {}), corpus, data, store, display)
    assert sweep.state.best and sweep.state.best.number == 5
    assert Tag.WEIGHTS not in store.tags(sweep.state.best.run_id)
    assert display.told == [
        "s/5 has no weights: its files could not be had from node-0, core 0; its rerun has them"
    ]


class BadNode(ScriptedCluster):
    """No trial can begin on `B`, which is left out for a while each time that one is tried."""

    reason = "its corpus did not come: OSError: [Errno 28] No space left on device"

    def start(self, job: Job) -> None:
        """It ends at once."""
        super().start(job)
        if job.slot == B:
            self._saying[B] = [Ended(Outcome.LOST, self.reason, unfinished=True)]

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """The slot is lost, and comes back later."""
        heard = [*super().wait(timeout_s)]
        if any(slot == B and isinstance(event, Ended) for slot, event in heard):
            self.slots = tuple(slot for slot in self.slots if slot != B)
            heard.append((B, SlotLost(self.reason, told=bool(self._changes))))
            self._changes[self._waits + 2] = [(B, SlotAdded())]
        return heard


def test_a_node_on_which_no_trial_can_begin_costs_no_trial_and_is_named_once(
    corpus: Corpus, data: Path, store: MemoryStore, display: Listening
) -> None:
    cluster = BadNode(SLOT_LOSSES | {0: [3.0] * 30}, (A, B), {})
    sweep = swept(cluster, corpus, data, store, display)
    assert sweep.state.counts == {"complete": 6}
    tried = [attempt for number, attempt, slot in cluster.started if (number, slot) == (1, B)]
    assert tried == list(range(1, len(tried) + 1)) and len(tried) > 3
    assert display.told == [f"node-1, core 0 is lost: {cluster.reason}"]
