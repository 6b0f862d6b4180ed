"""What the engine makes of what agents say, without Ray; tests of all engines start one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import ray as ray_engine
from lstm_sweep.search.engines import ray_cluster
from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.engines.ray import CONTENT_S, RayEngine, Share
from lstm_sweep.search.engines.ray_agent import Hello, Offering, Report, versions
from lstm_sweep.search.engines.ray_cluster import ALL, Node, Offer, Wanted
from lstm_sweep.search.engines.ray_fleet import Fleet, Leaving, Member
from lstm_sweep.search.engines.slot_sharing import write_quota
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Paused, Slot, Trial

NODE = Node("a", "one", cpus=2, gpus=0)


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    """An agent with two slots, whose methods do nothing."""
    member = Member(Wanted(NODE, 2, 0, 2), mock.Mock(), 0.0)

    class OneAgent(Fleet):
        def begin(self) -> None:
            self._members = [member]
            slots = tuple(Slot(index, core=index, node="one") for index in range(2))
            self.inbox.put((member, Hello(slots, Device(kind="cpu", node="one"), versions(), 1)))

        def close(self) -> None:
            """Nothing runs."""

    monkeypatch.setattr(ray_engine, "Fleet", OneAgent)
    monkeypatch.setattr(ray_cluster, "connect", lambda address: None)
    monkeypatch.setattr(ray_cluster, "disconnect", lambda: None)
    return member


def job(slot: Slot, folder: Path) -> Job:
    trial = Trial(sweep="s", number=slot.index, config=TrialConfig(), seed=0)
    return Job(
        trial=trial, slot=slot, training=CorpusTraining(folder / "no", Scoring(1, 0)), folder=folder
    )


def heard(engine: RayEngine, *said: tuple[Member, Any]) -> list[tuple[Slot, Event]]:
    for one in said:
        engine._fleet.inbox.put(one)
    return list(engine.wait(0.0))


def test_a_trial_on_a_node_that_leaves_ends_before_its_slot_is_lost(
    member: Member, tmp_path: Path
) -> None:
    engine = RayEngine()
    slot, free = engine.slots
    engine.start(job(slot, tmp_path))
    member.leaving = True
    [(where, event)] = heard(engine, (member, Leaving()))
    assert where == free and isinstance(event, SlotLost)
    ended = Ended(Outcome.LOST, "its node leaves")
    assert [type(event) for _, event in heard(engine, (member, Report(1, slot, ended)))] == [
        Ended, SlotLost,
    ]  # fmt: skip


def test_slots_of_a_node_that_is_left_out_are_lost_once_they_are_free_and_come_back(
    member: Member, tmp_path: Path
) -> None:
    engine = RayEngine()
    slot, free = engine.slots
    engine.start(job(slot, tmp_path))
    lost, told = (SlotLost("no room", told=told) for told in (False, True))
    assert heard(engine, (member, Offering(1, Offer(0, "no room")))) == [(free, lost)]
    assert engine.slots == ()
    ended = Ended(Outcome.LOST, "no room", unfinished=True)
    assert heard(engine, (member, Report(2, slot, ended))) == [(slot, ended), (slot, told)]
    assert heard(engine, (member, Offering(3, Offer(1, "no room", told=True)))) == [
        (slot, SlotAdded())
    ]
    engine.start(job(slot, tmp_path))
    assert heard(engine, (member, Offering(4, Offer(0, "no room")))) == []  # the trial goes on
    assert heard(engine, (member, Offering(5, ALL))) == [(free, SlotAdded())]
    ended = Ended(Outcome.COMPLETE)
    assert heard(engine, (member, Report(6, slot, ended))) == [(slot, ended)]
    assert set(engine.slots) == {slot, free}


class NoAnswerError(Exception):
    """Stands in for errors of Ray."""


@pytest.mark.parametrize("lost", ["", "its node has died"], ids=["no answer", "lost"])
def test_a_network_of_an_earlier_stretch_is_not_taken_for_that_of_a_trial_that_has_ended(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    ray = mock.Mock(**{"get.side_effect": NoAnswerError, "exceptions.RayError": NoAnswerError})
    monkeypatch.setitem(sys.modules, "ray", ray)
    engine = RayEngine()
    slot, _ = engine.slots
    begun = job(slot, tmp_path)
    for file in (begun.weights, begun.inputs, begun.checkpoint):
        file.write_bytes(b"of round 3")
    engine.start(begun)
    heard(engine, (member, Report(1, slot, Ended(Outcome.COMPLETE))))
    member.lost = lost
    assert engine.collect(slot) == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == [begun.checkpoint.name]


def test_reports_that_are_missing_end_an_agent(member: Member, tmp_path: Path) -> None:
    engine = RayEngine()
    slot, _ = engine.slots
    engine.start(job(slot, tmp_path))
    heard(engine, (member, Report(2, slot, Ended(Outcome.COMPLETE))))
    assert member.lost == "expected report 1 of its agent, found 2"


def test_slots_that_the_service_takes_back_are_left_once_their_trials_wait(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "r.slots"
    monkeypatch.setenv("LSTM_SWEEP_QUOTA", str(quota))
    monkeypatch.setattr("lstm_sweep.search.engines.slot_sharing.LOOK_S", 0.0)
    ended = list[Member]()

    def schedule(fleet: Fleet, call: Any) -> None:
        ended.append(member)
        call.close()

    monkeypatch.setattr(Fleet, "_schedule", schedule)
    write_quota(quota, 2, "", 0.0)
    engine = RayEngine()
    slot, free = engine.slots
    assert (engine.reserve(slot), engine.surplus(), engine.refusal()) == ("", 0, "")
    engine.start(job(slot, tmp_path))
    write_quota(quota, 0, "waits: 2 sweeps share 1 slot", 0.0)
    assert engine.reserve(free) == engine.refusal() == "waits: 2 sweeps share 1 slot"
    assert engine.surplus() == 1
    assert heard(engine) == [] and not ended  # a trial runs
    paused = Paused("makes room", preempted=True)
    engine.stop(slot, paused)
    assert engine.surplus() == 0
    assert heard(engine, (member, Report(1, slot, paused))) == [(slot, paused)]
    assert heard(engine) == [] and not ended  # its files were not fetched
    engine._uncollected.clear()
    assert {where for where, event in heard(engine) if isinstance(event, SlotLost)} == {slot, free}
    assert (engine.slots, ended) == ((), [member])


class Time:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(file: Path) -> str | None:
    demand = file.with_suffix(".demand")
    return demand.read_text() if demand.exists() else None


def test_a_sweep_that_had_a_slot_too_many_asks_for_no_more_for_a_while(tmp_path: Path) -> None:
    file, clock = tmp_path / "r.slots", Time()
    share = Share(file, clock)
    share.demand_of(2, 2)  # all are used: perhaps more could be
    assert said(file) is None
    share.demand_of(1, 2)
    assert said(file) == "1"
    share.demand_of(1, 1)
    clock.now += CONTENT_S - 1
    share.demand_of(1, 1)
    assert said(file) == "1"
    clock.now += 1
    share.demand_of(1, 1)
    assert said(file) is None
    share.demand_of(1, 2)  # in vain again: now for twice as long
    clock.now += CONTENT_S
    share.demand_of(1, 1)
    assert said(file) == "1"
    share.demand_of(2, 2)  # slots that it still has are of use after all
    assert said(file) is None
