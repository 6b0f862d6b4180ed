"""The HTTP side of a service, as an ASGI app."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.search.actions.errors import NAMED
from lstm_sweep.search.service import answers, problems
from lstm_sweep.search.service.description import API, describe
from lstm_sweep.search.service.guard import Audit, Guard, OnRefusal
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.routes import corpora, events, operation, sweeps, trials
from lstm_sweep.search.service.routes.operation import version
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import HttpSettings
from lstm_sweep.search.service.site import Site

ROUTERS = tuple(one.router for one in (sweeps, trials, events, corpora, operation))


def create_app(
    service: Service,
    settings: HttpSettings,
    *,
    pages: Iterable[APIRouter] = (),
    open_paths: Iterable[str] = (),
    on_refusal: OnRefusal | None = None,
) -> FastAPI:
    """The app of a service that has been started.

    `pages` are further routers, which find all they need in `request.app.state.site`; `open_paths`
    are those of their paths that need no login, beside `/static/`; `on_refusal` makes pages of what
    is refused before it comes to them. Whoever ends the server sets
    `app.state.site.feeds.closing` first, since it waits for open streams.

    Raises:
        InputError: the file with the tokens cannot be used.
    """
    site = Site.of(service, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        site.feeds.closing = True

    app = FastAPI(
        title="lstm-sweep",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    for router in (*ROUTERS, *pages):
        app.include_router(router)
    for kind in NAMED.values():
        app.add_exception_handler(kind, problems.on_error)
    app.add_exception_handler(ProblemError, problems.on_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_middleware(
        Guard,
        settings=settings,
        login=site.login,
        audit=Audit(settings.folder),
        on_answer=site.metrics.note,
        open_paths=frozenset(open_paths),
        on_refusal=on_refusal,
    )
    _add_description(app)
    return app


def _add_description(app: FastAPI) -> None:
    """Serve the description; FastAPI's own would load its pages from elsewhere."""

    @functools.cache
    def description() -> dict[str, Any]:
        return describe(app, version())

    @functools.cache
    def written() -> bytes:
        return answers.to_json(description())

    app.openapi = description  # type: ignore[method-assign]

    @app.get(f"{API}/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        """The description of the service."""
        return Response(written(), media_type="application/json")
