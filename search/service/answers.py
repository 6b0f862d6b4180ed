"""Answers that are given again for a moment, so that many who ask the same cost one look."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.responses import Response

from lstm_sweep.models.strict_json import json_text

#: answers that are kept
MOST = 1_000
#: part of a processor that looks for one answer may take, and seconds between two of them at most
SHARE, MOST_SELDOM_S = 0.02, 10.0
#: seconds for which an old answer is given while a new one is looked for
WHILE_ASKED_S = 2.0
#: threads that ask the store for answers at once, that change something, and that read corpora
READERS, WRITERS, CORPORA = 4, 8, 2


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent."""

    content: bytes
    etag: str


@dataclass
class _Kept:
    """What is known of a question."""

    #: the last look, which may be under way
    asked: asyncio.Future[Answer]
    #: until when its answer is given again
    until: float = math.inf
    #: the answer before, and until when it is given while a new one is looked for
    before: Answer | None = None
    before_until: float = 0.0


class Answers:
    """Asks in threads, once for all who ask the same within `remembered_s` seconds.

    What costs much is asked more seldom: looks take at most `SHARE` of a processor for each
    question. For `WHILE_ASKED_S` seconds more, an answer is given at once while the next one is
    looked for.
    """

    def __init__(self, remembered_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._remembered_s, self._clock = remembered_s, clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._readers, self._writers = CapacityLimiter(READERS), CapacityLimiter(WRITERS)
        self._corpora = CapacityLimiter(CORPORA)

    async def get(self, key: Hashable, ask: Callable[[], Any]) -> Answer:
        """The JSON of what `ask` returns, or has returned a moment ago for the same key.

        Raises:
            Exception: as `ask`.
        """
        kept = self._kept.get(key)
        if kept is None or (kept.asked.done() and self._clock() >= kept.until):
            kept = self._begin(key, ask, kept)
        if not kept.asked.done() and kept.before and self._clock() < kept.before_until:
            return kept.before
        try:
            return await asyncio.shield(kept.asked)  # whoever goes away leaves it to the others
        except Exception as error:
            raise error.with_traceback(None) from None

    def _begin(self, key: Hashable, ask: Callable[[], Any], last: _Kept | None) -> _Kept:
        """Ask in a task of the event loop, and keep what it will answer."""
        asked: asyncio.Future[Answer] = asyncio.ensure_future(self._ask(key, ask))
        asked.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        kept = _Kept(asked)
        if self._remembered_s and last and _has_answered(last.asked):
            kept.before, kept.before_until = last.asked.result(), last.until + WHILE_ASKED_S
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return kept

    async def _ask(self, key: Hashable, ask: Callable[[], Any]) -> Answer:
        kept, cost_s = self._kept.get(key), 0.0
        try:
            answer, cost_s = await to_thread.run_sync(_written, ask, limiter=self._readers)
            return answer
        finally:
            if kept:
                seldom = min(cost_s / SHARE, MOST_SELDOM_S) if self._remembered_s else 0.0
                kept.until = self._clock() + max(self._remembered_s, seldom)

    async def change(self, call: Callable[[], Any]) -> Any:
        """What `call` returns, in a thread; what was remembered before is asked again."""
        try:
            return await to_thread.run_sync(call, limiter=self._writers)
        finally:
            self.forget()

    async def read(self, call: Callable[[], Any]) -> Any:
        """What `call` returns, in a thread; it is not remembered."""
        return await to_thread.run_sync(call, limiter=self._readers)

    async def read_corpus(self, call: Callable[[], Any]) -> Any:
        """What `call` returns once it has read a corpus, for which no other answer waits."""
        return await to_thread.run_sync(call, limiter=self._corpora)

    def forget(self) -> None:
        """Forget all answers, so that each question is asked again."""
        self._kept.clear()


def _has_answered(asked: asyncio.Future[Answer]) -> bool:
    return not asked.cancelled() and asked.exception() is None


def _written(ask: Callable[[], Any]) -> tuple[Answer, float]:
    """An answer, and the seconds of a processor that it has cost."""
    began = time.thread_time()
    content = to_json(ask())
    etag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    return Answer(content, etag), time.thread_time() - began


def to_json(document: Any) -> bytes:
    """A document as JSON; what UTF-8 cannot hold is replaced by `?`."""
    return json_text(document).encode("utf-8", "replace")


def response(request: Request, answer: Answer) -> Response:
    """An answer; without content if the client says that it has it."""
    headers = {"ETag": answer.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == answer.etag:
        return Response(status_code=304, headers=headers)
    return Response(answer.content, headers=headers, media_type="application/json")


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document that is not remembered."""
    return Response(to_json(content), status, headers=headers, media_type="application/json")
