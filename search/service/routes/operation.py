"""The service itself: whether it is there, takes sweeps, what it does; and a browser's login."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from lstm_sweep.search.service import answers
from lstm_sweep.search.service import schemas as shows
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import COOKIE, cookie_of
from lstm_sweep.search.service.schemas import TokenSubmission
from lstm_sweep.search.service.settings import API
from lstm_sweep.search.service.site import Site, TheSite, TheUser, refusals, responses

router = APIRouter(tags=["service"])


@functools.cache
def version() -> str:
    """Version of this program."""
    from importlib.metadata import version as version_of

    return version_of("lstm-sweep")


@router.get(f"{API}/health", summary="Is it there?", responses=responses(shows.Health))
async def health() -> Response:
    """The service answers; without a login, and whatever the store does."""
    return answers.document({"status": "ok", "version": version()})


@router.get(
    f"{API}/ready",
    summary="Does it take sweeps?",
    responses=responses(
        shows.Ready, {503: "it takes no sweeps just now; the log of the service says why"}
    ),
)
async def ready(request: Request, site: TheSite) -> Response:
    """The service takes sweeps, and its store answers; without a login, so it names nothing."""

    def ask() -> dict[str, Any]:
        if site.service.ready():
            raise ProblemError(503, "no sweeps are taken just now: the log of the service says why")
        found = _figures(site)
        return {
            "status": "ready",
            "takes_code": site.settings.allow_code,
            **found["sweeps"],
            "slots_held": found["slots"]["held"],
        }

    return await site.answers.reply(request, ("ready",), ask)


def _figures(site: Site) -> dict[str, Any]:
    """What the service does just now, as `logs.FIGURES` says."""
    service, queue, now = site.service, site.service.queue(), datetime.now(UTC)
    running = sum(bool(one.slots) for one in queue)
    waits = [(now - one.submitted).total_seconds() for one in queue if not one.slots]
    return {
        "sweeps": {"running": running, "queued": len(queue) - running},
        "slots": {
            "held": sum(one.slots for one in queue),
            "wanted": sum(one.wanted for one in queue),
        },
        "listeners": site.feeds.listeners,
        "oldest_wait_seconds": max([0.0, *waits]),
        "driver_deaths": service.figures.driver_deaths,
        "failed_looks": service.figures.failed_looks,
        "store_seconds": service.figures.store_s,
        "ready": not service.ready(),
    }


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(site: TheSite) -> Response:
    """Requests, sweeps by state, slots and listeners."""
    text = await site.answers.read(lambda: site.metrics.text(_figures(site)))
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.post(
    f"{API}/session",
    status_code=204,
    summary="Log a browser in",
    responses=refusals({401: "the token is not known"}),
)
async def begin_session(body: TokenSubmission, request: Request, site: TheSite) -> Response:
    """Begin a session: its cookie, in place of the token, is for pages of this service alone."""
    return logged_in(Response(status_code=204), body.token, request, site)


def logged_in(answer: Response, token: str, request: Request, site: Site) -> Response:
    """An answer with the cookie of a new session."""
    session, request.state.user = site.login.begin_session(token)
    answer.set_cookie(
        COOKIE,
        session,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.delete(f"{API}/session", status_code=204, summary="Log a browser out")
async def end_session(request: Request, site: TheSite) -> Response:
    """End the session of a browser."""
    return logged_out(Response(status_code=204), request, site)


def logged_out(answer: Response, request: Request, site: Site) -> Response:
    """An answer that takes the cookie of a session away, which ends."""
    site.login.end_session(cookie_of(request.headers))
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get(f"{API}/user", summary="Who am I?", responses=responses(shows.USER))
async def who(user: TheUser) -> Response:
    """Who asks, and the role; a proxy asks this for whoever wants pages that lie beside these."""
    return answers.document(user)
