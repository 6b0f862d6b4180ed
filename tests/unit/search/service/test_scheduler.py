"""Slots given to sweeps: single cases, and properties over random loads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.search.service.scheduler import TURN_S, QueuedJob, Turns, allot

STEP_S = 10.0


def sweep(name: str, **fields: object) -> QueuedJob:
    """A sweep that was submitted in the order of names, and has no slot yet."""
    usual = {
        "owner": "ann", "priority": 0, "submitted": float(ord(name[0])), "since": 0.0, "held": 0,
        "wanted": 4,
    }  # fmt: skip
    given = {**usual, **fields}
    return QueuedJob(run_id=name, **{"owner_since": given["since"], **given})  # type: ignore[arg-type]


def shares(*sweeps: QueuedJob, slots: int, now: float = 0.0, **more: int) -> dict[str, int]:
    """Slots by the name of the sweep."""
    return {one.run_id: one.slots for one in allot(sweeps, slots, now, **more)}


def test_a_user_gives_way_after_a_turn_whichever_of_its_sweeps_had_it() -> None:
    ann = {"owner_since": 0.0}
    old, next_one = sweep("a", since=0.0, **ann), sweep("b", held=1, since=TURN_S - 50, **ann)
    bob = sweep("c", owner="bob", since=10.0)
    assert shares(old, next_one, bob, slots=1, now=TURN_S - 1) == {"a": 0, "b": 1, "c": 0}
    assert shares(old, next_one, bob, slots=1, now=TURN_S) == {"a": 0, "b": 0, "c": 1}
    # nothing is gained by sweeps that wait for longer than those of others
    ended = [replace(one, held=0, owner_since=60.0) for one in (old, next_one)]
    assert shares(*ended, bob, slots=1, now=60.0) == {"a": 0, "b": 0, "c": 1}


def test_the_first_one_that_waits_gets_the_slot_of_a_turn_that_is_over() -> None:
    a, b = sweep("a", held=1, since=0.0), sweep("b", since=5.0)
    c = sweep("c", since=4.0)
    assert shares(a, b, c, slots=1, now=TURN_S - 1) == {"a": 1, "b": 0, "c": 0}
    assert shares(a, b, c, slots=1, now=TURN_S) == {"a": 0, "b": 0, "c": 1}


@pytest.mark.parametrize(
    "sweeps, slots, more, why",
    [
        ([sweep("a", held=1), sweep("b", held=1), sweep("c")], 2, {},
         "waits: 3 sweeps share 2 slots; about 5 min"),
        ([sweep("a", priority=2), sweep("c")], 2, {}, "waits: 1 sweep has a higher priority"),
        ([sweep("a", priority=2, left_s=718.5), sweep("c")], 2, {},
         "waits: 1 sweep has a higher priority; about 12 min"),
        ([sweep("a"), sweep("c")], 2, {}, "has 1 of 4 slots: 2 sweeps share 2 slots"),
        ([sweep("a"), sweep("c", owner="bob")], 2, {},
         "has 1 of 4 slots: 2 sweeps of 2 users share 2 slots"),
        ([sweep("c")], 2, {"most_per_user": 1},
         "has 1 of 4 slots: user ann has as many slots as one user may"),
        ([sweep("c")], 0, {}, "waits: there is no slot"),
        ([sweep("c")], 4, {}, ""),
    ],
)  # fmt: skip
def test_each_state_says_its_reason(
    sweeps: list[QueuedJob], slots: int, more: dict[str, int], why: str
) -> None:
    found = {one.run_id: one.sentence for one in allot(sweeps, slots, 1.0, **more)}
    assert found["c"] == why


def expected(*sweeps: QueuedJob, slots: int, **more: int) -> dict[str, str]:
    """What is said of when each sweep that waits gets a slot."""
    found = allot(sweeps, slots, 100.0, **more)
    return {one.run_id: one.sentence.partition("; about ")[2] for one in found if not one.slots}


def test_each_sweep_that_waits_has_an_estimate_of_its_own() -> None:
    a, b = sweep("a", held=1, since=40.0), sweep("b", held=1, since=70.0, left_s=20.0)
    waiting = [sweep(name, since=90.0) for name in "cdef"]
    # b ends, the turn of a is over, and then those of c and d are
    assert expected(a, b, *waiting, slots=2) == {"c": "20 s", "d": "4 min", "e": "5 min",
                                                 "f": "9 min"}  # fmt: skip


def test_a_sweep_that_waits_for_its_own_user_is_told_when_that_one_ends() -> None:
    a, b = sweep("a", held=1, since=0.0, left_s=60.0), sweep("b", since=0.0)
    c = sweep("c", owner="bob", held=1, left_s=10.0, since=0.0)
    assert expected(a, b, c, slots=2, most_per_user=1) == {"b": "1 min"}


def test_nothing_is_said_of_what_nobody_can_tell() -> None:
    high = sweep("a", priority=1, held=2, since=0.0)
    assert expected(high, sweep("b"), slots=2) == {"b": ""}


@dataclass
class Load:
    """A sweep of a simulation: when it comes, and how much there is to do, in slot-seconds."""

    one: QueuedJob
    work: float
    longest_wait: float = 0.0


loads = st.lists(
    st.tuples(
        st.integers(0, 2_000),  # when it is submitted
        st.integers(10, 6_000),  # work
        st.integers(1, 6),  # wanted
        st.sampled_from(["ann", "bob", "cy"]),
        st.integers(0, 1),  # priority
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=20)
@given(loads, st.integers(1, 5), st.sampled_from([None, 1, 2]), st.booleans())
def test_random_loads_leave_no_slot_idle_share_evenly_and_starve_nobody(
    drawn: list[tuple[int, int, int, str, int]],
    slots: int,
    most_per_user: int | None,
    with_priorities: bool,
) -> None:
    waiting = [
        Load(
            QueuedJob(
                run_id=f"s{number}", owner=owner, priority=priority if with_priorities else 0,
                submitted=float(at), wanted=wanted,
            ),
            float(work),
        )
        for number, (at, work, wanted, owner, priority) in enumerate(drawn)
    ]  # fmt: skip
    now, done, turns = 0.0, list[Load](), Turns()
    while waiting:
        here = [load for load in waiting if load.one.submitted <= now]
        for load in here:
            if load.one.run_id not in turns.since:
                turns.remember(load.one.run_id, now, None)
        found = turns.share_out(
            [load.one for load in here], [], slots, now, most_per_user=most_per_user
        )
        given_to = {one.run_id: one.slots for one in found}
        _check(here, given_to, slots, most_per_user)
        for load in here:
            if not given_to[load.one.run_id]:
                load.longest_wait = max(load.longest_wait, now - turns.since[load.one.run_id])
            load.work -= given_to[load.one.run_id] * STEP_S
        for load in [load for load in waiting if load.work <= 0]:
            done.append(load)
            waiting.remove(load)
            turns.forget(load.one.run_id)
        now += STEP_S
    assert now <= 2_000 + sum(work for _, work, *_ in drawn) + STEP_S * (len(drawn) + 1)
    if most_per_user is None and not with_priorities:
        users = len({load.one.owner for load in done})
        bound = (TURN_S + STEP_S) * (1 + math.ceil(users / slots)) * (1 + len(done))
        assert max(load.longest_wait for load in done) <= bound


def _check(
    here: list[Load], given_to: dict[str, int], slots: int, most_per_user: int | None
) -> None:
    """Nothing is idle that somebody may use, and users of one priority are within one slot."""
    ones = [load.one for load in here]
    used = {one.owner: 0 for one in ones}
    for one in ones:
        assert 0 <= given_to[one.run_id] <= one.wanted
        used[one.owner] += given_to[one.run_id]
    limit = slots if most_per_user is None else most_per_user
    assert max(used.values(), default=0) <= limit
    short = [o for o in ones if given_to[o.run_id] < o.wanted and used[o.owner] < limit]
    assert sum(given_to.values()) <= slots
    assert not short or sum(given_to.values()) == slots
    for one in short:
        same = [o for o in ones if o.priority == one.priority]
        own = [o for o in same if o.owner == one.owner]
        assert max(given_to[o.run_id] for o in own) <= given_to[one.run_id] + 1
        of_own = sum(given_to[o.run_id] for o in own)
        by_owner = {
            o.owner: sum(given_to[p.run_id] for p in same if p.owner == o.owner) for o in same
        }
        assert max(by_owner.values()) <= of_own + 1
        assert all(given_to[o.run_id] == 0 for o in ones if o.priority < one.priority)
