"""What is answered: documents, given again for a moment, and refusals (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, Lock, to_thread
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import cut, escaped
from lstm_sweep.search.actions.references import NAMED
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.cache import AGE_S, Cache, Key
from lstm_sweep.search.values.documents import answered

Item = TypeVar("Item")

MEDIA = "application/problem+json"
#: beginning of the names of problems
URN = "urn:lstm-sweep:problem:"
#: characters of a sentence
LONGEST_DETAIL = 1_200
#: seconds after which a client may ask again
AGAIN_S = {429: 30, 503: 5}
#: status of each kind of problem; the first of those with one status is the usual one
STATUSES = {
    "request": 400,
    "login": 401,
    "forbidden": 403,
    "not-found": 404,
    "method": 405,
    "silence": 408,
    "conflict": 409,
    "sweep-exists": 409,
    "sweep-runs": 409,
    "different-search": 409,
    "nothing-to-do": 409,
    "unreadable-run": 409,
    "too-large": 413,
    "media-type": 415,
    "host": 421,
    "input": 422,
    "too-many": 429,
    "queue-full": 429,
    "unexpected": 500,
    "unavailable": 503,
    "ending": 503,
    "store": 503,
    "disk": 507,
}


class ProblemError(Exception):
    """A refusal; `kind` is its name, which follows from its status if there is no better one."""

    def __init__(
        self, status: int, detail: str, kind: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        usual = (name for name, of in STATUSES.items() if of == status)
        self.kind = kind or next(usual, "request")
        again = {"Retry-After": str(AGAIN_S[status])} if status in AGAIN_S else {}
        self.headers = {**again, **(headers or {})}

    def said(self, named: Callable[[str], str] = str) -> str:
        """Its sentence; `named` puts what clients call their data in place of paths."""
        return cut(escaped(without_secrets(named(self.detail))), LONGEST_DETAIL)

    def response(self, named: Callable[[str], str] = str) -> Response:
        document = {
            "type": URN + self.kind,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.said(named),
        }
        return Response(to_json(document), self.status, headers=self.headers, media_type=MEDIA)


def refusal(error: Exception, scope: Mapping[str, Any] | None = None) -> ProblemError:
    """What any error refuses a request by, which `scope` is of; 500 if it is unexpected."""
    for kind, of in NAMED.items():
        if isinstance(error, of):
            return ProblemError(STATUSES[kind], str(error), kind)
    if isinstance(error, RequestValidationError):
        return ProblemError(422, _not_as_described(error))
    if isinstance(error, HTTPException):
        place, method = (scope or {}).get("path", ""), (scope or {}).get("method", "")
        details = {
            404: f"{place}: expected a path that /api/v1/openapi.json describes",
            405: f"{method} {place}: expected another method",
            413: "the body of the request is too large",
        }
        detail = details.get(error.status_code, str(error.detail))
        return ProblemError(error.status_code, detail, headers=error.headers)
    if isinstance(error, ProblemError):
        return error
    return ProblemError(
        500, "something unexpected has happened, which the log of the service tells"
    )


def _not_as_described(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['ctx']['error']}; expected a document"
    found = "" if first["type"] == "missing" else f" is {cut(repr(first.get('input')))}"
    return f"{place}{found}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def to_json(document: Any) -> bytes:
    return json_text(answered(document)).encode("utf-8", "replace")


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers=headers, media_type="application/json")


#: threads that ask the store for answers at once, those that change something, and those that read
#: corpora
READERS, WRITERS, CORPORA = 6, 8, 2


class Answers:
    """Asks in threads, once for all who ask the same within half a second."""

    def __init__(self, cache: Cache, age_s: float = AGE_S) -> None:
        """`cache` has what is read of the store; answers, which are made of that, are kept too."""
        self._cache, self._age_s = cache, age_s
        self._readers, self._writers = CapacityLimiter(READERS), CapacityLimiter(WRITERS)
        self._corpora = CapacityLimiter(CORPORA)
        #: sweeps that are being changed
        self._changed = WeakValueDictionary[str, Lock]()

    async def get(self, key: Key, ask: Callable[[], Item]) -> Item:
        """What `ask` returns, or has returned a moment ago for the same key."""
        named = ("answer", *key)
        return await self.read(lambda: self._cache.get(named, ask, self._age_s))

    async def reply(self, key: Key, ask: Callable[[], Any]) -> Response:
        """What `get` returns, as JSON."""
        content = await self.get(key, lambda: to_json(ask()))
        return Response(content, media_type="application/json")

    async def change(self, call: Callable[[], Item], sweep: str = "") -> Item:
        """What `call` returns, in a thread; who waits for a change of the same `sweep` has none."""
        lock = self._changed.setdefault(sweep, Lock()) if sweep else Lock()
        try:
            async with lock:
                return await to_thread.run_sync(call, limiter=self._writers)
        finally:
            self.forget()

    async def read(self, call: Callable[[], Item]) -> Item:
        """What `call` returns, in a thread; it is not remembered."""
        return await to_thread.run_sync(call, limiter=self._readers)

    async def read_corpus(self, call: Callable[[], Item]) -> Item:
        """What `call` returns once it has read a corpus, for which no other answer waits."""
        return await to_thread.run_sync(call, limiter=self._corpora)

    def forget(self) -> None:
        self._cache.drop(lambda key: key[0] == "answer")
