"""Events of a sweep while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.description import API, SweepName, refusals
from lstm_sweep.search.service.events import END, Feed
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.site import Site, TheSite, TheUser

router = APIRouter(prefix=API, tags=["sweeps"])

MEDIA = "text/event-stream"
#: seconds within which a client has to read what it is sent
SLOW_S = 30.0
#: characters of the longest ID of an event
LONGEST_ID = 64
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=LONGEST_ID,
        description="ID of the last event that was received: what comes after it is sent",
    ),
]
ABOUT = """\
Server-sent events, until the sweep has ended or the connection breaks:

- `snapshot`: the first one, or few; `trials`, each with the fields of `trials`, its `number`,
  `state` (`running`, `paused` or `ended`), `epochs_per_round` and the `losses` of its rounds; the
  last of them also has the state of the sweep (`status`)
- `trial`: a trial has begun, waits, or has ended (`state`), with the fields of `trials`
- `round`: a trial has a further round (`trial`, `number`, `attempt`, `round`, `epoch`, `val_loss`)
- `status`: the state of the sweep, at each change
- `end`: the sweep has ended

Whoever sends the ID of the last event that was received gets what came after it, or, if the service
does not remember that, a snapshot. The ID of `end` is answered by 204 while the sweep is not
resumed, at which browsers stop to connect again.
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
        **refusals(
            {
                404: "there is no such sweep",
                409: "it cannot be read",
                429: "the user has too many streams open",
            }
        ),
    },
)
async def events(
    sweep: SweepName, request: Request, site: TheSite, user: TheUser, last_id: LastId = None
) -> Response:
    """Listen to a sweep."""
    # without a login all are one user
    who = user.name if site.settings.asks_login else ""
    feed = await site.feeds.open(sweep, who)
    assert feed.view is not None
    if last_id == END and not feed.view.is_under_way:
        site.feeds.close(sweep, feed, who)
        return Response(status_code=204)
    return EventStream(site, sweep, feed, last_id or "", request, who)


class EventStream(StreamingResponse):
    """The events of a feed, which is closed however the answer ends."""

    def __init__(
        self, site: Site, sweep: str, feed: Feed, last_id: str, request: Request, who: str
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        is_allowed = partial(_is_allowed, request, site, request.state.user)
        stream = site.feeds.stream(feed, last_id, is_allowed)
        super().__init__(stream, media_type=MEDIA, headers=headers)
        self._close = partial(site.feeds.close, sweep, feed, who)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SLOW_S):
                await send(message)

        try:
            with contextlib.suppress(TimeoutError):
                await super().__call__(scope, receive, send_in_time)
        finally:
            self._close()


async def _is_allowed(request: Request, site: Site, user: User) -> bool:
    """Whether the login of a request is good by now; it is as long as nobody can tell."""
    try:
        now = site.user_of(request)
    except ProblemError as error:
        return error.status not in (401, 403)
    return now.name == user.name
