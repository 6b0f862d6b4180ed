"""The description of the service (OpenAPI), and what of it endpoints share."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from fastapi.openapi.utils import get_openapi

from lstm_sweep.search.service.auth import COOKIE
from lstm_sweep.search.service.guard import OPEN, READ_ALL_THE_SAME
from lstm_sweep.search.service.problems import MEDIA
from lstm_sweep.search.service.schemas import SWEEP_PATTERN, ProblemDocument
from lstm_sweep.search.service.settings import API

#: name of a sweep in a path; it is checked by the core, which has the sentence
SweepName = Annotated[
    str, Path(description="name of a sweep", json_schema_extra={"pattern": SWEEP_PATTERN})
]
Number = Annotated[int, Path(description="number of a trial in its sweep", ge=0, lt=10**18)]
RunId = Annotated[
    str,
    Path(
        description="ID of a trial's run, or its beginning",
        json_schema_extra={"pattern": "^[0-9A-Za-z]{1,32}$"},
    ),
]
Limit = Annotated[int, Query(description="rows of the answer, at most", ge=1, le=1_000)]
Page = Annotated[
    str,
    Query(
        description="`next_page` of the answer before; without one the first rows are meant",
        max_length=200,
        pattern="^[0-9A-Za-z+/=_-]*$",
    ),
]
#: rows of an answer without a limit: sweeps, and others
SWEEPS, ROWS = 20, 100
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


def refusals(given: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint beside those of all: when, by status."""
    return {status: {"description": text} for status, text in given.items()}


def describe(app: FastAPI, version: str) -> dict[str, Any]:
    """The description of an app: each endpoint has all its statuses."""
    found = get_openapi(
        title="lstm-sweep", version=version, description=ABOUT, routes=app.routes,
        tags=[{"name": name} for name in ("sweeps", "trials", "corpora", "service")],
    )  # fmt: skip
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
        for method, operation in methods.items():
            _complete(path, method.upper(), operation)
    return found


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add to an operation what any request may be refused by, and its logins."""
    statuses = dict(ALWAYS)
    has_login = path not in OPEN
    if has_login:
        statuses |= WITH_LOGIN
        operation["security"] = [{"token": []}, {"cookie": []}, {}]
    if method != "GET":
        statuses |= WITH_BODY
        if path not in READ_ALL_THE_SAME:
            statuses[403] = FORBIDDEN
    responses = operation["responses"]
    if operation.get("parameters") or operation.get("requestBody"):
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


__all__ = [
    "API", "ROWS", "SWEEPS", "Limit", "Number", "Page", "RunId", "SweepName", "describe",
    "refusals",
]  # fmt: skip
