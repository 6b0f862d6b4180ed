"""What is written of a sweep and its trials: a spec in several tags, rounds in few requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.device import Device
from lstm_sweep.search.store import journal, reader
from lstm_sweep.search.store.journal import AT_ONCE, MOST_HELD, Dataset, Journal, each_of
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from lstm_sweep.spaces.space import from_mapping

SPACE = from_mapping({"layer_size": [6, 7, 8]}, "test")


def spec_with(trials: int) -> SweepSpec:
    return SweepSpec(space=SPACE, trials=trials)


def run_with(tags: dict[str, str]) -> Any:
    """A sweep's run that has these tags."""
    return SimpleNamespace(
        data=SimpleNamespace(tags={"sweep.name": "s"} | tags), info=SimpleNamespace(run_id="r")
    )


def length(trials: int) -> int:
    return len(json.dumps(spec_with(trials).to_dict() | {"name": "s"}))


@given(st.lists(st.integers(1, 10**18), min_size=2, max_size=4), st.data())
def test_a_spec_is_read_however_long_the_one_before_it_was(
    sizes: list[int], data: st.DataObject
) -> None:
    near = length(data.draw(st.sampled_from(sizes))) + data.draw(st.integers(-2, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "CHUNK", max(1, near // data.draw(st.integers(1, 3))))
        left: dict[str, str] = {}
        kept: dict[str, str] = {}
        for trials in sizes:
            spec = spec_with(trials)
            left |= journal.spec_tags(spec, "s")  # parts of the longer one stay
            kept |= journal.spec_tags(spec, "s", kept)
            for tags in (left, kept):
                assert reader.read_spec(run_with(tags)) == replace(spec, name="s")
            assert "".join(kept[key] for key in kept if key.startswith("sweep.spec.")) == (
                json.dumps(spec.to_dict() | {"name": "s"})
            )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "run r: tag sweep.spec.0 is '{': expected the beginning of a spec in JSON"),
        (
            "[" * 100_000,
            r"run r: tag sweep.spec.0 is '\[+\.\.\..*: expected the beginning of a spec",
        ),
        ('"text"', "run r: tag sweep.spec.0 is '\"text\"': expected the beginning of a spec"),
        ("{}", "sweep 's': its spec has digest"),
    ],
)
def test_what_is_no_spec_is_one_clear_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        reader.written_spec(run_with({"sweep.spec.0": text, "sweep.spec_digest": "0"}))


# --- rounds that a trial goes on from -------------------------------------------------------------


@dataclass
class Opened:
    """A trial whose run is open in a store, and the requests that log something of it."""

    journal: Journal
    store: MemoryStore
    run_id: str
    requests: int = 0

    def after(self, rounds: int, ended: Ended | None = None) -> TrialProgress:
        """The trial after so many rounds, each a little better than the one before."""
        metrics = [{"val_loss": 3.0 - number / 1000, "epoch": number} for number in range(rounds)]
        return TrialProgress(TRIAL, self.run_id, Slot(0), None, metrics, ended=ended)

    @property
    def steps(self) -> list[int]:
        """Rounds whose loss is in the store."""
        return list(self.store.history(self.run_id, "val_loss"))


TRIAL = Trial(sweep="s", number=0, config=TrialConfig(epochs=200), seed=0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    store = MemoryStore()
    parent = store.create_run("s", {"sweep.name": "s"})
    writer = Journal(store, parent, Dataset("words", "0123", "words.txt"), {Tag.NAME: "s"})
    found = Opened(writer, store, writer.open_trial(TRIAL, Device(kind="cpu: one")))
    log = MemoryStore.log

    def counted(self: MemoryStore, run_id: str, **given: Any) -> None:
        found.requests += 1
        log(self, run_id, **given)

    monkeypatch.setattr(MemoryStore, "log", counted)
    return found


def test_rounds_of_a_checkpoint_are_logged_with_the_one_after_them(opened: Opened) -> None:
    for rounds in range(1, 5):
        opened.journal.hold_round(opened.after(rounds))
    assert (opened.requests, opened.steps) == (0, [])
    opened.journal.log_round(opened.after(5))
    assert (opened.requests, opened.steps) == (1, [1, 2, 3, 4, 5])
    opened.journal.log_round(opened.after(6))
    assert (opened.requests, opened.steps) == (2, [1, 2, 3, 4, 5, 6])
    latest = opened.store.run(opened.run_id).data.metrics
    assert latest["val_loss"] == latest["best_val_loss"] == 2.995
    assert (latest["epochs_done"], latest["best_epoch"]) == (6, 6)


def test_no_request_has_more_rounds_than_a_store_takes(opened: Opened) -> None:
    for rounds in range(1, 2 * MOST_HELD + 2):
        opened.journal.hold_round(opened.after(rounds))
    assert (opened.requests, opened.steps, opened.journal.is_behind) == (0, [], True)
    opened.journal.log_next()
    assert (opened.requests, opened.steps) == (3, [*range(1, 2 * MOST_HELD + 2)])
    assert not opened.journal.is_behind


def test_params_that_the_store_refuses_do_not_keep_a_run_from_being_closed(opened: Opened) -> None:
    opened.journal.queue_config(opened.after(0), {"parameters": 12})
    opened.journal.log_next()
    opened.journal.queue_config(opened.after(0), {"parameters": 13})  # which cannot be changed
    with pytest.raises(ValueError):
        opened.journal.log_next()
    opened.journal.close_trial(opened.after(0, Ended(Outcome.LOST)), None, keep=False)
    assert opened.store.run(opened.run_id).info.status == "FAILED"


class Asked:
    """Stands in for a store whose requests have a limit."""

    wait_for_answer = None

    def __init__(self, *, times_out_after: int | None = None) -> None:
        self._left = times_out_after

    @contextmanager
    def limit_request(self) -> Iterator[None]:
        if self._left == 0:
            raise TimeoutError
        self._left = None if self._left is None else self._left - 1
        yield


def test_many_are_asked_for_at_a_time_and_each_once() -> None:
    store: Any = Asked()
    together = threading.Barrier(AT_ONCE, timeout=20)
    asked = list[int]()

    def ask(other: Any, item: int) -> None:
        assert other is not store and other.wait_for_answer is None
        together.wait()  # passes if so many threads are in it
        asked.append(item)

    items = range(3 * AT_ONCE)
    assert sorted(each_of(items, ask, store)) == sorted(asked) == [*items]


def test_what_is_late_is_not_waited_for_and_nothing_more_is_begun() -> None:
    store: Any = Asked(times_out_after=1)
    goes_on, asked = threading.Event(), list[int]()

    def ask(other: Any, item: int) -> None:
        asked.append(item)
        if item:
            goes_on.wait(20)

    done = each_of(range(100), ask, store)
    goes_on.set()
    assert done == [0] and len(asked) <= AT_ONCE + 1
