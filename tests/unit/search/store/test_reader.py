"""Runs of the attempts of trials, of which a server may have made some twice."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.read_back import (
    best_loss_history,
    gains,
    read_curve,
    with_rounds,
)
from lstm_sweep.search.store import memory
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.reader import TrialRecord, apart, find_trial, last_attempts, read_trial
from lstm_sweep.search.store.registry import check_name, compare
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Outcome, round_seconds


def a_run(
    run_id: str, number: int, attempt: int, *, written: bool = True, **more: Any
) -> TrialRecord:
    """The record of an attempt; a driver has `written` to its run."""
    ended = Ended(Outcome.STOPPED, unfinished=more.get(Tag.UNFINISHED) == "yes")
    return TrialRecord(
        sweep="s",
        number=number,
        config=TrialConfig(),
        seed=0,
        attempt=attempt,
        run_id=run_id,
        ended=ended,
        tags=Tags.of(run_id, more),
        is_written=written,
    )


def ids(runs: Any) -> list[str]:
    return [record.run_id for record in runs]


def test_of_two_runs_of_an_attempt_the_one_counts_that_its_driver_has_written_to() -> None:
    runs = [a_run("a", 1, 1), a_run("b", 1, 1, written=False), a_run("c", 0, 1)]
    for given in (runs, runs[::-1]):
        own, doubles = apart(given)
        assert (sorted(ids(own)), ids(doubles)) == (["a", "c"], ["b"])
        last = last_attempts(given, "running")
        assert {number: one.run_id for number, one in last.items()} == {0: "c", 1: "a"}


@pytest.mark.parametrize(
    "state, expected",
    [
        *((state, "paused") for state in ("running", "queued", "paused")),
        *((state, "stopped") for state in ("stopped", "interrupted", "finished")),
    ],
)
def test_a_trial_that_ended_with_its_sweep_waits_while_the_sweep_goes_on(
    state: str, expected: str
) -> None:
    tags: dict[str, Any] = {Tag.UNFINISHED: "yes"}
    runs = [a_run("a", 0, 1, **tags), a_run("b", 1, 1)]
    assert [one.state for one in last_attempts(runs, state).values()] == [expected, "stopped"]
    first = last_attempts(runs, state)[0].to_dict()
    assert first["outcome"] == (None if expected == "paused" else "stopped")


def test_the_beginning_of_an_id_names_a_trial_however_many_newer_runs_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = (f"abcd{number:028x}" for number in itertools.count())
    monkeypatch.setattr(
        memory, "uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=next(ids)))
    )
    store = MemoryStore()
    tags = {
        Tag.FORMAT: str(FORMAT), Tag.NAME: "s", Tag.TRIAL: "0", Tag.SEED: "0", Tag.DATA: "{}",
        Tag.PHASE: "search", Tag.CONFIG: json.dumps(TrialConfig().to_dict()),
    }  # fmt: skip
    run_id = store.create_run("s/0", tags)
    for number in range(6):
        store.create_run("b", {Tag.BASELINE: str(number)})
    assert find_trial(store, "abcd").run_id == run_id
    for number in range(6):
        store.create_run(f"s/{number}", tags)
    with pytest.raises(InputError, match="expected more of one of these run IDs: ") as refused:
        find_trial(store, "abcd")
    assert str(refused.value).count("(s/") == 5
    with pytest.raises(NoSuchRunError):
        find_trial(store, "____")


OURS = {Tag.CORPUS_DIGEST: "d", Tag.SCORING: '{"targets": 9, "seed": 1}', Tag.MODEL_LOSS: "1.5"}


def changed(**tags: str | None) -> dict[str, str]:
    """Tags like those with others, or without those that are None."""
    given = OURS | {getattr(Tag, name): text for name, text in tags.items()}
    return {tag: text for tag, text in given.items() if text is not None}


LOWER, EQUAL = (
    f"its loss 1.5000 is {how} of version 2" for how in ("below 9.0000", "not below 1.5000")
)
OTHER = "not compared with version 2: that was scored on other data or targets"
UNKNOWN = "not compared with version 2: what one of them was scored on is not known"


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ({}, {}, LOWER),
        ({"SCORING": None}, {"SCORING": None}, LOWER),  # as of classes
        ({"MODEL_LOSS": "1.5"}, {}, EQUAL),
        ({"CORPUS_DIGEST": "e"}, {}, OTHER),
        ({"SCORING": "{}"}, {}, OTHER),
        ({}, {"SCORING": None}, OTHER),
        ({"CORPUS_DIGEST": None}, {}, UNKNOWN),
    ],
)
def test_a_version_is_better_if_its_loss_on_the_same_targets_is_lower(
    theirs: dict[str, str | None], ours: dict[str, str | None], why: str
) -> None:
    other = changed(**({"MODEL_LOSS": "9"} | theirs))
    assert compare(2, other, changed(**ours)) == (why == LOWER, why)


@pytest.mark.parametrize("loss", ["", "low", None])
def test_a_loss_that_is_none_is_named(loss: str | None) -> None:
    with pytest.raises(BadRunError, match=r"version 7: tag sweep\.model_loss is .* a loss"):
        compare(7, changed(MODEL_LOSS=loss), OURS)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", ".", "..", "a\n", "n" * 251, 3, None])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InputError, match=r"register is .*: expected the name of a model") as error:
        check_name(name)
    assert str(error.value).startswith("--register is ")


NAN = math.nan
NO_STORE = cast("Store", None)


def record_with(curve: str, **more: str) -> Any:
    """The record of a trial whose run has this curve, and more tags."""
    tags = Tags.of("r", {Tag.CURVE: curve} | more)
    return SimpleNamespace(run_id="r", logged_rounds=2, tags=tags)


@pytest.mark.parametrize("seconds", ["NaN", "1e308", "1e999", "-2", "0", "true", "null", "9" * 400])
def test_a_time_that_cannot_be_added_up_is_left_out(seconds: str) -> None:
    found = read_curve(NO_STORE, record_with(f"[[2.5, {seconds}], [2.0, 3.5]]"))
    assert found == [{"val_loss": 2.5}, {"val_loss": 2.0, "round_seconds": 3.5}]
    assert sum(round_seconds(found)) == 3.5


@pytest.mark.parametrize("text", ["[0.25]", '["a", "b"]', "[NaN, 1]", "{}"])
def test_seconds_of_scoring_that_are_none_are_refused(text: str) -> None:
    record = record_with("[[2.5, 1.0], [2.0, 3.5]]", **{Tag.SCORING_SECONDS: text})
    with pytest.raises(BadRunError, match=f"tag {Tag.SCORING_SECONDS} is "):
        read_curve(NO_STORE, record)


def sweep_begun(ms: int, **tags: str) -> Any:
    """The run of a sweep that was made at this time, with a best loss."""
    info, metrics = SimpleNamespace(run_id="r", start_time=ms), {"best_val_loss": 1.2}
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags, params={}, metrics=metrics))


@pytest.mark.parametrize(
    "logged, expected",
    [
        ([], []),
        ([(0, 5, NAN)], []),
        ([(0, 5, 3.0), (0, 7, 2.0), (1, 9, 2.0)], [(5, 3.0), (7, 2.0)]),
        # infinite, and beyond what may be compared
        ([(0, 5, math.inf), (0, 6, -1e200), (0, 7, 2.0), (1, 8, -math.inf)], []),
        # the trial with 1.5 has failed; another one is better later
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 3.0), (1, 8, 1.2)], [(5, 3.0), (8, 1.2)]),
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 2.0)], [(5, 3.0), (7, 2.0)]),
        ([(0, 5, 1.5), (1, 7, NAN), (1, 8, 2.0)], [(8, 2.0)]),
        # it was broken off, and goes on
        ([(0, 5, 3.0), (0, 6, 1.5), (1, 7, 3.0), (1, 9, 1.5)], [(5, 3.0), (9, 1.5)]),
        # within a millisecond, in the order of a database
        ([(0, 5, 1.0), (0, 5, 2.0), (0, 5, 3.0)], [(5, 3.0), (5, 2.0), (5, 1.0)]),
        # the clock of the second driver is behind
        ([(1, 90, 1.5), (0, 100, 2.0)], [(100, 2.0), (90, 1.5)]),
    ],
)
def test_gains_are_the_losses_that_were_best_and_stayed(
    logged: list[tuple[int, int, float]], expected: list[tuple[int, float]]
) -> None:
    assert gains(logged) == expected


def test_times_never_go_back() -> None:
    logged = ((0, 1_100_000, 2.0), (1, 1_050_000, 1.5), (1, 1_150_000, 1.2))
    store: Any = SimpleNamespace(timeline=lambda run_id, key: logged)
    for driven, last in ((120.0, 120.0), (0.0, 150.0)):  # 0: nobody knows for how long yet
        expected = ((100.0, 2.0), (100.0, 1.5), (last, 1.2))
        assert best_loss_history(store, sweep_begun(1_000_000), driven) == expected


@pytest.mark.parametrize(
    ("status", "end_s", "tags", "seconds"),
    [
        ("FINISHED", 9.5, {}, 9.5),
        ("FINISHED", -1.0, {}, 0.0),  # the clock was put back
        ("FINISHED", 600.0, {Tag.SECONDS: "8.25"}, 8.25),  # it has waited
        ("RUNNING", None, {}, 7.0),
        ("RUNNING", None, {Tag.SECONDS: "4.5"}, 7.0),
        ("RUNNING", None, {Tag.SECONDS: "9.5"}, 9.5),
        ("KILLED", 9.5, {Tag.OUTCOME: "lost"}, 9.5),  # its worker died
        # its driver died long before its run was closed
        ("KILLED", 72_000.0, {Tag.OUTCOME: "lost", Tag.DRIVER_DIED: "yes"}, 7.0),
    ],
)
def test_a_trial_took_the_time_for_which_it_had_a_slot(
    status: str, end_s: float | None, tags: dict[str, str], seconds: float
) -> None:
    rounds: list[dict[str, float]] = [{"val_loss": 2.0, "round_seconds": 3.0}]
    rounds += [{"val_loss": 1.5, "round_seconds": 4.0}]
    curve = json.dumps([list(one.values()) for one in rounds])
    written = {
        Tag.FORMAT: str(FORMAT), Tag.NAME: "s", Tag.TRIAL: "1", Tag.SEED: "1", Tag.CURVE: curve,
        Tag.PHASE: "search", Tag.DATA: "{}", Tag.CONFIG: json.dumps(TrialConfig().to_dict()),
    }  # fmt: skip
    began = 100_000
    end = None if end_s is None else began + round(end_s * 1000)
    info = SimpleNamespace(run_id="r", status=status, start_time=began, end_time=end)
    data = SimpleNamespace(tags=written | tags, params={}, metrics={})
    record = read_trial(SimpleNamespace(info=info, data=data))
    assert with_rounds(NO_STORE, record).seconds == seconds
    if status == "RUNNING" and not tags:  # rounds of an earlier attempt are not its own
        assert with_rounds(NO_STORE, record, before=rounds[:1]).seconds == 4.0
