from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.service.answers import Answers
from lstm_sweep.search.service.events import Cursor
from lstm_sweep.search.service.feeds import Feeds
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.store.faults import NoSuchRunError, StoreError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from tests.service_app import Place, use_scripted_engines


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A service with a sweep `s` of three trials."""
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(workplace("feeds"))
    place.launch(data)
    return place


def feeds_of(place: Place, most: int = 10) -> Feeds:
    return Feeds(place.service, Answers(0.0), look_every_s=0.05, most=most)


def names_of(parts: list[bytes]) -> list[str]:
    text = b"".join(parts).decode()
    return [line.partition(": ")[2] for line in text.splitlines() if line.startswith("event: ")]


def test_a_sweep_is_told_and_its_end(place: Place) -> None:
    async def run() -> list[bytes]:
        feeds = feeds_of(place)
        feed = await feeds.open("s")
        parts = [part async for part in feeds.stream(feed, Cursor())]
        feeds.close("s", feed)
        assert feeds.listeners == 0
        return parts

    told = names_of(asyncio.run(run()))
    assert told == [*(["round", "round", "trial"] * 3), "status", "end"]


def test_what_happens_later_is_told_to_all_who_listen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(place.service.settings.store)
    run_id = place.service.status("s").run_id
    store.log(run_id, tags={Tag.STATE: "running"})  # with nobody's lease: broken off
    status = place.service.status
    failing = list[str]()

    def sometimes(name: str) -> Any:
        if failing:
            raise StoreError(failing.pop())
        return status(name)

    monkeypatch.setattr(place.service, "status", sometimes)

    async def listen(feeds: Feeds) -> list[bytes]:
        feed = await feeds.open("s")
        parts = []
        async for part in feeds.stream(feed, Cursor.of(feed.view)):  # type: ignore[arg-type]
            parts.append(part)
        feeds.close("s", feed)
        return parts

    async def run() -> list[list[bytes]]:
        feeds = feeds_of(place)
        monkeypatch.setattr("lstm_sweep.search.sweep.lease.BROKEN_OFF", "running")
        both = [asyncio.create_task(listen(feeds)) for _ in range(2)]
        await asyncio.sleep(0.3)
        failing.append("it does not answer")  # once, and is asked again
        store.log(run_id, tags={Tag.STATE: "finished"})
        return await asyncio.wait_for(asyncio.gather(*both), 60)

    for parts in asyncio.run(run()):
        assert names_of(parts) == ["status", "status", "end"]


def test_whoever_hears_of_an_end_is_given_no_answer_from_before(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, states = place.service.status("s"), ["running"]

    def status(name: str) -> Any:
        return dataclasses.replace(report, state=states[0])

    monkeypatch.setattr(place.service, "status", status)

    async def run() -> list[bytes]:
        answers = Answers(600.0)
        feeds = Feeds(place.service, answers, look_every_s=0.05, most=10)
        feed = await feeds.open("s")
        found = [await answers.get("state", lambda: states[0])]
        states[0] = "finished"
        found.append(await answers.get("state", lambda: states[0]))
        async for _ in feeds.stream(feed, Cursor()):
            pass
        feeds.close("s", feed)
        found.append(await answers.get("state", lambda: states[0]))
        return [one.content for one in found]

    assert asyncio.run(run()) == [b'"running"', b'"running"', b'"finished"']


def test_streams_end_when_the_service_does(place: Place) -> None:
    async def run() -> None:
        feeds = feeds_of(place)
        feed = await feeds.open("s")
        assert feed.view
        feeds.closing = True
        assert names_of([part async for part in feeds.stream(feed, Cursor())]) == []
        with pytest.raises(ProblemError):
            await feeds.open("s")

    asyncio.run(run())


def test_only_so_many_may_listen_and_an_unknown_sweep_is_not_listened_to(place: Place) -> None:
    async def run() -> None:
        feeds = feeds_of(place, most=1)
        with pytest.raises(NoSuchRunError):
            await feeds.open("none")
        feed = await feeds.open("s")
        with pytest.raises(ProblemError) as refused:
            await feeds.open("s")
        assert refused.value.status == 503
        feeds.close("s", feed)
        await feeds.open("s")

    asyncio.run(run())
