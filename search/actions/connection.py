"""Requests to a service, the values in its answers, and the events of a sweep."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType, NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote, urlencode, urlsplit

from lstm_sweep.models.config import FIELDS, Config, TrialConfig
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.search.actions.references import NAMED
from lstm_sweep.search.actions.sweeps import TrialDetails
from lstm_sweep.search.process.secrets import hide, without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import TOKEN
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import (
    RESULTS,
    RETURNED_LOSS,
    VALIDATION_LOSS,
    Ended,
    Outcome,
    Phase,
)
from lstm_sweep.spaces.template.config import TemplateConfig

API = "/api/v1"
#: seconds between two tries: the first wait, and the longest
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
#: seconds for which a request is sent again while there is no answer
PATIENCE_S = 20.0
#: seconds without a byte after which a connection counts as broken
SILENCE_S = 120.0
#: statuses of a service that starts, ends or whose store does not answer
BUSY = (502, 503, 504)
#: characters of a refusal that is no problem document
LONGEST_REFUSAL = 200
#: whatever urllib raises if a connection cannot be made, or breaks
BROKEN = (OSError, http.client.HTTPException)


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
        """The object that the content is, as JSON.

        Raises:
            InputError: it is none, as the page of another server.
        """
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
    """The address of a service without a slash at its end; `where` says who has given it.

    Raises:
        InputError: it is none.
    """
    expected = "expected the address of a service, such as http://HOST:8000"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError(f"{where} is {shown(url)}: {expected}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
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

    Raises:
        InputError: no header can have the token.
    """

    address: str
    token: str = field(default="", repr=False)
    say: Callable[[str], None] = lambda line: None
    #: further headers of each request
    headers: Mapping[str, str] = field(default_factory=dict)
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

    def get(self, *path: str, accept: str = "application/json", **query: Any) -> Answer:
        """What a path under the API answers; parts of the path are quoted.

        Raises:
            RefusedError: the service refuses.
            NoAnswerError: it does not answer for a while.
        """
        return self.send("GET", *path, accept=accept, query=query)

    def send(
        self,
        method: str,
        *path: str,
        document: Any = None,
        key: str = "",
        accept: str = "application/json",
        once: bool = False,
        query: Mapping[str, Any] = MappingProxyType({}),
    ) -> Answer:
        """Send a document; `key` makes it safe to send it again, `once` says that it is not.

        Raises:
            RefusedError: the service refuses.
            NoAnswerError: it does not answer for a while, or `once` and the connection breaks.
        """
        headers = {"Accept": accept} | ({"Idempotency-Key": key} if key else {})
        body = None
        if method != "GET":
            headers["Content-Type"] = "application/json"
            body = b"" if document is None else json.dumps(document).encode()
        until, wait, is_told = self.clock() + self.patience_s, FIRST_WAIT_S, False
        while True:
            try:
                return self._read(method, _path(path, query), body, headers)
            except NoAnswerError as error:
                if once or self.clock() + wait > until:
                    raise
                if not is_told:
                    lasting = math.isinf(self.patience_s)
                    long = "until it answers" if lasting else f"for {self.patience_s:g} s"
                    self.say(f"{error}; asking again {long}")
                    is_told = True
            self.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    def put(
        self, *path: str, body: Iterable[bytes], size: int, kind: str, query: Mapping[str, str]
    ) -> Any:
        """Send `size` bytes of a media type as they are; the document that comes back.

        Raises:
            RefusedError: the service refuses.
            NoAnswerError: the connection breaks.
        """
        headers = {"Content-Length": str(size), "Content-Type": kind}
        return self._read("PUT", _path(path, query), body, headers).document()

    def open(
        self, *path: str, headers: Mapping[str, str], **query: Any
    ) -> http.client.HTTPResponse:
        """A response whose content is read as it comes; whoever opens it closes it.

        Raises:
            RefusedError: the service refuses.
            NoAnswerError: it does not answer.
        """
        return self._open("GET", _path(path, query), None, headers)

    def _read(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        with self._open(method, path, body, headers) as response:
            try:
                content = response.read()
            except BROKEN as error:
                raise self.no_answer(error) from None
            headers = {name.lower(): one for name, one in response.headers.items()}
            return Answer(headers, content, self.address)

    def _open(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(
            self.address + path, body, {**self.headers, **headers}, method=method
        )
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


def _no_service(address: str, how: str, content: bytes) -> InputError:
    """What is raised of an answer that a service of lstm-sweep does not give."""
    text = " ".join(content.decode("utf-8", "replace").split())[:LONGEST_REFUSAL]
    return InputError(
        f"{address} answers {how}: {shown(text)}, expected a service of lstm-sweep there"
    )


def _path(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    """A path under the API with a query, quoted; what is None is left out of the query."""
    given = {name: value for name, value in query.items() if value is not None}
    path = "/".join([API, *(quote(part, safe="") for part in parts)])
    return f"{path}?{urlencode(given)}" if given else path


#: seconds before what takes long, and has broken, is asked for again
AGAIN_S = 2.0


class Event(NamedTuple):
    """Something that has happened in a sweep."""

    name: str
    data: dict[str, Any]
    id: str


def events(connection: Connection, sweep: str) -> Iterator[Event]:
    """What happens in a sweep until it has ended; connections that break are made again for ever.

    Each begins with a snapshot of what has happened before: trials with the losses of their rounds,
    in parts, of which the last has the state of the sweep.

    Raises:
        RefusedError: there is no such sweep, or the service refuses to say.
    """
    last_id, is_told = "", False
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with connection.open("sweeps", sweep, "events", headers=headers) as response:
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
    """Lines of a stream until it ends or breaks."""
    try:
        for line in response:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
    except BROKEN:
        return


def parsed(lines: Iterable[str]) -> Iterator[Event]:
    """The events of the lines of a stream; one that is not whole is left out."""
    name, data, event_id = "", list[str](), ""
    for line in lines:
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                event_id = value
            continue
        if name:
            yield Event(name, json.loads("\n".join(data)) if data else {}, event_id)
        name, data, event_id = "", [], ""


Value = TypeVar("Value")


def read_value(kind: type[Value], given: Any) -> Value:
    """The value of a class that a document says; fields that it has besides are passed over.

    Raises:
        ValueError, TypeError, LookupError: the document says none, as that of another version.
        InputError: a config in it is none.
    """
    value: Value = _read(kind, given)
    return value


def _read(kind: Any, given: Any) -> Any:
    if kind is Any:
        return given
    if kind in OWN:
        return OWN[kind](given)
    if origin := get_origin(kind):
        return _read_generic(origin, get_args(kind), given)
    if hasattr(kind, "from_dict"):
        return kind.from_dict(given)
    if dataclasses.is_dataclass(kind):
        return _fields(kind, given)
    if issubclass(kind, Enum):
        return kind(given)
    # a whole number stays one where a fraction may be, as in what is printed
    if not isinstance(given, int | float if kind is float else kind):
        raise TypeError(f"{given!r} is no {kind}")
    return given


def _read_generic(origin: Any, kinds: tuple[Any, ...], given: Any) -> Any:
    if origin in (Union, UnionType):
        others = [kind for kind in kinds if kind is not NoneType]
        if given is None and len(others) < len(kinds):
            return None
        return _read(others[0], given) if len(others) == 1 else given
    if origin is tuple:
        each = [kinds[0]] * len(given) if kinds[-1] is Ellipsis else kinds
        return tuple(_read(kind, one) for kind, one in zip(each, given, strict=True))
    return {_read(kinds[0], name): _read(kinds[1], one) for name, one in given.items()}


def _fields(kind: Any, given: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    known = [one.name for one in dataclasses.fields(kind) if one.name in given]
    return kind(**{name: _read(hints[name], given[name]) for name in known})


def _config(values: Mapping[str, Any]) -> Config:
    """A config: one of our networks if it has all their fields, else one of a template."""
    is_ours = values.keys() == set(FIELDS)
    return TrialConfig.from_dict(values) if is_ours else TemplateConfig.from_dict(values)


def _trial(given: Mapping[str, Any]) -> TrialRecord:
    """A trial from its `document`, perhaps with its `results` and some of its `tags`."""
    sweep, _, number = given["trial"].rpartition("/")
    loss, outcome = given["val_loss"], Outcome.STOPPED if given["waits"] else given["outcome"]
    own = None if given["in_nats"] else loss
    ended = Ended(Outcome(outcome), given["reason"], given["waits"], own) if outcome else None
    return TrialRecord(
        sweep=sweep,
        number=int(number),
        config=_config(given["config"]),
        seed=given["seed"],
        attempt=given["attempt"],
        phase=Phase(given["phase"]),
        objective=VALIDATION_LOSS if given["in_nats"] else RETURNED_LOSS,
        rounds_per_epoch=given["rounds_per_epoch"],
        run_id=given["run_id"],
        status=given["status"],
        ended=ended,
        parameters=given["parameters"],
        logged_loss=given["val_loss"],
        logged_best=round((given["best_epoch"] or 0) * given["rounds_per_epoch"]) or None,
        logged_rounds=round(given["epochs"] * given["rounds_per_epoch"]),
        has_weights=given["has_weights"],
        tags=Tags.of(given["run_id"], given.get("tags", {})),
        rerun_of=given["rerun_of"],
        results=tuple(given.get("results", RESULTS)),
        waits=given["waits"],
        seconds=given["seconds"] or 0.0,
    )


def _details(given: Mapping[str, Any]) -> TrialDetails:
    return TrialDetails(_trial(given), tuple(given["by_epoch"]))


def _confirmed(given: dict[str, Any]) -> Any:
    return _fields(Confirmed, given | {"is_best": given["verdict"] == "the best"})


#: readers of values whose documents have other fields than they
OWN: Mapping[Any, Callable[[Any], Any]] = {
    Config: _config,
    Confirmed: _confirmed,
    TrialRecord: _trial,
    TrialDetails: _details,
    datetime: datetime.fromisoformat,
}


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)
