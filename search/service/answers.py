"""What is answered: documents, given again for a moment, and refusals (RFC 9457)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, Lock, to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lstm_sweep.models.errors import cut, escaped
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.actions.references import NAMED
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.cache import AGE_S, Cache, Key
from lstm_sweep.search.values.documents import answered

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
KINDS = {
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
            return _problem(ProblemError(STATUSES[name], named(str(error))), name)
    if isinstance(error, RequestValidationError):
        error = _not_as_described(error)
    elif isinstance(error, HTTPException):
        error = _refused_by_starlette(error, scope or {})
    elif not isinstance(error, ProblemError):
        said = "something unexpected has happened, which the log of the service tells"
        error = ProblemError(500, said)
    error.detail = named(error.detail)
    return _problem(error, KINDS.get(error.status, "request"))


def _problem(error: ProblemError, name: str) -> Response:
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


Item = TypeVar("Item")

#: threads that ask the store for answers at once, those of one user, those that change something,
#: and those that read corpora
READERS, OF_ONE_USER, WRITERS, CORPORA = 6, 2, 8, 2


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent."""

    content: bytes
    etag: str


class Answers:
    """Asks in threads, once for all who ask the same within half a second.

    A user has a bounded number of these threads, so that nobody keeps others waiting. Who goes away
    waits no more.
    """

    def __init__(self, cache: Cache, age_s: float = AGE_S) -> None:
        """`cache` has what is read of the store; answers, which are made of that, are kept too."""
        self._cache, self._age_s = cache, age_s
        self._readers, self._writers = CapacityLimiter(READERS), CapacityLimiter(WRITERS)
        self._corpora = CapacityLimiter(CORPORA)
        #: sweeps that are being changed
        self._changed = WeakValueDictionary[str, Lock]()
        #: of users who ask just now
        self._users = WeakValueDictionary[str, CapacityLimiter]()

    async def get(self, request: Request, key: Key, ask: Callable[[], Any]) -> Answer:
        """The JSON of what `ask` returns, or has returned a moment ago for the same key.

        Raises:
            Exception: as `ask`.
        """

        def read() -> Answer:
            return self._cache.get(
                ("answer", *key),
                lambda: _written(ask),
                age_s=self._age_s,
                lasts=False,
            )

        return await self.ask(request, read)

    async def reply(self, request: Request, key: Key, ask: Callable[[], Any]) -> Response:
        """What `get` returns as a response; without content if the client says that it has it."""
        answer = await self.get(request, key, ask)
        headers = {"ETag": answer.etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == answer.etag:
            return Response(status_code=304, headers=headers)
        return Response(answer.content, headers=headers, media_type="application/json")

    async def ask(self, request: Request, call: Callable[[], Item]) -> Item:
        """What `call` returns, in one of the threads of the user; it is not remembered.

        Raises:
            ProblemError: the client has gone away, and so waits no more.
        """
        user = getattr(request.state, "user", None)
        own = self._users.setdefault(user.name if user else "", CapacityLimiter(OF_ONE_USER))

        async def asked() -> Item:
            async with own:
                return await self.read(call)

        asking, gone = asyncio.ensure_future(asked()), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ProblemError(408, "the client has gone away")
            return await asking
        finally:
            asking.cancel()
            gone.cancel()

    async def change(self, call: Callable[[], Item], sweep: str = "") -> Item:
        """What `call` returns, in a thread; what was remembered before is asked again.

        A `sweep` is changed by one after the other. To stop one may take a while: those that wait
        for it take no thread.
        """
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
        """Forget all answers, so that each question is asked again."""
        self._cache.drop(lambda key: key[0] == "answer")


async def _gone(request: Request) -> None:
    """Return once the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _written(ask: Callable[[], Any]) -> Answer:
    content = to_json(ask())
    return Answer(content, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')


def to_json(document: Any) -> bytes:
    """Values as JSON; what UTF-8 cannot hold is replaced by `?`."""
    return json_text(answered(document)).encode("utf-8", "replace")


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document that is not remembered."""
    return Response(to_json(content), status, headers=headers, media_type="application/json")
