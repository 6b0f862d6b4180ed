"""Answers are given again for a moment, no user holds others up, each error has a status."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.actions.references import (
    DifferentSearchError,
    QueueFullError,
    ServiceEndsError,
    SweepExistsError,
    SweepRunsError,
)
from lstm_sweep.search.service.answers import (
    OF_ONE_USER,
    READERS,
    WRITERS,
    Answers,
    ProblemError,
    refusal,
    to_json,
)
from lstm_sweep.search.store.cache import Cache
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError


class Asked:
    """Counts how often it is asked, and answers once it may."""

    def __init__(self) -> None:
        self.times = 0
        self.may = threading.Event()
        self.may.set()

    def __call__(self) -> int:
        self.times += 1
        own = self.times
        assert self.may.wait(30)
        return own


class Request:
    """A request of a user, who goes away once `gone` is set."""

    def __init__(self, name: str = "ann") -> None:
        self.state: Any = type("State", (), {"user": type("User", (), {"name": name})})
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """The body, which is empty, and then nothing until the client goes away."""
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def get(answers: Answers, ask: Any, key: str = "key", name: str = "ann") -> Any:
    request: Any = Request(name)
    return await answers.get(request, (key,), ask)


async def until(asked: Asked, times: int) -> None:
    while asked.times < times:
        await asyncio.sleep(0.01)


def test_after_a_change_the_next_answer_is_new_although_another_is_under_way() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(Cache(None), 60.0)
        asked.may.clear()
        before = asyncio.create_task(get(answers, asked))
        await until(asked, 1)
        await answers.change(lambda: None)
        after = asyncio.create_task(get(answers, asked))
        await until(asked, 2)
        asked.may.set()
        assert (await before, await after) == (1, 2)
        assert (await get(answers, asked)) == 2

    asyncio.run(run())


def test_one_user_leaves_threads_to_others() -> None:
    asked, quick = Asked(), Asked()

    async def run() -> None:
        answers = Answers(Cache(None), 60.0)
        asked.may.clear()
        many = [asyncio.create_task(get(answers, asked, str(n))) for n in range(4 * READERS)]
        await until(asked, OF_ONE_USER)
        assert await asyncio.wait_for(get(answers, quick, "a", "bob"), 30) == 1
        assert asked.times == OF_ONE_USER < READERS
        asked.may.set()
        await asyncio.gather(*many)

    asyncio.run(run())


def test_those_who_wait_to_change_one_sweep_leave_threads_to_changes_of_others() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(Cache(None), 60.0)
        asked.may.clear()
        many = [asyncio.create_task(answers.change(asked, "slow")) for _ in range(2 * WRITERS)]
        await until(asked, 1)
        assert await asyncio.wait_for(answers.change(lambda: "made", "other"), 30) == "made"
        assert asked.times == 1
        asked.may.set()
        assert sorted(await asyncio.gather(*many)) == list(range(1, 2 * WRITERS + 1))

    asyncio.run(run())


def test_one_who_goes_away_waits_no_more_and_leaves_the_answer_to_others() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(Cache(None), 60.0)
        asked.may.clear()
        requests: list[Any] = [Request() for _ in range(4)]
        keys = ["first", "first", "waits", "waits"]
        tasks = [
            asyncio.create_task(answers.get(request, (key,), asked))
            for request, key in zip(requests, keys, strict=True)
        ]
        await until(asked, 1)
        for gone in (0, 2, 3):
            requests[gone].gone.set()
            with pytest.raises(ProblemError):
                await tasks[gone]
        asked.may.set()
        assert (await tasks[1]) == 1
        await asyncio.sleep(0.1)
        assert asked.times == 1  # nobody has asked the store for who has gone before its turn

    asyncio.run(run())


def test_any_document_is_valid_json() -> None:
    assert to_json({"a": float("nan"), "b": "\ud800"}) == b'{"a": null, "b": "?"}'


@pytest.mark.parametrize(
    "error, status, name",
    [
        (InputError("no"), 422, "input"),
        (NoSuchRunError("no"), 404, "not-found"),
        (SweepExistsError("no"), 409, "sweep-exists"),
        (SweepRunsError("no"), 409, "sweep-runs"),
        (DifferentSearchError("no"), 409, "different-search"),
        (BadRunError("no"), 409, "unreadable-run"),
        (QueueFullError("no"), 429, "queue-full"),
        (ServiceEndsError("no"), 503, "ending"),
        (StoreError("no"), 503, "store"),
        (NoRoomError("no"), 507, "disk"),
        (ProblemError(507, "no"), 507, "disk"),
    ],
)
def test_each_error_has_a_status(error: Exception, status: int, name: str) -> None:
    answer = refusal(error).response()
    found = json.loads(bytes(answer.body))
    assert (answer.status_code, answer.media_type) == (status, "application/problem+json")
    assert found["type"] == f"urn:lstm-sweep:problem:{name}"
    assert (found["status"], found["detail"]) == (status, "no")
    assert ("retry-after" in answer.headers) is (status in (429, 503))


def test_the_sentence_is_that_of_the_command_line_without_secrets() -> None:
    error = InputError("--size-rule is 'x', see https://me:hunter2@host/\x1b[31m")
    found = json.loads(bytes(refusal(error).response().body))
    assert found["detail"] == "--size-rule is 'x', see https://me:***@host/\\x1b[31m"
