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
from lstm_sweep.search.service.events import END, Listener
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.settings import API
from lstm_sweep.search.service.site import Site, SweepName, TheSite, TheUser, refusals

router = APIRouter(prefix=API, tags=["sweeps"])

MEDIA = "text/event-stream"
#: seconds within which a client has to read what it is sent
SLOW_S = 30.0
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=64,
        description="ID of the last event that was received; that of `end` ends it",
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

A stream that is opened again begins with a snapshot. The ID of `end` is answered by 204 while the
sweep is not resumed, at which browsers stop to connect again.
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
    listener = await site.feeds.open(sweep, user.name if site.settings.asks_login else "")
    view = listener.feed.view
    if last_id == END and view and not view.is_under_way:
        site.feeds.close(listener)
        return Response(status_code=204)
    return EventStream(site, listener, request)


class EventStream(StreamingResponse):
    """The events of a sweep; who listens is forgotten however the answer ends."""

    def __init__(self, site: Site, listener: Listener, request: Request) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        is_allowed = partial(_is_allowed, request, site, request.state.user)
        super().__init__(site.feeds.stream(listener, is_allowed), media_type=MEDIA, headers=headers)
        self._close = partial(site.feeds.close, listener)

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
