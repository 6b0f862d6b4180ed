"""Events of a sweep while it runs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from lstm_sweep.search.service.description import API, SweepName, refusals
from lstm_sweep.search.service.events import LONGEST_ID, Cursor, events_after
from lstm_sweep.search.service.feeds import Feed, Feeds
from lstm_sweep.search.service.site import TheSite

router = APIRouter(prefix=API, tags=["sweeps"])

MEDIA = "text/event-stream"
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=LONGEST_ID,
        description="ID of the last event that was received: what comes after it is sent",
    ),
]
After = Annotated[
    str | None,
    Query(max_length=LONGEST_ID, description="the same, where no header can be set"),
]
Since = Annotated[
    Literal["now", "beginning"], Query(alias="from", description="without the ID of an event")
]
ABOUT = """\
Server-sent events, until the sweep has ended or the connection breaks:

- `trial`: a trial has begun, waits, or has ended (`state`), with the fields of `trials`
- `round`: a trial has a further round (`trial`, `number`, `attempt`, `round`, `epoch`, `val_loss`)
- `status`: the state of the sweep, at first and at each change
- `end`: the sweep has ended

Each has an ID. Whoever sends the last one that was received misses nothing, whatever has happened
in between. The ID of `end` is answered by 204 while the sweep is not resumed, at which browsers
stop to connect again.
"""


@router.get(
    "/sweeps/{sweep}/events",
    summary="Listen to a sweep",
    description=ABOUT,
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "events",
            "content": {MEDIA: {"schema": {"type": "string"}}},
        },
        204: {"description": "the sweep has ended, and the client knows it"},
        **refusals({404: "there is no such sweep", 409: "it cannot be read"}),
    },
)
async def events(
    sweep: SweepName,
    site: TheSite,
    last_id: LastId = None,
    after: After = None,
    since: Since = "now",
) -> Response:
    """Listen to a sweep."""
    known = last_id or after
    cursor = Cursor.read(known) if known else Cursor()
    feed = await site.feeds.open(sweep)
    try:
        view = feed.view
        assert view is not None
        if not known and since == "now":
            cursor = Cursor.of(view)
        # an ID that would be too long names no trials, but that the sweep has ended
        says_all = cursor.ended or cursor.others
        has_all = not (says_all and any(True for _ in events_after(cursor.copy(), view)))
    except BaseException:
        site.feeds.close(sweep, feed)
        raise
    if cursor.knows_end and has_all and not view.is_under_way:
        site.feeds.close(sweep, feed)
        return Response(status_code=204)
    return EventStream(site.feeds, sweep, feed, cursor)


class EventStream(StreamingResponse):
    """The events of a feed, which is closed however the answer ends."""

    def __init__(self, feeds: Feeds, sweep: str, feed: Feed, cursor: Cursor) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(feeds.stream(feed, cursor), media_type=MEDIA, headers=headers)
        self._close = partial(feeds.close, sweep, feed)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()
