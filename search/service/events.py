"""Events of sweeps: each one that somebody listens to is looked at once for all who do.

A stream begins with a snapshot, also if it is opened again; then come numbered events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lstm_sweep.models.documents import json_text
from lstm_sweep.search.actions.references import store_of_sweep
from lstm_sweep.search.actions.sweeps import SweepStatusReport
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.answers import Answers, ProblemError
from lstm_sweep.search.service.logs import Seldom
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.curves import written_curve
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
#: bytes of a part of a snapshot, about
PART_BYTES = 65_536
#: events that wait for a client to read them, at most
MOST_BEHIND = 2_000
PING = b": ping\n\n"
#: milliseconds after which a browser connects again
RETRY = b"retry: 2000\n\n"
#: ID of the event that says that a sweep has ended
END = "end"

#: what differs in a state at each look
_UNSTEADY = {"eta_seconds": None}


@dataclass(frozen=True)
class TrialView:
    """What was last seen of a trial."""

    #: equal as long as nothing has changed that events tell
    mark: tuple[object, ...]
    attempt: int
    #: `running`, `paused` or `ended`
    state: str
    #: the last round
    rounds: int
    #: the trial as snapshots tell it, JSON
    written: bytes


@dataclass(frozen=True)
class SweepView:
    """What was last seen of a sweep."""

    trials: Mapping[int, TrialView]
    #: what `status --json` prints
    status: dict[str, Any]
    is_under_way: bool
    #: seconds of a processor that the look has cost
    cost_s: float = 0.0


#: a state as clients are told it
Told = Callable[[SweepStatusReport], SweepStatusReport]


def look(
    service: Service, name: str, before: SweepView | None, told: Told
) -> tuple[SweepView, list[bytes]]:
    """Read a sweep; what is seen of it now, and events of what has happened since `before`.

    Raises:
        NoSuchRunError: there is none.
        StoreError: the store does not answer.
    """
    began = time.thread_time()
    store, report = store_of_sweep(name, service.reads), told(service.status(name))
    status, events, trials = report.to_dict(), list[bytes](), dict[int, TrialView]()
    if before and before.status["run_id"] != status["run_id"]:
        before = None
    for record in reader.trials(store, name):
        had = before.trials.get(record.number) if before else None
        trials[record.number] = _seen(store, record, had, events)
    if before and before.status | _UNSTEADY != status | _UNSTEADY:
        events.append(_event("status", status))
    cost_s = time.thread_time() - began
    return SweepView(trials, status, report.is_under_way, cost_s), events


def _seen(
    store: Store, record: TrialRecord, had: TrialView | None, events: list[bytes]
) -> TrialView:
    """What is seen of a trial now; what has happened since is added to `events`.

    A trial that has ended is told after its rounds, others before: so one that is told as ended is
    told completely.
    """
    state = record.state
    state = state if state in ("running", "paused") else "ended"
    mark = (record.run_id, state, record.epochs, record.best_loss)
    if had and had.mark == mark:
        return had
    losses = _losses(store, record)
    told = {"number": record.number, "state": state, **record.document()}
    if had is None or had.attempt != record.attempt:
        had = TrialView((), record.attempt, "", 0, b"")
    if had.state != state != "ended":
        events.append(_event("trial", told))
    for number, loss in enumerate(losses[had.rounds :], start=had.rounds + 1):
        of = {"trial": record.id, "number": record.number, "attempt": record.attempt}
        when = {"round": number, "epoch": record.epochs_after(number)}
        events.append(_event("round", of | when | {"val_loss": loss}))
    if state == "ended":
        events.append(_event("trial", told))
    more = {"epochs_per_round": record.epochs_after(1), "losses": losses}
    return TrialView(mark, record.attempt, state, len(losses), _json(told | more))


def _losses(store: Store, record: TrialRecord) -> list[float | None]:
    """Validation loss after each round, from the tags or else the metrics; None without one."""
    if record.outcome and record.tags.get(Tag.CURVE):
        return [row.get("val_loss") for row in written_curve(record)]
    found = store.history(record.run_id, "val_loss")
    return [found.get(number) for number in range(1, max(found, default=0) + 1)]


def _json(document: object) -> bytes:
    return json_text(document).encode("utf-8", "replace")


def _event(name: str, data: object) -> bytes:
    """An event without its ID; JSON has no line breaks."""
    return b"event: %s\ndata: %s\n" % (name.encode(), _json(data))


def snapshot(view: SweepView, number: int) -> Iterator[bytes]:
    """All that is known of a sweep, as events of bounded size; the last has the state."""
    part, size = list[bytes](), 0
    for trial in view.trials.values():
        if size + len(trial.written) > PART_BYTES and part:
            yield b'event: snapshot\ndata: {"trials":[%s]}\n\n' % b",".join(part)
            part, size = [], 0
        part.append(trial.written)
        size += len(trial.written)
    yield b'event: snapshot\ndata: {"trials":[%s],"status":%s}\nid: %d\n\n' % (
        b",".join(part), _json(view.status), number,
    )  # fmt: skip


@dataclass(eq=False)
class Listener:
    """A client that listens to a sweep."""

    user: str
    feed: Feed
    #: events that it has to be told; an empty one is the last
    news: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    #: whether it is told nothing more
    is_over: bool = False

    def tell(self, event: bytes) -> None:
        """Tell it an event, or that there is none any more; who does not read is told no more."""
        if not self.is_over:
            self.is_over = not event or self.news.qsize() >= MOST_BEHIND
            self.news.put_nowait(b"" if self.is_over else event)


class Feed:
    """What is known of one sweep, and who listens to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.view: SweepView | None = None
        self.listeners = set[Listener]()
        #: number of the last event
        self.number = 0
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None

    def take(self, view: SweepView, events: list[bytes]) -> None:
        """Take up what was seen of the sweep, and tell all who listen what has happened."""
        if self.view and self.view.status["run_id"] != view.status["run_id"]:
            self.end()  # another sweep has the name now: who listens has to begin anew
        self.view = view
        for event in events:
            self.number += 1
            self._tell(event + b"id: %d\n\n" % self.number)
        if not view.is_under_way:
            self._tell(end_of(view))
            self.end()

    def end(self) -> None:
        """End all streams."""
        self._tell(b"")

    def _tell(self, event: bytes) -> None:
        for one in self.listeners:
            one.tell(event)


def end_of(view: SweepView) -> bytes:
    """The last event of a sweep."""
    return _event(END, {"state": view.status["state"]}) + f"id: {END}\n\n".encode()


class Feeds:
    """The feeds of all sweeps that somebody listens to."""

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
        self._feeds: dict[str, Feed] = {}
        #: set once the service ends: streams end within `CLOSING_S`
        self.closing = False

    @property
    def listeners(self) -> int:
        """Streams that are open."""
        return sum(len(feed.listeners) for feed in self._feeds.values())

    async def open(self, name: str, user: str = "") -> Listener:
        """A listener to a feed that has looked just now; it is looked at until `close`.

        Raises:
            ProblemError: too many listen, or the user does too often.
            InputError: there is no such sweep.
        """
        most, all_most = self._limits.streams_per_user, self._limits.streams
        every = [one.user for feed in self._feeds.values() for one in feed.listeners]
        if user and every.count(user) >= most:
            raise ProblemError(429, f"user {user} has {most} streams open, expected at most {most}")
        if len(every) >= all_most or self.closing:
            raise ProblemError(503, f"{len(every)} streams are open, expected at most {all_most}")
        feed = self._feeds.setdefault(name, Feed(name))
        listener = Listener(user, feed)
        feed.listeners.add(listener)
        try:
            async with feed.lock:
                if feed.task is None:
                    await self._look(feed)
                    feed.task = asyncio.create_task(self._keep_looking(feed))
        except BaseException:
            self.close(listener)
            raise
        return listener

    def close(self, listener: Listener) -> None:
        """One listener less; the last one ends the looking."""
        feed = listener.feed
        feed.listeners.discard(listener)
        if not feed.listeners:
            if feed.task:
                feed.task.cancel()
            self._feeds.pop(feed.name, None)

    async def _keep_looking(self, feed: Feed) -> None:
        while not self.closing:
            seldom = min(feed.view.cost_s / SHARE, MOST_SELDOM_S) if feed.view else 0.0
            await asyncio.sleep(max(self._look_every_s, seldom))
            try:
                await self._look(feed)
            except NoSuchRunError:  # it was deleted
                feed.end()
            except Exception as error:  # it is looked again
                self._logs.error("events", f"events: {without_secrets(str(error))}")

    async def _look(self, feed: Feed) -> None:
        """Look at a sweep; whoever asks because of what has happened gets no answer from before."""
        before = feed.view
        call = partial(look, self._service, feed.name, before, self._told)
        view, events = await self._answers.read(call)
        if not view.is_under_way or (before and before.status["state"] != view.status["state"]):
            self._answers.forget()
        feed.take(view, events)

    async def stream(
        self, listener: Listener, is_allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """The events of a sweep until it has ended, after all that is known of it.

        It also ends once a client may listen no more, or does not read what it is told.
        """
        view, number = listener.feed.view, listener.feed.number
        listener.news = asyncio.Queue()  # what was told before is in the view
        assert view
        asked = spoke = time.monotonic()
        yield RETRY
        for part in snapshot(view, number):
            yield part
        if not view.is_under_way:
            yield end_of(view)
        if listener.is_over or not view.is_under_way:
            return
        while not self.closing:
            event = await _next(listener)
            if event == b"":
                return
            now = time.monotonic()
            if event or now - spoke >= PING_S:
                spoke = now
                yield event or PING
            if now - asked >= ALLOWED_S:
                asked = now
                if not await is_allowed():
                    return


async def _next(listener: Listener) -> bytes | None:
    """What it is to be told next; None if that takes longer than a moment."""
    try:
        return await asyncio.wait_for(listener.news.get(), min(CLOSING_S, PING_S))
    except TimeoutError:
        return None
