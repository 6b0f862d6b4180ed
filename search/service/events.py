"""Events of sweeps: each one that somebody listens to is looked at once for all who do.

Events of a sweep are numbered. A stream begins with a snapshot, or, for a client that says which
number it had last, with what came after that, as long as the service remembers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.answers import Answers
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.curves import written_curve
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
#: bytes of events that are sent together, about
PART_BYTES = 65_536
#: events of a sweep that are remembered, and bytes of them
RECENT, RECENT_BYTES = 2_000, 1 << 20
#: sweeps whose events are remembered though nobody listens just now
LEFT = 8
PING = b": ping\n\n"
#: milliseconds after which a browser connects again
RETRY = b"retry: 2000\n\n"
#: ID of the event that says that a sweep has ended
END = "end"
#: what is left out of a comparison of two states: it changes at each look
UNSTEADY = ("eta_seconds",)

log = logging.getLogger("lstm_sweep.service")


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
    status: Mapping[str, Any]
    is_under_way: bool


def look(service: Service, name: str, before: SweepView | None) -> tuple[SweepView, list[bytes]]:
    """Read a sweep; what is seen of it now, and events of what has happened since `before`.

    Raises:
        NoSuchRunError: there is none.
        StoreError: the store does not answer.
    """
    store, report = store_of_sweep(name, service.reads), service.status(name)
    status, events, trials = report.to_dict(), list[bytes](), dict[int, TrialView]()
    if before and before.status["run_id"] != status["run_id"]:
        before = None
    for record in reader.trials(store, name):
        had = before.trials.get(record.trial.number) if before else None
        trials[record.trial.number] = _seen(store, record, had, events)
    if before and _steady(before.status) != _steady(status):
        events.append(_event("status", status))
    return SweepView(trials, status, report.is_under_way), events


def _seen(
    store: Store, record: TrialRecord, had: TrialView | None, events: list[bytes]
) -> TrialView:
    """What is seen of a trial now; what has happened since is added to `events`.

    A trial that has ended is told after its rounds, others before: so one that is told as ended is
    told completely.
    """
    trial, state = record.trial, record.state
    state = state if state in ("running", "paused") else "ended"
    mark = (record.run_id, state, record.epochs, record.best_val_loss)
    if had and had.mark == mark:
        return had
    losses = _losses(store, record)
    told = {"number": trial.number, "state": state, **record.document()}
    if had is None or had.attempt != trial.attempt:
        had = TrialView((), trial.attempt, "", 0, b"")
    if had.state != state != "ended":
        events.append(_event("trial", told))
    for number, loss in enumerate(losses[had.rounds :], start=had.rounds + 1):
        of = {"trial": trial.id, "number": trial.number, "attempt": trial.attempt}
        when = {"round": number, "epoch": trial.epochs_after(number)}
        events.append(_event("round", of | when | {"val_loss": loss}))
    if state == "ended":
        events.append(_event("trial", told))
    more = {"epochs_per_round": trial.epochs_after(1), "losses": losses}
    return TrialView(mark, trial.attempt, state, len(losses), _json(told | more))


def _losses(store: Store, record: TrialRecord) -> list[float | None]:
    """Validation loss after each round, from the tags or else the metrics; None without one."""
    if record.outcome and record.tags.get(Tag.CURVE):
        return [row.get("val_loss") for row in written_curve(record)]
    found = store.history(record.run_id, "val_loss")
    return [found.get(number) for number in range(1, max(found, default=0) + 1)]


def _steady(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in UNSTEADY}


def _json(document: object) -> bytes:
    return json_text(document).encode("utf-8", "replace")


def _event(name: str, data: object) -> bytes:
    """An event without its ID; JSON has no line breaks."""
    return b"event: %s\ndata: %s\n" % (name.encode(), _json(data))


def snapshot(view: SweepView, event_id: str) -> Iterator[bytes]:
    """All that is known of a sweep, as events of bounded size; the last has the state and an ID.

    Without that one a client has no ID, and asks for all of it again.
    """
    part, size = list[bytes](), 0
    for trial in view.trials.values():
        if size + len(trial.written) > PART_BYTES and part:
            yield b'event: snapshot\ndata: {"trials":[%s]}\n\n' % b",".join(part)
            part, size = [], 0
        part.append(trial.written)
        size += len(trial.written)
    yield b'event: snapshot\ndata: {"trials":[%s],"status":%s}\nid: %s\n\n' % (
        b",".join(part), _json(view.status), event_id.encode(),
    )  # fmt: skip


class Feed:
    """What is known of one sweep, and what has happened in it of late."""

    def __init__(self) -> None:
        self.view: SweepView | None = None
        self.changed = asyncio.Event()
        self.listeners = 0
        #: seconds of a processor that the last look has cost
        self.cost_s = 0.0
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        #: number of the last event; the last of all that are remembered has it
        self.number = 0
        self._recent: deque[bytes] = deque()
        self._size = 0
        self._epoch = secrets.token_hex(4)

    def id_of(self, number: int) -> str:
        """ID of an event, which no other feed of this sweep has."""
        return f"{self._epoch}-{number}"

    def number_of(self, event_id: str) -> int | None:
        """Number of an event that a client had last; None if what came after it is not known."""
        epoch, _, text = event_id.rpartition("-")
        if epoch != self._epoch or not (text.isdecimal() and len(text) < 20):
            return None
        number = int(text)
        return number if self.number - len(self._recent) <= number <= self.number else None

    def take(self, view: SweepView, events: list[bytes]) -> None:
        """Take up what was seen of the sweep, and wake who listens if something has happened."""
        if self.view and self.view.status["run_id"] != view.status["run_id"]:
            # another sweep has the name now: who listens has to begin anew
            self._epoch, self._size = secrets.token_hex(4), 0
            self._recent.clear()
            self.number += 1
        is_news = bool(events) or self.view is None
        is_news |= bool(self.view and self.view.is_under_way and not view.is_under_way)
        self.view = view
        for event in events:
            self.number += 1
            self._recent.append(b"%sid: %s\n\n" % (event, self.id_of(self.number).encode()))
            self._size += len(self._recent[-1])
        while len(self._recent) > RECENT or self._size > RECENT_BYTES:
            self._size -= len(self._recent.popleft())
        if is_news:
            self.wake()

    def after(self, number: int) -> tuple[int, bytes] | None:
        """Some of the events after one, and the number of the last; None if they are forgotten."""
        begin = len(self._recent) - (self.number - number)
        if begin < 0:
            return None
        part = bytearray()
        for event in itertools.islice(self._recent, begin, None):
            part += event
            number += 1
            if len(part) >= PART_BYTES:
                break
        return number, bytes(part)

    def wake(self) -> None:
        """Let the listeners look at what there is."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class _Listener:
    """What a client of a feed has been told."""

    feed: Feed
    #: number of the event that it had last; None if it has to be told all
    number: int | None
    #: whether it is told nothing more
    is_over: bool = False

    def news(self) -> Iterator[bytes]:
        """What it was not told, also of what happens while it is told."""
        feed = self.feed
        if self.number is None:
            assert feed.view is not None
            self.number = feed.number
            yield from snapshot(feed.view, feed.id_of(self.number))
        while self.number < feed.number:
            if (some := feed.after(self.number)) is None:
                self.is_over = True
                return
            self.number, part = some
            yield part
        if feed.view and not feed.view.is_under_way:
            self.is_over = True
            yield _event(END, {"state": feed.view.status["state"]}) + f"id: {END}\n\n".encode()


class Feeds:
    """The feeds of all sweeps that somebody listens to."""

    def __init__(
        self, service: Service, answers: Answers, limits: Limits, *, look_every_s: float
    ) -> None:
        self._service, self._answers, self._limits = service, answers, limits
        self._look_every_s = look_every_s
        #: by name of the sweep, those that were left last at the end
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._listeners: Counter[str] = Counter()
        #: set once the service ends: streams end within `CLOSING_S`
        self.closing = False
        self._closer: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """Streams that are open."""
        return self._listeners.total()

    async def open(self, name: str, user: str = "") -> Feed:
        """A feed that has looked just now; it is looked at until `close`.

        Raises:
            ProblemError: too many listen, or the user does too often.
            InputError: there is no such sweep.
        """
        limits = self._limits
        if user and self._listeners[user] >= limits.streams_per_user:
            most = limits.streams_per_user
            raise ProblemError(429, f"user {user} has {most} streams open, expected at most {most}")
        if self.listeners >= limits.streams or self.closing:
            raise ProblemError(
                503, f"{self.listeners} streams are open, expected at most {limits.streams}"
            )
        if self._closer is None:
            self._closer = asyncio.create_task(self._close_streams())
        feed = self._feeds.setdefault(name, Feed())
        self._listeners[user] += 1
        feed.listeners += 1
        try:
            async with feed.lock:
                if feed.task is None:
                    await self._look(name, feed)
                    feed.task = asyncio.create_task(self._keep_looking(name, feed))
        except BaseException:
            self.close(name, feed, user)
            raise
        return feed

    def close(self, name: str, feed: Feed, user: str = "") -> None:
        """One listener less; the last one ends the looking."""
        self._listeners[user] -= 1
        if not self._listeners[user]:
            del self._listeners[user]
        feed.listeners -= 1
        if feed.listeners == 0:
            if feed.task:
                feed.task.cancel()
            feed.task = None
            self._forget(name, feed)
        if not self._listeners and self._closer:
            self._closer.cancel()
            self._closer = None

    def _forget(self, name: str, feed: Feed) -> None:
        """Forget a feed that has seen nothing, and those that were left first if there are many."""
        self._feeds.move_to_end(name)
        if feed.view is None:
            del self._feeds[name]
        left = [known for known, one in self._feeds.items() if not one.listeners]
        for known in left[:-LEFT]:
            del self._feeds[known]

    async def _close_streams(self) -> None:
        """Wake all listeners once the service ends; else each would have to look by itself."""
        while not self.closing:
            await asyncio.sleep(CLOSING_S)
        for feed in self._feeds.values():
            feed.wake()

    async def _keep_looking(self, name: str, feed: Feed) -> None:
        while not self.closing:
            seldom = min(feed.cost_s / SHARE, MOST_SELDOM_S)
            await asyncio.sleep(max(self._look_every_s, seldom))
            try:
                await self._look(name, feed)
            except Exception as error:  # it is looked again
                log.error("events: %s", without_secrets(str(error)))

    async def _look(self, name: str, feed: Feed) -> None:
        """Look at a sweep; whoever asks because of what has happened gets no answer from before."""

        def timed() -> tuple[SweepView, list[bytes], float]:
            began = time.thread_time()
            view, events = look(self._service, name, feed.view)
            return view, events, time.thread_time() - began

        view, events, feed.cost_s = await self._answers.read(timed)
        if not view.is_under_way or (
            feed.view and feed.view.status["state"] != view.status["state"]
        ):
            self._answers.forget()
        feed.take(view, events)

    async def stream(
        self, feed: Feed, last_id: str, is_allowed: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[bytes]:
        """The events of a feed after one that a client had last, until the sweep has ended.

        It also ends once a client may listen no more, or has not read what is forgotten by now.
        """
        listener = _Listener(feed, feed.number_of(last_id))
        asked = spoke = time.monotonic()
        yield RETRY
        while not self.closing:
            changed = feed.changed
            for part in listener.news():
                spoke = time.monotonic()
                yield part
            if listener.is_over:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), PING_S)
            now = time.monotonic()
            if now - spoke >= PING_S:
                spoke = now
                yield PING
            if now - asked >= ALLOWED_S:
                asked = now
                if not await is_allowed():
                    return
