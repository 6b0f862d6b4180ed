from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lstm_sweep.search.service.answers import Answer, Answers, to_json


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


async def many(answers: Answers, ask: Callable[[], Any], count: int) -> list[Answer]:
    return await asyncio.gather(*(answers.get("key", ask) for _ in range(count)))


def test_many_who_ask_at_once_cost_one_look() -> None:
    asked, now = Asked(), [0.0]

    async def run() -> None:
        answers = Answers(1.0, lambda: now[0])
        assert {answer.content for answer in await many(answers, asked, 50)} == {b"1"}
        now[0] = 0.9
        assert {answer.content for answer in await many(answers, asked, 50)} == {b"1"}
        now[0] = 1.1  # the old one is given, while the next one is looked for
        assert {answer.content for answer in await many(answers, asked, 50)} == {b"1"}
        while asked.times < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert {answer.content for answer in await many(answers, asked, 50)} == {b"2"}
        now[0] = 60.0  # but not a very old one
        assert {answer.content for answer in await many(answers, asked, 50)} == {b"3"}

    asyncio.run(run())
    assert asked.times == 3


def test_after_a_change_the_next_answer_is_new_although_another_is_under_way() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(60.0)
        asked.may.clear()
        before = asyncio.create_task(answers.get("key", asked))
        while not asked.times:
            await asyncio.sleep(0.01)
        await answers.change(lambda: None)
        after = asyncio.create_task(answers.get("key", asked))
        await asyncio.sleep(0)
        asked.may.set()
        assert ((await before).content, (await after).content) == (b"1", b"2")
        assert (await answers.get("key", asked)).content == b"2"

    asyncio.run(run())


def test_one_who_goes_away_leaves_the_answer_to_the_others() -> None:
    asked = Asked()

    async def run() -> None:
        answers = Answers(60.0)
        asked.may.clear()
        gone, waits = (asyncio.create_task(answers.get("key", asked)) for _ in range(2))
        while not asked.times:
            await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        asked.may.set()
        assert (await waits).content == b"1"

    asyncio.run(run())


def test_an_error_is_given_to_all_who_ask() -> None:
    def fails() -> None:
        raise ValueError("no")

    async def run() -> None:
        answers = Answers(60.0)
        for _ in range(2):
            with pytest.raises(ValueError, match="no"):
                await answers.get("key", fails)

    asyncio.run(run())


def test_any_document_is_valid_json() -> None:
    assert to_json({"a": float("nan"), "b": "\ud800"}) == b'{"a": null, "b": "?"}'
