"""Server-sent events of a sweep, which go on after a break where they were."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator
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


def events(
    connection: Connection,
    sweep: str,
    *,
    since: str = "beginning",
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """What happens in a sweep until it has ended; connections that break are made again for ever.

    `since` is `beginning` or `now`.

    Raises:
        RefusedError: there is no such sweep, or the service refuses to say.
    """
    last_id, is_told = "", False
    while True:
        path = f"{API}/sweeps/{quote(sweep, safe='')}/events?from={since}"
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
                    yield event
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
        name, data = "", []
