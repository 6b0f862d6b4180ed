"""The HTTP side of a service, as an ASGI app, and its description (OpenAPI)."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.search.service.answers import MEDIA
from lstm_sweep.search.service.auth import COOKIE
from lstm_sweep.search.service.guard import OPEN, Guard
from lstm_sweep.search.service.pages import actions, views
from lstm_sweep.search.service.routes import corpora, operation, sweeps, trials
from lstm_sweep.search.service.schemas import ProblemDocument
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import API, HttpSettings
from lstm_sweep.search.service.site import Site

ROUTERS = tuple(one.router for one in (sweeps, trials, corpora, operation, views, actions))
#: what any request may be refused by
ALWAYS = {
    421: "the request is for a host name that is not this service's",
    500: "something unexpected has happened",
}
WITH_LOGIN = {
    401: "the login is missing or not known",
    429: "the service has too much to do for this user",
    503: "the store does not answer, or the service ends; ask again later",
}
WITH_BODY = {400: "the body cannot be read", 413: "the body is too large"}
FORBIDDEN = "the user may not do this, or the request comes from a page of another site"
CHECKED = "what is given is not as described; the sentence says what was expected"
ABOUT = """\
Queues sweeps of lstm-sweep, runs them, and hands out their models.

Refusals are problem documents (RFC 9457) whose `detail` is the sentence of the command line.
"""


def create_app(service: Service, settings: HttpSettings) -> FastAPI:
    """The app of a service that has been started.

    Whoever ends the server sets `app.state.site.feeds.closing` first, since it waits for open
    streams.

    Raises:
        InputError: the file with the tokens cannot be used.
    """
    site = Site(service, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        site.feeds.closing = True

    app = FastAPI(
        title="lstm-sweep",
        version=operation.version(),
        description=ABOUT,
        openapi_tags=[{"name": name} for name in ("sweeps", "trials", "corpora", "service")],
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # whose pages are loaded from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.site = site
    for router in ROUTERS:
        app.include_router(router)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _leave_to_guard)
    app.add_middleware(Guard, site=site)
    describe = app.openapi
    app.openapi = functools.cache(lambda: _completed(describe()))  # type: ignore[method-assign]
    return app


async def _leave_to_guard(request: Request, error: Exception) -> Response:
    raise error


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """The description of an app in which each endpoint has all its statuses."""
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "of `lstm-sweep token add`"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    for path, methods in found["paths"].items():
        for method, described in methods.items():
            _complete(path, method.upper(), described)
    return found


def _complete(path: str, method: str, described: dict[str, Any]) -> None:
    """Add to an operation what any request may be refused by, and its logins."""
    statuses = dict(ALWAYS)
    has_login = path not in OPEN
    if has_login:
        statuses |= WITH_LOGIN
        described["security"] = [{"token": []}, {"cookie": []}, {}]
    if method != "GET":
        statuses |= WITH_BODY | {403: FORBIDDEN}
    responses = described["responses"]
    if described.get("parameters") or described.get("requestBody"):
        statuses[422] = CHECKED
    if responses.get("422", {}).get("description") == "Validation Error":  # FastAPI's own
        del responses["422"]
    for status, text in statuses.items():
        own = responses.get(str(status), {}).get("description")
        responses[str(status)] = {"description": f"{own}; or {text}" if own else text}
    for status, response in responses.items():
        if status.isdecimal() and int(status) >= HTTPStatus.BAD_REQUEST:
            schema = {"$ref": "#/components/schemas/ProblemDocument"}
            response["content"] = {MEDIA: {"schema": schema}}
