"""What is written of a sweep and its trials: a spec in several tags, rounds in few requests."""

from __future__ import annotations

import errno
import sqlite3
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import NoAnswerError, StoreError, reported
from lstm_sweep.search.store.journal import Dataset, Journal
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import now_ms
from lstm_sweep.search.values.trial import Device, Ended, Outcome, Trial
from tests.sweeps import LateWriter


def run_with(tags: dict[str, str]) -> Any:
    """A sweep's run that has these tags."""
    return SimpleNamespace(
        data=SimpleNamespace(tags={"sweep.name": "s"} | tags), info=SimpleNamespace(run_id="r")
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


class LogCounted(MemoryStore):
    """Counts the requests that log something."""

    requests = 0

    def log(self, run_id: str, **given: Any) -> None:
        self.requests += 1
        super().log(run_id, **given)


TRIAL = Trial(sweep="s", number=0, config=TrialConfig(epochs=200), seed=0)


class Opened:
    """A trial that is begun, of which nothing is written before that is waited for."""

    def __init__(self) -> None:
        self.store = LogCounted()
        self.writer = LateWriter(self.store, Interrupts(), print)
        parent, data = self.store.create_run("s", {}), Dataset("words", "0123", "words.txt")
        self.journal = Journal(self.writer, parent, data, {Tag.NAME: "s"})
        self.journal.open_trial(TRIAL, Device(kind="cpu: one"), {"parameters": 12})

    def after(self, rounds: int, ended: Ended | None = None) -> Trial:
        """The trial after so many rounds, each a little better than the one before."""
        metrics = [{"val_loss": 3.0 - number / 1000, "epoch": number} for number in range(rounds)]
        return replace(TRIAL, rounds=metrics, ended=ended)

    @property
    def run(self) -> Any:
        [found] = self.store.runs({Tag.TRIAL: "0"})
        return found

    @property
    def steps(self) -> list[int]:
        """Rounds whose loss is in the store."""
        return list(self.store.history(self.run.info.run_id, "val_loss"))


@pytest.fixture
def opened() -> Opened:
    return Opened()


def test_rounds_that_wait_are_logged_in_one_request_with_params(opened: Opened) -> None:
    for rounds in range(1, 6):
        opened.journal.log_round(opened.after(rounds))
    opened.writer.drain()
    assert (opened.store.requests, opened.steps) == (1, [1, 2, 3, 4, 5])
    opened.journal.log_round(opened.after(6), soon=False)
    opened.writer.drain()
    assert opened.store.requests == 1
    opened.journal.close_trial(opened.after(6, Ended(Outcome.COMPLETE)), None, keep=False)
    opened.writer.drain()
    assert (opened.store.requests, opened.steps) == (2, [1, 2, 3, 4, 5, 6])
    data = opened.run.data
    assert data.metrics["val_loss"] == data.metrics["best_val_loss"] == 2.995
    assert (data.metrics["epochs_done"], data.metrics["best_epoch"]) == (6, 6)
    assert (data.params["parameters"], opened.run.info.status) == ("12", "FINISHED")


def test_what_the_store_refuses_does_not_keep_a_run_from_being_closed(opened: Opened) -> None:
    opened.writer.drain()
    opened.journal._runs[0, 1].params = {"parameters": 13}  # which cannot be changed
    opened.journal.log_round(opened.after(1))
    opened.journal.close_trial(opened.after(1, Ended(Outcome.LOST)), None, keep=False)
    with pytest.raises(ValueError):
        opened.writer.drain()
    opened.writer.again(without_first=True)
    opened.writer.drain()
    assert (opened.run.info.status, opened.steps) == ("FAILED", [1])


def test_a_trial_without_a_run_keeps_nothing_from_being_written(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> str:
        raise InputError("a tag is too long")

    monkeypatch.setattr(opened.store, "create_run", refuse)
    second = replace(TRIAL, number=1)
    opened.journal.open_trial(second, Device(kind="cpu: one"), {})
    progress = replace(second, ended=Ended(Outcome.LOST))
    opened.journal.close_trial(progress, None, keep=False)
    opened.journal.log_progress(1, None)
    with pytest.raises(InputError):
        opened.writer.drain()
    assert opened.journal.unclosed == {(0, 1), (1, 1)}


class RestError(Exception):
    """Looks like an answer of a server to MLflow's client."""

    def __init__(self, status: int, text: str = "no") -> None:
        super().__init__(text)
        self._status = status

    def get_http_status_code(self) -> int:
        return self._status


class OperationalError(Exception):
    """Bears the name that databases' drivers use."""


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


UNANSWERED = r"^store here does not answer: .*; expected one that does: try again when it runs"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        *(
            (error, NoAnswerError, UNANSWERED)
            for error in (
                ConnectionRefusedError("nobody there"),
                ConnectionResetError(),
                TimeoutError(),
                OperationalError("could not connect to server"),
                wrapped(ConnectionRefusedError()),
                RestError(503),
                RestError(502),
                RestError(429),
                Exception("API request to http://x failed with exception Max retries exceeded"),
                sqlite3.OperationalError("database is locked"),
            )
        ),
        (OSError(errno.ENOSPC, "No space left on device"), StoreError, "no space left"),
        (RestError(401, "API request to /x"), StoreError, "^store here: it .*name and the p"),
        (RestError(403, "API request to /x"), StoreError, "^store here: it .*not allow"),
        *((RestError(status), RestError, "no") for status in (400, 404, 500)),
        (ValueError("x"), ValueError, "^x$"),
    ],
    ids=repr,
)
def test_what_fails_is_waited_for_reported_or_not_of_the_store(
    error: Exception, kind: type[Exception], said: str
) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(kind, match=said) as caught:
        reported(ask, "here")
    assert type(caught.value) is kind


def test_the_time_does_not_follow_a_clock_that_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = now_ms()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert now_ms() >= before > 1e12
