"""Refusals as problem documents (RFC 9457), with the sentences of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.models.errors import cut, escaped
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.actions.references import NAMED
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
    """A refusal of the HTTP side itself; `more` are further members of its document."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers, self.more = headers or {}, more


def response_of(
    error: Exception, named: Callable[[str], str] = str, scope: Mapping[str, Any] | None = None
) -> Response:
    """The problem document of any error; 500 if it is unexpected.

    `named` puts what clients call their data in place of paths in its sentence, and `scope` is the
    request.
    """
    for name, kind in NAMED.items():
        if isinstance(error, kind):
            return _document(ProblemError(STATUSES[name], named(str(error))), name)
    if isinstance(error, RequestValidationError):
        error = _not_as_described(error)
    elif isinstance(error, HTTPException):
        error = _refused_by_starlette(error, scope or {})
    elif not isinstance(error, ProblemError):
        said = "something unexpected has happened, which the log of the service tells"
        error = ProblemError(500, said)
    error.detail = named(error.detail)
    return _document(error, OTHERS.get(error.status, "request"))


def _document(error: ProblemError, name: str) -> Response:
    document = {
        "type": URN + name,
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": cut(escaped(without_secrets(error.detail)), LONGEST_DETAIL),
        **error.more,
    }
    again = {"Retry-After": str(AGAIN_S[error.status])} if error.status in AGAIN_S else {}
    content = json_text(document).encode("utf-8", "replace")
    return Response(content, error.status, headers={**again, **error.headers}, media_type=MEDIA)


def _refused_by_starlette(error: HTTPException, scope: Mapping[str, Any]) -> ProblemError:
    """An unknown path, another method, or a body that is too large."""
    path, method = scope.get("path", ""), scope.get("method", "")
    detail = {
        404: f"{path}: expected a path that /api/v1/openapi.json describes",
        405: f"{method} {path}: expected another method",
        413: "the body of the request is too large",
    }.get(error.status_code, str(error.detail))
    return ProblemError(error.status_code, detail, headers=error.headers)


def _not_as_described(error: RequestValidationError) -> ProblemError:
    """The first of what is not as described in a query, header or body."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    if first["type"] == "json_invalid":
        said = f"the body is no JSON: {first['ctx']['error']}; expected a document"
        return ProblemError(422, said)
    found = "" if first["type"] == "missing" else f" is {cut(repr(first.get('input')))}"
    return ProblemError(422, f"{place}{found}: {first['msg'][:1].lower()}{first['msg'][1:]}")
