"""Looks at sweeps for those who listen to their events: once for all who listen to one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.service.answers import Answers
from lstm_sweep.search.service.events import (
    Cursor,
    SweepView,
    TrialView,
    events_after,
)
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.stored_curve import written_curve
from lstm_sweep.search.trial import Outcome

#: part of a processor that looks at one sweep may take, and seconds between two of them at most
SHARE, MOST_SELDOM_S = 0.05, 10.0
#: seconds without an event after which a comment is sent, so that the connection stays
PING_S = 15.0
#: seconds within which streams end once the service does
CLOSING_S = 1.0
#: bytes of events that are sent together, about
MOST_BYTES = 65_536
PING = b": ping\n\n"
#: milliseconds after which a browser connects again
RETRY = b"retry: 2000\n\n"
#: outcomes of trials that a sweep may try again
GOES_ON = (Outcome.STOPPED, *(one for one in Outcome if one.is_accident))
#: what is left out of a comparison of two states: it changes at each look
UNSTEADY = ("eta_seconds", "eta_range")

log = logging.getLogger("lstm_sweep.service")


class Feed:
    """What is known of one sweep while somebody listens."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name
        self._known: dict[int, tuple[object, TrialView]] = {}
        self._store: Store | None = None
        self.view: SweepView | None = None
        #: grows with each change of `view`
        self.version = 0
        self.changed = asyncio.Event()
        self.listeners = 0
        #: seconds of a processor that the last look has cost
        self.cost_s = 0.0
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None

    def look(self) -> SweepView:
        """Read the sweep from the store.

        Raises:
            NoSuchRunError: there is none.
            StoreError: the store does not answer.
        """
        if self._store is None:
            self._store = store_of_sweep(self._name, self._service.reads)
        began = time.thread_time()
        report = self._service.status(self._name)
        records = archive.trials(self._store, self._name)
        trials = {record.trial.number: self._trial(self._store, record) for record in records}
        self.cost_s = time.thread_time() - began
        return SweepView(trials, report.to_dict(), report.is_under_way)

    def _trial(self, store: Store, record: TrialRecord) -> TrialView:
        """A trial; its rounds are read only if it has changed."""
        state = "ended" if record.outcome else record.open_state
        state = state if state in ("running", "paused") else "ended"
        mark = (record.run_id, state, record.epochs, record.best_val_loss)
        known = self._known.get(record.trial.number)
        if known and known[0] == mark:
            return known[1]
        view = TrialView(
            number=record.trial.number,
            attempt=record.trial.attempt,
            state=state,
            losses=_losses(store, record),
            row=record.to_dict(),
            epochs_per_round=record.trial.epochs_after(1),
            is_final=bool(record.outcome) and record.outcome not in GOES_ON,
        )
        self._known[record.trial.number] = (mark, view)
        return view

    def take(self, view: SweepView) -> None:
        """Wake the listeners if there is something new."""
        before = self.view
        same = before and before.trials == view.trials and _same(before.status, view.status)
        self.view = view
        if not same:
            self.version += 1
            self.wake()

    def wake(self) -> None:
        """Let the listeners look at what there is."""
        self.changed.set()
        self.changed = asyncio.Event()


def _losses(store: Store, record: TrialRecord) -> dict[int, float | None]:
    """Validation loss after each round, from the tags or else the metrics."""
    if record.outcome and record.tags.get(Tag.CURVE):
        rows = written_curve(record)
        return {number: row.get("val_loss") for number, row in enumerate(rows, start=1)}
    found = store.history(record.run_id, "val_loss")
    return {step: loss for step, loss in sorted(found.items()) if step > 0}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return {**one, **dict.fromkeys(UNSTEADY)} == {**other, **dict.fromkeys(UNSTEADY)}


class Feeds:
    """The feeds of all sweeps that somebody listens to."""

    def __init__(
        self, service: Service, answers: Answers, *, look_every_s: float, most: int
    ) -> None:
        self._service, self._answers = service, answers
        self._look_every_s, self._most = look_every_s, most
        self._feeds: dict[str, Feed] = {}
        self.listeners = 0
        #: set once the service ends: streams end within `CLOSING_S`
        self.closing = False
        self._closer: asyncio.Task[None] | None = None

    async def open(self, name: str) -> Feed:
        """A feed that has looked once; it is looked at until `close`.

        Raises:
            ProblemError: too many listen.
            InputError: there is no such sweep.
        """
        if self.listeners >= self._most or self.closing:
            raise ProblemError(
                503, f"{self.listeners} clients listen, expected at most {self._most}"
            )
        if self._closer is None:
            self._closer = asyncio.create_task(self._close_streams())
        feed = self._feeds.setdefault(name, Feed(self._service, name))
        self.listeners += 1
        feed.listeners += 1
        try:
            async with feed.lock:
                if feed.task is None:
                    self._take(feed, await self._answers.read(feed.look))
                    feed.task = asyncio.create_task(self._keep_looking(feed))
        except BaseException:
            self.close(name, feed)
            raise
        return feed

    def close(self, name: str, feed: Feed) -> None:
        """One listener less; the last one ends the looking."""
        self.listeners -= 1
        feed.listeners -= 1
        if feed.listeners == 0:
            if feed.task:
                feed.task.cancel()
            self._feeds.pop(name, None)
        if self.listeners == 0 and self._closer:
            self._closer.cancel()
            self._closer = None

    async def _close_streams(self) -> None:
        """Wake all listeners once the service ends; else each would have to look by itself."""
        while not self.closing:
            await asyncio.sleep(CLOSING_S)
        for feed in self._feeds.values():
            feed.wake()

    async def _keep_looking(self, feed: Feed) -> None:
        while not self.closing:
            seldom = min(feed.cost_s / SHARE, MOST_SELDOM_S)
            await asyncio.sleep(max(self._look_every_s, seldom))
            try:
                self._take(feed, await self._answers.read(feed.look))
            except Exception as error:  # it is looked again
                log.error("events: %s", without_secrets(str(error)))

    def _take(self, feed: Feed, view: SweepView) -> None:
        """Wake the listeners; whoever asks because of that is given no answer from before."""
        is_new = feed.view is None and not view.is_under_way
        if is_new or (feed.view and feed.view.status["state"] != view.status["state"]):
            self._answers.forget()
        feed.take(view)

    async def stream(self, feed: Feed, cursor: Cursor) -> AsyncIterator[bytes]:
        """The events of a feed that a client does not have, until the sweep has ended."""
        version, state, spoke = -1, "", time.monotonic()
        yield RETRY
        while not self.closing:
            changed, view = feed.changed, feed.view
            if view is not None and feed.version != version:
                version = feed.version
                told = bytearray()  # what is new at once, since each part costs a packet
                for event in events_after(cursor, view):
                    told += _written(event.name, event.data, event.id)
                    if len(told) >= MOST_BYTES:
                        yield bytes(told)
                        told.clear()
                if (now := json_text(_steady(view.status))) != state:
                    state = now
                    told += _written("status", view.status, str(cursor))
                spoke = time.monotonic()
                if not view.is_under_way:
                    cursor.knows_end = True
                    told += _written("end", {"state": view.status["state"]}, str(cursor))
                if told:
                    yield bytes(told)
                if not view.is_under_way:
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), PING_S)
            if time.monotonic() - spoke >= PING_S:
                spoke = time.monotonic()
                yield PING


def _steady(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name not in UNSTEADY}


def _written(name: str, data: Mapping[str, Any], event_id: str) -> bytes:
    """An event as it is sent; JSON has no line breaks."""
    text = f"event: {name}\ndata: {json_text(data)}\nid: {event_id}\n\n"
    return text.encode("utf-8", "replace")
