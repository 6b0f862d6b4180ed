"""Server-sent events of a sweep; after a break whatever has happened meanwhile is told once."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from lstm_sweep.search.client.connection import API, BROKEN, Connection, NoAnswerError

#: seconds before a stream that has broken is opened again
AGAIN_S = 2.0


class Event(NamedTuple):
    """Something that has happened in a sweep."""

    name: str
    data: dict[str, Any]
    id: str


class _Had(NamedTuple):
    """What was told of a trial."""

    attempt: int
    state: str
    #: the last round
    rounds: int


class Told:
    """What was told of a sweep, by which a snapshot becomes the events that were not."""

    def __init__(self) -> None:
        self._trials: dict[int, _Had] = {}

    def news(self, event: Event) -> Iterator[Event]:
        """An event itself; of a snapshot, what was not told yet."""
        if event.name == "snapshot":
            for trial in event.data["trials"]:
                yield from map(self._noted, self._news_of(trial))
            if "status" in event.data:
                yield Event("status", event.data["status"], event.id)
        else:
            yield self._noted(event)

    def _news_of(self, trial: dict[str, Any]) -> Iterator[Event]:
        """What was not told of a trial: first that it runs or waits, then its rounds, its end."""
        losses, per_round = trial.pop("losses"), trial.pop("epochs_per_round")
        had = self._had(trial)
        has_ended, is_new = trial["state"] == "ended", trial["state"] != had.state
        if is_new and not has_ended:
            yield Event("trial", trial, "")
        of = {name: trial[name] for name in ("trial", "number", "attempt")}
        for number, loss in enumerate(losses[had.rounds :], start=had.rounds + 1):
            done = {"round": number, "epoch": number * per_round, "val_loss": loss}
            yield Event("round", of | done, "")
        if is_new and has_ended:
            yield Event("trial", trial, "")

    def _had(self, data: Mapping[str, Any]) -> _Had:
        """What was told of the trial of an event; nothing of another attempt at it."""
        had = self._trials.get(data["number"])
        return had if had and had.attempt == data["attempt"] else _Had(data["attempt"], "", 0)

    def _noted(self, event: Event) -> Event:
        if event.name == "trial":
            had = self._had(event.data)
            self._trials[event.data["number"]] = had._replace(state=event.data["state"])
        elif event.name == "round":
            had = self._had(event.data)
            self._trials[event.data["number"]] = had._replace(rounds=event.data["round"])
        return event


def events(
    connection: Connection, sweep: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Event]:
    """What happens in a sweep until it has ended; connections that break are made again for ever.

    First comes what has happened before: trials and their rounds, then the state of the sweep.
    Nothing is told twice, whatever the service has forgotten.

    Raises:
        RefusedError: there is no such sweep, or the service refuses to say.
    """
    last_id, is_told, told = "", False, Told()
    path = f"{API}/sweeps/{quote(sweep, safe='')}/events"
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with connection.open(path, headers) as response:
                if response.status == 204:
                    return
                is_told = False
                for event in parsed(_lines(response)):
                    last_id = event.id or last_id
                    yield from told.news(event)
                    if event.name == "end":
                        return
        except NoAnswerError as error:
            if not is_told:
                connection.say(f"{error}; asking again until it answers")
                is_told = True
        sleep(AGAIN_S)


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    """Lines of a stream until it ends or breaks."""
    try:
        for line in response:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except BROKEN:
        return


def parsed(lines: Iterable[str]) -> Iterator[Event]:
    """The events of the lines of a stream; one that is not whole is left out."""
    name, data, event_id = "", list[str](), ""
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                event_id = value
            continue
        if name:
            yield Event(name, json.loads("\n".join(data)) if data else {}, event_id)
        name, data, event_id = "", [], ""
