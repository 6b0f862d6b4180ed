"""Refusals as problem documents (RFC 9457), with the sentences of the command line."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.models.errors import cut, escaped
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.actions.errors import NAMED
from lstm_sweep.search.process.secrets import without_secrets

MEDIA = "application/problem+json"
#: beginning of the names of problems
URN = "urn:lstm-sweep:problem:"
#: characters of a sentence
LONGEST_DETAIL = 1_200
#: seconds after which a client may ask again
AGAIN_S = {429: 30, 503: 5}


#: status of each kind of problem that an error of the core stands for
STATUSES = {
    "not-found": 404,
    "sweep-exists": 409,
    "sweep-runs": 409,
    "different-search": 409,
    "nothing-to-do": 409,
    "queue-full": 429,
    "ending": 503,
    "unreadable-run": 409,
    "store": 503,
    "disk": 507,
    "input": 422,
}
#: kinds of problems that no error of the core stands for, by status
OTHERS = {
    400: "request",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "method",
    408: "silence",
    409: "conflict",
    413: "too-large",
    415: "media-type",
    421: "host",
    422: "input",
    429: "too-many",
    500: "unexpected",
    503: "unavailable",
    507: "disk",
}


class ProblemError(Exception):
    """A refusal of the HTTP side itself."""

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers, self.more = headers or {}, more


def problem(
    status: int,
    detail: object,
    *,
    name: str | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem document as a response; `more` are further members."""
    sentence = cut(escaped(without_secrets(str(detail))), LONGEST_DETAIL)
    document = {
        "type": URN + (name or OTHERS.get(status, "request")),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
        **more,
    }
    own = {"Retry-After": str(AGAIN_S[status])} if status in AGAIN_S else {}
    content = json_text(document).encode("utf-8", "replace")
    return Response(content, status, headers={**own, **(headers or {})}, media_type=MEDIA)


def response_of(error: Exception, named: Callable[[str], str] = str) -> Response:
    """The problem document of an error of the core, or of the HTTP side.

    `named` puts what clients call their data in place of paths in its sentence.
    """
    if isinstance(error, ProblemError):
        return problem(error.status, named(error.detail), headers=error.headers, **error.more)
    for name, kind in NAMED.items():
        if isinstance(error, kind):
            return problem(STATUSES[name], named(str(error)), name=name)
    return problem(500, "something unexpected has happened, which the log of the service tells")


async def on_error(request: Request, error: Exception) -> Response:
    """Handles the errors that have names, and `ProblemError`."""
    return response_of(error, request.app.state.site.names.named)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handles what Starlette refuses: unknown paths, methods, bodies that are too large."""
    assert isinstance(error, HTTPException)
    detail = {
        404: f"{request.url.path}: expected a path that /api/v1/openapi.json describes",
        405: f"{request.method} {request.url.path}: expected another method",
        413: "the body of the request is too large",
    }.get(error.status_code, str(error.detail))
    return problem(error.status_code, detail, headers=dict(error.headers or {}))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Handles a query, header or body that is not as described: names the first one."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    if first["type"] == "json_invalid":
        return problem(422, f"the body is no JSON: {first['ctx']['error']}; expected a document")
    found = "" if first["type"] == "missing" else f" is {cut(repr(first.get('input')))}"
    said = first["msg"][:1].lower() + first["msg"][1:]
    return problem(422, f"{place}{found}: {said}")
