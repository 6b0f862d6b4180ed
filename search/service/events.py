"""Events of sweeps: what differs between two looks at one, each of which all listeners share.

A stream begins with all trials and the state of the sweep, also if it is opened again; then come
those that change.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lstm_sweep.models.documents import json_text
from lstm_sweep.search.actions.references import store_of_sweep
from lstm_sweep.search.actions.sweeps import SweepStatusReport
from lstm_sweep.search.driver.read_back import written_curve
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.answers import Answers, ProblemError
from lstm_sweep.search.service.logs import Seldom
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: part of a processor that looks at one sweep may take, and seconds between two of them at most
SHARE, MOST_SELDOM_S = 0.05, 10.0
#: seconds without an event after which a comment is sent, so that the connection stays
PING_S = 15.0
#: seconds after which it is asked again whether who listens may
ALLOWED_S = 30.0
#: seconds within which streams end once the service does
CLOSING_S = 1.0
#: bytes of events that are sent at once, about
PART_BYTES = 65_536
PING = b": ping\n\n"
#: milliseconds after which a browser connects again
RETRY = b"retry: 2000\n\n"
#: ID of the event that says that a sweep has ended
END = "end"

#: what differs in a state at each look
_UNSTEADY = {"eta_seconds": None}


@dataclass(frozen=True)
class TrialView:
    """What is seen of a trial; the same object as long as nothing has changed."""

    mark: tuple[object, ...]
    #: the event that tells it, without an ID
    event: bytes


@dataclass(frozen=True)
class SweepView:
    """What is seen of a sweep."""

    trials: Mapping[int, TrialView]
    #: what `status --json` prints
    status: Mapping[str, Any]
    is_under_way: bool
    #: seconds of a processor that the look has cost
    cost_s: float = 0.0


Told = Callable[[SweepStatusReport], SweepStatusReport]


def look(service: Service, name: str, before: SweepView | None, told: Told) -> SweepView:
    """Read a sweep; what has not changed since `before` is taken from that."""
    began = time.thread_time()
    store, report = store_of_sweep(name, service.reads), told(service.status(name))
    had = before.trials if before else {}
    trials = {
        record.number: _seen(store, record, had.get(record.number))
        for record in reader.trials(store, name)
    }
    cost_s = time.thread_time() - began
    return SweepView(trials, report.to_dict(), report.is_under_way, cost_s)


def _seen(store: Store, record: TrialRecord, had: TrialView | None) -> TrialView:
    state = record.state
    state = state if state in ("running", "paused") else "ended"
    mark = (record.run_id, state, record.epochs, record.best_loss)
    if had and had.mark == mark:
        return had
    more = {"epochs_per_round": record.epochs_after(1), "losses": _losses(store, record)}
    told = {"number": record.number, "state": state, **record.document(), **more}
    return TrialView(mark, _event("trial", told))


def _losses(store: Store, record: TrialRecord) -> list[float | None]:
    if record.outcome and record.tags.get(Tag.CURVE):
        return [row.get("val_loss") for row in written_curve(record)]
    found = store.history(record.run_id, "val_loss")
    return [found.get(number) for number in range(1, max(found, default=0) + 1)]


def events_between(before: SweepView | None, now: SweepView) -> Iterator[bytes]:
    """What is told to who was told `before`: trials that have changed, and then the state."""
    for number, trial in now.trials.items():
        if before is None or before.trials.get(number) is not trial:
            yield trial.event
    if before is None or {**before.status, **_UNSTEADY} != {**now.status, **_UNSTEADY}:
        yield _event("status", now.status)


def _event(name: str, data: object) -> bytes:
    """An event without its ID; JSON has no line breaks."""
    written = json_text(data).encode("utf-8", "replace")
    return b"event: %s\ndata: %s\n" % (name.encode(), written)


def in_parts(events: Iterator[bytes], numbers: Iterator[int]) -> Iterator[bytes]:
    """Events with their IDs, several at once."""
    part = b""
    for event, number in zip(events, numbers):  # noqa: B905
        part += event + b"id: %d\n\n" % number
        if len(part) >= PART_BYTES:
            yield part
            part = b""
    if part:
        yield part


@dataclass
class _Feed:
    view: SweepView | None = None
    until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: Counter[str] = field(default_factory=Counter)


class Feeds:
    """The sweeps that somebody listens to."""

    def __init__(
        self,
        service: Service,
        answers: Answers,
        limits: Limits,
        *,
        told: Told,
        look_every_s: float,
    ) -> None:
        self._service, self._answers, self._limits = service, answers, limits
        self._told, self._look_every_s, self._logs = told, look_every_s, Seldom()
        self._feeds: dict[str, _Feed] = {}
        #: set once the service ends: streams end within `CLOSING_S`
        self.closing = False

    @property
    def listeners(self) -> int:
        return sum(feed.users.total() for feed in self._feeds.values())

    async def open(self, name: str, user: str = "") -> SweepView:
        """What is seen of a sweep by somebody who listens until `close`."""
        most, all_most, every = self._limits.streams_per_user, self._limits.streams, self.listeners
        own = sum(feed.users[user] for feed in self._feeds.values())
        if user and own >= most:
            raise ProblemError(429, f"user {user} has {most} streams open, expected at most {most}")
        if every >= all_most or self.closing:
            raise ProblemError(503, f"{every} streams are open, expected at most {all_most}")
        self._feeds.setdefault(name, _Feed()).users[user] += 1
        try:
            return await self._view(name)
        except BaseException:
            self.close(name, user)
            raise

    def close(self, name: str, user: str = "") -> None:
        self._feeds[name].users[user] -= 1
        if not self._feeds[name].users.total():
            del self._feeds[name]

    async def _view(self, name: str) -> SweepView:
        """What is seen of a sweep: one looks, for the others nothing has changed meanwhile."""
        feed = self._feeds[name]
        if feed.view and feed.lock.locked():
            return feed.view
        async with feed.lock:
            before = feed.view
            if before and time.monotonic() < feed.until:
                return before
            feed.until = time.monotonic() + self._look_every_s
            try:
                call = partial(look, self._service, name, before, self._told)
                view = feed.view = await self._answers.read(call)
            except Exception as error:
                if before is None or isinstance(error, NoSuchRunError):
                    raise
                self._logs.error("events", f"events: {without_secrets(str(error))}")
                feed.until = time.monotonic() + self._look_every_s
                return before  # it is looked again
            seldom_s = min(view.cost_s / SHARE, MOST_SELDOM_S)
            feed.until = time.monotonic() + max(self._look_every_s, seldom_s)
        if not view.is_under_way or (before and before.status["state"] != view.status["state"]):
            self._answers.forget()
        return view

    async def stream(
        self, name: str, view: SweepView, is_allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """All of a sweep, then events until it has ended or a client may not listen."""
        numbers, asked = itertools.count(1), time.monotonic()
        spoke = asked
        yield RETRY
        for part in in_parts(events_between(None, view), numbers):
            yield part
        while view.is_under_way:
            await asyncio.sleep(min(CLOSING_S, self._look_every_s))
            now, before = time.monotonic(), view
            if now - asked >= ALLOWED_S:
                asked = now
                if not await is_allowed():
                    return
            try:
                # a look that takes long, as of a store that hangs, keeps nobody from speaking
                async with asyncio.timeout(CLOSING_S):
                    view = await asyncio.shield(self._view(name))
            except TimeoutError:
                pass
            except NoSuchRunError:
                return
            if self.closing or view.status["run_id"] != before.status["run_id"]:
                return  # another sweep has the name now: who listens has to begin anew
            for part in in_parts(events_between(before, view), numbers):
                spoke = now
                yield part
            if now - spoke >= PING_S:
                spoke = now
                yield PING
        yield _event(END, {"state": view.status["state"]}) + f"id: {END}\n\n".encode()
