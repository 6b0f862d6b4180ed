"""Streams of events: how all stands, then what changes; who comes back is told all again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers

from lstm_sweep.search.actions.connection import Connection, Event, events, parsed
from lstm_sweep.search.actions.watched import Watched
from lstm_sweep.search.cli.progress import JsonLines
from lstm_sweep.search.service import events as module
from lstm_sweep.search.service.answers import Answers, ProblemError
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.events import (
    Feeds,
    SweepView,
    TrialView,
    events_between,
    in_parts,
)
from lstm_sweep.search.service.routes import sweeps as route
from lstm_sweep.search.service.settings import Limits, Role
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import Cache
from lstm_sweep.search.store.faults import NoSuchRunError, StoreError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec
from tests.service_app import API, Place, use_scripted_engines

#: what is told of a sweep of three trials of two rounds by who was told nothing
ALL = Counter({"trial_started": 3, "round": 6, "trial_ended": 3})


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], data: Path) -> Iterator[Place]:
    """A service with a sweep `s` of three trials, which has ended."""
    with pytest.MonkeyPatch.context() as patch:
        use_scripted_engines(patch)
        made = Place.in_folder(workplace("events"))
        made.launch(data)
        yield made


async def allowed() -> bool:
    return True


def feeds_of(place: Place, **limits: int) -> Feeds:
    return Feeds(
        place.service,
        Answers(Cache(), 0.0),
        Limits(**limits),
        told=lambda report: report,
        look_every_s=0.05,
    )


def read(parts: list[bytes]) -> list[Event]:
    return list(parsed(b"".join(parts).decode().split("\n")))


async def listen(feeds: Feeds, is_allowed: Any = allowed) -> list[Event]:
    view = await feeds.open("s")
    try:
        return read([part async for part in feeds.stream("s", view, is_allowed)])
    finally:
        feeds.close("s")


def text_of(place: Place, last_id: str = "", **more: str) -> tuple[int, str]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with place.client(**more) as client:
        answer = client.get(f"{API}/sweeps/s/events", headers=headers)
        return answer.status_code, answer.text


#: what is told at first of a sweep of three trials
BEGIN = ["trial", "trial", "trial", "status"]


def test_a_stream_is_how_all_stands_and_the_end_whatever_id_a_client_sends(place: Place) -> None:
    for last_id in ("", "1;0-999999;", "2;eJzLBAAAagBq", "0-0", f"a-{'9' * 60}", "-", "x"):
        status, text = text_of(place, last_id)
        told = list(parsed(text.split("\n")))
        assert (status, [one.name for one in told]) == (200, [*BEGIN, "end"])
        assert [len(one.data["losses"]) for one in told[:3]] == [2, 2, 2]
        assert told[3].data["state"] == "finished"
    assert text_of(place, "x" * 100)[0] == 422
    assert text_of(place, told[-1].id) == (204, "")


def test_what_happens_is_told_to_all_who_listen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run_id = MlflowStore(place.service.settings.store), place.service.status("s").run_id
    store.log(run_id, tags={Tag.STATE: "running"})  # with nobody's lease: broken off
    monkeypatch.setattr("lstm_sweep.search.driver.lease.BROKEN_OFF", "running")
    status, failing = place.service.status, list[str]()

    def sometimes(name: str) -> Any:
        if failing:
            raise StoreError(failing.pop())
        return status(name)

    monkeypatch.setattr(place.service, "status", sometimes)

    async def run() -> None:
        feeds = feeds_of(place)
        both = [asyncio.create_task(listen(feeds)) for _ in range(2)]
        await asyncio.sleep(0.3)
        failing.append("it does not answer")  # once, and is asked again
        store.log(run_id, tags={Tag.STATE: "finished"})
        for told in await asyncio.wait_for(asyncio.gather(*both), 60):
            assert [one.name for one in told] == [*BEGIN, "status", "end"]
        assert feeds.listeners == 0
        assert [one.name for one in await listen(feeds)] == [*BEGIN, "end"]

    asyncio.run(run())


def test_a_trial_is_told_again_once_it_has_changed(place: Place) -> None:
    store = MlflowStore(place.service.settings.store)
    ended = reader.trials(store, "s")[0]
    running = dataclasses.replace(ended, ended=None, status="RUNNING")
    again = dataclasses.replace(running, attempt=running.attempt + 1, run_id="another")
    told, before = list[list[str]](), view_of(0)
    for record in (running, running, ended, ended, again):
        had = before.trials.get(0)
        now = dataclasses.replace(before, trials={0: module._seen(store, record, had)})
        events = read([event + b"\n" for event in events_between(before, now)])
        before = now
        told.append([f"{e.name} {e.data['state']} {len(e.data['losses'])}" for e in events])
    assert told == [["trial running 2"], [], ["trial ended 2"], [], ["trial running 0"]]


class Broken(Connection):
    """A connection to services that are restarted; the first stream breaks after some lines."""

    def __init__(self, place: Place, lines: int) -> None:
        super().__init__("http://localhost", sleep=lambda seconds: None)
        self._place, self._left = place, [lines]

    @contextlib.contextmanager
    def open(  # type: ignore[override]
        self, *path: str, headers: Mapping[str, str], **query: Any
    ) -> Iterator[Lines]:
        """The lines that a service sends which has just been started."""
        status, text = text_of(self._place, headers.get("Last-Event-ID", ""))
        lines = text.encode().splitlines(keepends=True)
        yield Lines(lines[: self._left.pop() if self._left else None], status)


class Lines(list[bytes]):
    """A response that is read line by line."""

    def __init__(self, lines: list[bytes], status: int) -> None:
        super().__init__(lines)
        self.status = status


def test_wherever_a_stream_breaks_each_round_and_each_end_is_told_once(place: Place) -> None:
    whole = text_of(place)[1].count("\n")
    for lines in range(0, whole + 1, 5):
        text = StringIO()
        watched = Watched("s", SweepSpec(), JsonLines(text))
        for event in events(Broken(place, lines), "s"):
            watched.hear(event)
        told = [json.loads(line) for line in text.getvalue().splitlines()]
        found = Counter(one["event"] for one in told if "trial" in one)
        assert (lines, found, event.name) == (lines, ALL, "end")


TRIAL = TrialView((), module._event("trial", {"config": "x" * 500}))


def view_of(trials: int, run_id: str = "r") -> SweepView:
    return SweepView(dict.fromkeys(range(trials), TRIAL), {"run_id": run_id, "state": "x"}, True)


def test_a_large_sweep_is_told_in_bounded_parts_each_event_with_a_number() -> None:
    parts = list(in_parts(events_between(None, view_of(5_000)), itertools.count(1)))
    assert 10 < len(parts) < 100 and max(map(len, parts)) < 2 * module.PART_BYTES
    told = read(parts)
    assert [one.id for one in told] == [str(number) for number in range(1, 5_002)]
    assert told[-1].name == "status"


class Looks(list[SweepView]):
    """What is seen of a sweep, until it is deleted."""

    def __call__(self, *_: Any) -> SweepView:
        if not self:
            raise NoSuchRunError("sweep 's': no such sweep")
        return self.pop(0)


@pytest.mark.parametrize("then", [[view_of(1)], [view_of(1, "of another sweep")] * 9])
def test_a_stream_of_a_sweep_that_is_deleted_or_another_one_by_now_ends(
    place: Place, monkeypatch: pytest.MonkeyPatch, then: list[SweepView]
) -> None:
    monkeypatch.setattr(module, "look", Looks([view_of(1), *then]))
    told = asyncio.run(asyncio.wait_for(listen(feeds_of(place)), 30))
    assert [one.name for one in told] == ["trial", "status"]


def test_streams_end_when_the_service_does_and_when_a_login_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_S", 0.02)
    monkeypatch.setattr(module, "ALLOWED_S", 0.1)
    monkeypatch.setattr(module, "look", lambda *_: view_of(1))
    answers = iter([True, True, False])

    async def for_a_while() -> bool:
        return next(answers)

    async def run() -> None:
        feeds = feeds_of(place)
        view = await feeds.open("s")
        assert module.PING in [part async for part in feeds.stream("s", view, for_a_while)]
        assert next(answers, None) is None
        feeds.closing = True
        told = [part async for part in feeds.stream("s", view, allowed)]
        assert [one.name for one in read(told)] == ["trial", "status"]
        with pytest.raises(ProblemError):
            await feeds.open("s")

    asyncio.run(run())


def test_a_look_that_hangs_keeps_no_stream_from_speaking_nor_from_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_S", 0.02)
    monkeypatch.setattr(module, "CLOSING_S", 0.05)
    hangs, looks = threading.Event(), list[int]()

    def look(*_: Any) -> SweepView:
        looks.append(1)
        assert len(looks) == 1 or hangs.wait(30)
        return view_of(1)

    monkeypatch.setattr(module, "look", look)

    async def listen_on(feeds: Feeds, spoke: asyncio.Semaphore) -> None:
        view = await feeds.open("s")
        async for part in feeds.stream("s", view, allowed):
            if part == module.PING:
                spoke.release()
        feeds.close("s")

    async def run() -> None:
        feeds, spoke = feeds_of(place), asyncio.Semaphore(0)
        streams = asyncio.gather(*(listen_on(feeds, spoke) for _ in range(3)))
        for _ in range(9):
            await spoke.acquire()
        assert len(looks) == 2
        feeds.closing = True
        await streams
        assert not hangs.is_set()
        hangs.set()

    try:
        asyncio.run(asyncio.wait_for(run(), 20))
    finally:
        hangs.set()


def test_who_goes_away_is_forgotten_and_a_token_that_was_revoked_is_told_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "look", lambda *_: view_of(1))

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    async def run() -> None:
        with place.client() as client:
            site: Any = client.app.state.site  # type: ignore[attr-defined]
            user = User("ann", Role.READ)
            headers = Headers({"authorization": "Bearer no-token"})
            request: Any = SimpleNamespace(
                state=SimpleNamespace(user=user, by_proxy=False), headers=headers
            )
            assert not await route._is_allowed(request, site, user)
            stream = await route.events("s", request, site, user)
            assert site.feeds.listeners == 1
            scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
            await asyncio.wait_for(stream(scope, gone, send), 30)
            assert site.feeds.listeners == 0

    asyncio.run(run())


def test_only_so_many_may_listen_and_an_unknown_sweep_is_not_listened_to(place: Place) -> None:
    async def run() -> None:
        feeds = feeds_of(place, streams=3, streams_per_user=2)
        with pytest.raises(NoSuchRunError):
            await feeds.open("none", "ann")
        assert feeds.listeners == 0
        for _ in range(2):
            await feeds.open("s", "ann")
        with pytest.raises(ProblemError) as refused:
            await feeds.open("s", "ann")
        assert refused.value.status == 429
        await feeds.open("s", "bob")
        with pytest.raises(ProblemError) as refused:
            await feeds.open("s", "cid")
        assert refused.value.status == 503
        feeds.close("s", "ann")
        await feeds.open("s", "ann")

    asyncio.run(run())
