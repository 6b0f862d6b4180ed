"""Whatever a client has received, what it is sent next leaves no gap."""

from __future__ import annotations

import base64
import random
import zlib
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.events import (
    LONGEST_ID,
    MOST_IN_RANGES,
    Cursor,
    Event,
    Had,
    SweepView,
    TrialView,
    events_after,
)

#: state, rounds and attempt of each trial, by its number
Told = dict[int, tuple[str, int, int]]


def view(trials: Told, is_under_way: bool = True) -> SweepView:
    made = {
        number: TrialView(
            number=number,
            attempt=attempt,
            state=state,
            losses={n: 3 - n / 10 for n in range(1, rounds + 1)},
            row={"trial": f"s/{number}", "rounds": rounds},
            epochs_per_round=0.5,
            is_final=True,
        )
        for number, (state, rounds, attempt) in trials.items()
    }
    return SweepView(made, {"state": "running"}, is_under_way)


def received(events: list[Event]) -> list[tuple[Any, ...]]:
    return [(e.name, e.data["number"], e.data.get("round", e.data.get("state"))) for e in events]


def test_a_sweep_is_told_from_the_beginning() -> None:
    told = list(events_after(Cursor(), view({0: ("ended", 2, 1), 1: ("running", 1, 1)})))
    assert received(told) == [
        ("round", 0, 1), ("round", 0, 2), ("trial", 0, "ended"),
        ("trial", 1, "running"), ("round", 1, 1),
    ]  # fmt: skip
    assert told[0].data["epoch"] == 0.5 and told[0].data["val_loss"] == 2.9
    assert [event.id for event in told] == ["1;;0:1", "1;;0:2", "1;0;", "1;0;1:0", "1;0;1:1"]


def test_only_what_is_new_is_told() -> None:
    before = view({0: ("ended", 2, 1), 1: ("running", 1, 1)})
    now = view({0: ("ended", 2, 1), 1: ("paused", 2, 1), 2: ("running", 0, 1)})
    cursor = Cursor.read(str(Cursor.of(before)))
    assert received(list(events_after(cursor, now))) == [
        ("trial", 1, "paused"), ("round", 1, 2), ("trial", 2, "running")
    ]  # fmt: skip
    assert list(events_after(cursor, now)) == []


def test_another_attempt_is_told_from_its_beginning() -> None:
    cursor = Cursor.of(view({0: ("ended", 3, 1)}))
    told = list(events_after(cursor, view({0: ("running", 1, 2)})))
    assert received(told) == [("trial", 0, "running"), ("round", 0, 1)]
    assert str(cursor) == "1;;0.2:1"
    list(events_after(cursor, view({0: ("ended", 2, 2)})))
    assert str(cursor) == "1;;0.2:2e"


def test_the_id_of_a_long_sweep_is_short() -> None:
    trials: Told = dict.fromkeys(range(1000), ("ended", 50, 1)) | {1000: ("running", 7, 1)}
    assert str(Cursor.of(view(trials))) == "1;0-999;1000:7"


@pytest.mark.parametrize("of", [2, 3, 7])
def test_the_id_of_a_sweep_with_thousands_of_paused_trials_fits_into_a_header(of: int) -> None:
    rng = random.Random(of)
    told: Told = dict.fromkeys(range(20000), ("ended", 9, 1))
    for number in rng.sample(range(20_000), 20_000 // of):
        told[number] = ("paused", rng.choice([1, 1, 1, 3, 9]), 1)
    cursor = Cursor.of(view(told))
    assert len(str(cursor)) < LONGEST_ID
    assert Cursor.read(str(cursor)) == cursor


def test_an_id_that_would_be_too_long_says_that_all_is_to_be_told_again() -> None:
    rng = random.Random(0)
    others = {number: Had(1, rng.randint(0, 10**6), "paused") for number in range(5_000)}
    assert str(Cursor(others=others)) == "1;;"


TRIALS = st.dictionaries(
    st.integers(0, 8),
    st.tuples(
        st.sampled_from(["running", "paused", "ended"]), st.integers(0, 4), st.integers(1, 3)
    ),
)


@given(TRIALS, st.data())
def test_a_break_anywhere_loses_and_doubles_nothing(trials: Told, data: st.DataObject) -> None:
    whole = list(events_after(Cursor(), view(trials)))
    at = data.draw(st.integers(0, len(whole)))
    cursor = Cursor.read(whole[at - 1].id) if at else Cursor()
    rest = list(events_after(cursor, view(trials)))
    assert [(e.name, e.data) for e in whole[:at] + rest] == [(e.name, e.data) for e in whole]
    assert str(cursor) == str(Cursor.of(view(trials)))


@given(TRIALS, st.booleans(), st.sampled_from([0, 3, 200]))
def test_a_cursor_is_read_as_it_was_written(trials: Told, knows_end: bool, named: int) -> None:
    cursor = Cursor.of(view(trials))
    cursor.knows_end = knows_end
    with mock.patch("lstm_sweep.search.service.events.MOST_NAMED", named):
        assert Cursor.read(str(cursor)) == cursor


def packed(text: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text)).decode()


def test_a_client_knows_of_the_end_until_the_sweep_goes_on() -> None:
    cursor = Cursor.read("1;0;;end")
    assert cursor.knows_end and str(cursor) == "1;0;;end"
    assert list(events_after(cursor, view({0: ("ended", 2, 1)}))) == []  # it is under way
    assert str(cursor) == "1;0;"


@pytest.mark.parametrize(
    "text",
    ["", "1", "2;;", "1;;;end;", "1;;;e", "1;end",
     "1;;;", "1;a;", "1;5-3;", "1;0-9999999;", "1;;1", "1;;1:x", "1;;1:2q",
     "1;" + "1," * 30_000 + ";", "\n", "1;;-1:2", "2;", "2;e", "2;!", "2;eNoD;end;end",
     "1;3,1;", "1;1,1;", "1;0-5,5-9;", "1;" + ",".join(["0-999999"] * 1_000) + ";",
     f"1;0-{MOST_IN_RANGES - 1},{MOST_IN_RANGES + 1};",
     f"2;{packed(b'x')}", f"2;{packed(b':1,' * 9 + b'1:1')}", f"2;{packed(b':1')};"],
)  # fmt: skip
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Last-Event-ID is"):
        Cursor.read(text)
