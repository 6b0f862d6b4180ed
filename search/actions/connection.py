"""Requests to a service, and the events of a sweep that it sends."""

from __future__ import annotations

import dataclasses
import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.search.actions.references import NAMED
from lstm_sweep.search.process.secrets import hide, without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.spec import TOKEN

API = "/api/v1"
JSON = "application/json"
#: seconds between two tries: the first wait, and the longest
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
#: seconds for which a request is sent again while there is no answer
PATIENCE_S = 20.0
#: seconds before what takes long, and has broken, is asked for again, and how often it is
AGAIN_S, TRIES = 2.0, 5
#: seconds without a byte after which a connection counts as broken
SILENCE_S = 120.0
#: statuses of a service that starts, ends or whose store does not answer
BUSY = (502, 503, 504)
#: characters of a refusal that is no problem document
LONGEST_REFUSAL = 200
#: whatever urllib raises if a connection cannot be made, or breaks
BROKEN = (OSError, http.client.HTTPException)
Value = TypeVar("Value")


class NoAnswerError(StoreError):
    """The service does not answer, or the connection has broken."""


class RefusedError(InputError):
    """A service refuses a request; the sentence is its own."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        #: of HTTP
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a service answers; names of headers are in small letters."""

    headers: Mapping[str, str]
    content: bytes
    #: of who has answered
    address: str = ""

    def document(self) -> Any:
        """The object that the content is, as JSON; that of another server is refused."""
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise _no_service(self.address, "with no JSON object", self.content)
        return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which could take the token to another machine."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return None, by which urllib raises the redirect as an `HTTPError`."""


def check_address(url: str, where: str) -> str:
    """The address of a service without a slash at its end; `where` says who has given it."""
    expected = "expected the address of a service, such as http://HOST:8000"
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise InputError(f"{where} is {shown(url)}: {expected}")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            f"{where} has more than an address in it: {expected}, and a token in {TOKEN}"
        )
    return url.rstrip("/")


@dataclass
class Connection:
    """A service, and the token that it is asked with.

    Requests that change nothing, or that may be sent twice, are sent again for `patience_s` seconds
    while the service does not answer. `say` is told once when that begins.

    Its methods raise a `RefusedError`, or an error of `NAMED`, if the service refuses, and a
    `NoAnswerError` if it does not answer for a while.
    """

    address: str
    token: str = field(default="", repr=False)
    say: Callable[[str], None] = lambda line: None
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(_NoRedirect())
        self.token = self.token.strip()
        if not (self.token.isascii() and self.token.isprintable()):
            raise InputError(
                f"{TOKEN} has characters that cannot be sent: expected a token of this service"
            )
        hide(self.token)

    def lasting(self) -> Connection:
        """The same, with requests that are sent again until there is an answer."""
        return dataclasses.replace(self, patience_s=math.inf)

    def get(self, *path: str, accept: str = JSON, **query: Any) -> Answer:
        """What a path under the API answers; parts of the path are quoted."""
        return self.send("GET", *path, accept=accept, query=query)

    def send(
        self,
        method: str,
        *path: str,
        document: Any = None,
        key: str = "",
        accept: str = JSON,
        once: bool = False,
        query: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:
        """Send a document; `key` makes it safe to send it again, `once` says that it is not."""
        headers = {"Accept": accept} | ({"Idempotency-Key": key} if key else {})
        body = None
        if method != "GET":
            headers["Content-Type"] = JSON
            body = b"" if document is None else json.dumps(document).encode()
        until, wait, is_told = self.clock() + self.patience_s, FIRST_WAIT_S, False
        while True:
            try:
                with self.open(method, *path, query=query, headers=headers, body=body) as response:
                    return Answer(headers_of(response), response.read(), self.address)
            except (NoAnswerError, *BROKEN) as broken:
                error = self.no_answer(broken)
                if once or self.clock() + wait > until:
                    raise error from None
                if not is_told:
                    lasting = math.isinf(self.patience_s)
                    long = "until it answers" if lasting else f"for {self.patience_s:g} s"
                    self.say(f"{error}; asking again {long}")
                    is_told = True
            self.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def again(
        self,
        call: Callable[[], Value],
        what: str = "asking again",
        tries: int = TRIES,
        busy: int = 0,
    ) -> Value:
        """What a call returns that takes long, and is tried again if the connection breaks.

        `what` says to people what is done then. So it is if it is refused with the status `busy`.
        """
        for left in reversed(range(tries)):
            try:
                return call()
            except (NoAnswerError, RefusedError) as error:
                if not left or getattr(error, "status", busy) != busy:
                    raise
                if isinstance(error, NoAnswerError):
                    self.say(f"{error}; {what}")
            self.sleep(AGAIN_S)
            self.get("health")  # whether it is there at all
        raise AssertionError

    def open(
        self,
        method: str,
        *path: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
    ) -> http.client.HTTPResponse:
        """A response whose content is read as it comes; whoever opens it closes it.

        What is None is left out of the query.
        """
        given = urlencode({name: value for name, value in query.items() if value is not None})
        place = "/".join([API, *(quote(part, safe="") for part in path)])
        url = f"{self.address}{place}?{given}" if given else self.address + place
        request = urllib.request.Request(url, body, dict(headers), method=method)
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=SILENCE_S)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except InputError:  # of whoever reads what is sent
            raise
        except (ValueError, http.client.InvalidURL):  # a host or path that no request can have
            raise InputError(
                f"{shown(self.address)} cannot be asked: expected the address of a service"
            ) from None
        except BROKEN as error:
            raise self.no_answer(error) from None
        return response

    def no_answer(self, error: BaseException) -> NoAnswerError:
        """What is raised if a connection cannot be made, or breaks with this error."""
        if isinstance(error, NoAnswerError):
            return error
        reason = getattr(error, "reason", None) or error
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return NoAnswerError(f"no answer from {self.address}: {without_secrets(cut(str(text)))}")

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        try:
            content = error.read()
        except BROKEN as broken:
            return self.no_answer(broken)
        try:
            problem = json.loads(content)
            detail = problem["detail"]
        except (ValueError, LookupError, TypeError):
            problem, detail = {}, None
        if error.code in BUSY:
            said = f"no answer from {self.address}: status {error.code}"
            return NoAnswerError(f"{self.address}: {cut(str(detail), 600)}" if detail else said)
        if not isinstance(detail, str):
            return _no_service(self.address, f"with status {error.code}", content)
        if error.code == 401 and TOKEN not in detail:
            detail = f"{detail} (in {TOKEN})"
        known = NAMED.get(str(problem.get("type")).rpartition(":")[2])
        if known and issubclass(known, InputError):
            return known(detail)
        return RefusedError(detail, error.code)


def headers_of(response: http.client.HTTPResponse) -> dict[str, str]:
    """Headers with their names in small letters."""
    return {name.lower(): value for name, value in response.headers.items()}


def _no_service(address: str, how: str, content: bytes) -> InputError:
    """What is raised of an answer that a service of lstm-sweep does not give."""
    text = " ".join(content.decode("utf-8", "replace").split())[:LONGEST_REFUSAL]
    return InputError(
        f"{address} answers {how}: {shown(text)}, expected a service of lstm-sweep there"
    )


class Event(NamedTuple):
    """Something that has happened in a sweep."""

    name: str
    data: dict[str, Any]
    id: str


def events(connection: Connection, sweep: str) -> Iterator[Event]:
    """What happens in a sweep until it has ended; connections that break are made again for ever.

    Each begins with all trials, and the state of the sweep.
    """
    last_id, is_told, path = "", False, ("sweeps", sweep, "events")
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with connection.open("GET", *path, query={}, headers=headers) as response:
                if response.status == 204:
                    return
                is_told = False
                for event in parsed(_lines(response)):
                    last_id = event.id or last_id
                    yield event
                    if event.name == "end":
                        return
        except NoAnswerError as error:
            if not is_told:
                connection.say(f"{error}; asking again until it answers")
                is_told = True
        connection.sleep(AGAIN_S)


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    try:
        for line in response:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except BROKEN:
        return


def parsed(lines: Iterable[str]) -> Iterator[Event]:
    """The events of the lines of a stream; one that is not whole is left out."""
    found = dict[str, str]()
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            before = f"{found[name]}\n" if name == "data" and name in found else ""
            found[name] = before + value.removeprefix(" ")
            continue
        if found.get("event"):
            yield Event(found["event"], json.loads(found.get("data", "{}")), found.get("id", ""))
        found = {}
