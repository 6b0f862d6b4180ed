"""What forms send and do: launch, pause, resume, stop, rerun; and a browser's login.

An uploaded file goes to the disk as it comes.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, quote

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from typing_extensions import override
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions.references import store_of_trial
from lstm_sweep.search.service import answers
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import LONGEST_TOKEN, User, check_may_prioritise
from lstm_sweep.search.service.pages.views import (
    LOGIN,
    REFUSALS,
    Looks,
    moved,
    page,
    rendered,
)
from lstm_sweep.search.service.queue import check_priority
from lstm_sweep.search.service.reruns import Wanted
from lstm_sweep.search.service.routes.corpora import SentBody
from lstm_sweep.search.service.routes.operation import begin_session, end_session
from lstm_sweep.search.service.routes.sweeps import changed, dry_run_of, submitted
from lstm_sweep.search.service.routes.trials import make
from lstm_sweep.search.service.schemas import ExportSubmission, TokenSubmission
from lstm_sweep.search.service.site import Number, Site, SweepName, TheSite, TheUser, note
from lstm_sweep.search.service.uploads import Receiver, Uploads
from lstm_sweep.search.store import reader
from lstm_sweep.search.values.spec import OPTIONS
from lstm_sweep.search.values.texts import DEFAULT_MINUTES

router = APIRouter(include_in_schema=False)


#: options of a sweep that the form shows at once, and those that it shows if asked
FIRST = ("minutes", "trials")
MORE = ("symbols", "ladder", "halving", "confirm_configs", "size_rule", "seed")
#: fields of the form that are given to the sweep
FIELDS = ("data", "name", "space", "set", *FIRST, *MORE)


def _form(
    site: Site,
    user: User,
    given: Mapping[str, str],
    said: str = "",
    dry_run: Sequence[str] = (),
) -> str:
    """The form that launches a sweep; `said` is why what was given is refused.

    `dry_run` are the lines of what it would do.
    """
    empty = dict.fromkeys((*FIELDS, "place", "priority"), "")
    chosen = {name: one.default_text for name, one in OPTIONS.items() if one.kind.words}
    usual = {"data": OPTIONS["data"].default, "minutes": f"{DEFAULT_MINUTES:g}"}
    filled = empty | chosen | usual | dict(given)
    return rendered(
        "launch.html",
        Looks.of(site, user),
        samples=list(SAMPLES),
        corpora=site.uploads.corpora(),
        space=OPTIONS["space"],
        first=[OPTIONS[name] for name in FIRST],
        more=[OPTIONS[name] for name in MORE],
        has_more=any(filled[name] != chosen.get(name, "") for name in ("set", *MORE)),
        has_roots=bool(site.settings.data_roots),
        given=filled,
        key=secrets.token_hex(16),
        said=said,
        dry_run=dry_run,
    )


@router.get("/launch")
async def launch_form(request: Request, site: TheSite, user: TheUser) -> Response:
    """The form that launches a sweep."""
    return page(await site.answers.ask(request, partial(_form, site, user, {})))


@router.post("/launch")
async def launch(request: Request, site: TheSite, user: TheUser) -> Response:
    """Queue a sweep on files, a sample, or data of the service, or say what it would do."""
    sent = SentForm(site.uploads, user.name, SentBody(request, site.settings.limits))
    fields = dict[str, str]()
    try:
        receive = partial(sent.receive, request.headers.get("content-type", ""))
        fields = await to_thread.run_sync(receive, limiter=site.uploads.limiter)
        if sent.error:
            raise sent.error
        if (place := fields.get("place", "").strip()) and not sent.has_files:
            fields["data"] = f"server:{place}"
        if fields.get("only") == "dry-run":
            lines = await site.answers.read_corpus(partial(_dry_run, site, fields))
            return page(
                await site.answers.ask(request, partial(_form, site, user, fields, dry_run=lines))
            )
        name = await site.answers.change(partial(_submit, site, user, fields))
    except REFUSALS as error:
        status = answers.response_of(error).status_code
        said = error.detail if isinstance(error, ProblemError) else str(error)
        form = partial(_form, site, user, fields, said)
        return page(await site.answers.ask(request, form), status)
    return moved(f"/sweeps/{quote(name)}")


def _dry_run(site: Site, given: Mapping[str, str]) -> list[str]:
    """What the sweep of a form would do, in lines; that nothing is begun is said beside them."""
    found = dry_run_of(site, _fields(filled_in(given)))
    return list(found.lines())[1:-1]


def _fields(filled: Mapping[str, Any]) -> dict[str, Any]:
    return {name: filled[name] for name in FIELDS if name in filled}


def _submit(site: Site, user: User, given: Mapping[str, str]) -> str:
    filled = filled_in(given)
    fields = _fields(filled) | {"priority": filled.get("priority", 0)}
    return submitted(site, user, fields, given.get("key") or None)


async def _changed(site: Site, user: User, sweep: str, call: Any) -> Response:
    await changed(site, user, sweep, call)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/pause")
async def pause(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """Let a sweep wait until it is resumed."""
    return await _changed(site, user, sweep, partial(site.service.pause, sweep))


@router.post("/sweeps/{sweep}/stop")
async def stop(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """End a sweep."""
    return await _changed(site, user, sweep, partial(site.service.stop, sweep))


@router.post("/sweeps/{sweep}/resume")
async def resume(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Go on with a sweep, also with more trials."""
    changes = filled_in(await fields_of(request))
    for name in changes:
        if name not in ("trials", "minutes"):
            raise InputError(f"{shown(name)} is no field: possible: trials, minutes")
    note(request, **{name: shown(value) for name, value in changes.items()})

    def call() -> None:
        with site.uploads.naming:
            site.service.resume(sweep, changes, owner=user.name)

    return await _changed(site, user, sweep, call)


@router.post("/sweeps/{sweep}/priority")
async def prioritise(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Give a sweep another priority."""
    priority: Any = filled_in(await fields_of(request)).get("priority")
    check_priority(priority)
    check_may_prioritise(user, priority)
    note(request, priority=priority)
    return await _changed(site, user, sweep, partial(site.service.prioritise, sweep, priority))


@router.post("/sweeps/{sweep}/trials/{number}/rerun")
async def rerun(sweep: SweepName, number: Number, site: TheSite, user: TheUser) -> Response:
    """Train a trial again."""

    def change() -> str:
        reference = f"{sweep}/{number}"
        record = reader.find_trial(store_of_trial(reference, site.store), reference)
        wanted = Wanted(record.trial.id, record.run_id)
        return site.service.rerun(wanted, owner=user.name).id

    return moved(f"/reruns/{await site.answers.change(change)}")


@router.post("/sweeps/{sweep}/export")
async def export(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Make the bundle of the best trial, and lead to it."""
    await make(sweep, ExportSubmission(), site, user, request)
    return moved(f"/sweeps/{quote(sweep)}/export")


@router.post("/sweeps/{sweep}/trials/{number}/export")
async def export_one(
    sweep: SweepName, number: Number, request: Request, site: TheSite, user: TheUser
) -> Response:
    """Make the bundle of a trial, and lead to it."""
    await make(f"{sweep}/{number}", ExportSubmission(), site, user, request)
    return moved(f"/sweeps/{quote(sweep)}/trials/{number}/export")


@router.get(LOGIN)
async def login_form() -> Response:
    """The page on which a token is entered."""
    return page(rendered("login.html", said=""))


@router.post(LOGIN)
async def login(request: Request, site: TheSite) -> Response:
    """Begin the session of a browser."""
    token = (await fields_of(request)).get("token", "").strip()
    try:
        if not 0 < len(token) <= LONGEST_TOKEN:
            raise ProblemError(422, "the token is empty or too long: expected that of a user")
        session = await begin_session(TokenSubmission(token=token), request, site)
    except ProblemError as error:
        return page(rendered("login.html", said=error.detail), error.status)
    answer = moved("/")
    answer.headers["set-cookie"] = session.headers["set-cookie"]
    return answer


@router.post("/logout")
async def logout(request: Request, site: TheSite) -> Response:
    """End the session of a browser."""
    answer = moved(LOGIN)
    answer.headers["set-cookie"] = (await end_session(request, site)).headers["set-cookie"]
    return answer


#: bytes of all fields of a form, and parts that it has, at most
FIELD_BYTES, PARTS = 64 << 10, 100
#: bytes of the end of a form beside its boundary: two dashes before and after it, two line ends
MARKS = 8


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form without files.

    Raises:
        ProblemError: the body is none.
    """
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=PARTS))
    except ValueError:
        raise ProblemError(400, "the body is no form, expected fields in UTF-8") from None


def filled_in(given: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a sweep that are filled in, as a spec has them.

    Raises:
        InputError: one cannot be.
    """
    return {name: _value(name, text.strip()) for name, text in given.items() if text.strip()}


def _value(name: str, text: str) -> Any:
    if name == "set":  # a field a line
        return [line.strip() for line in text.splitlines() if line.strip()]
    if name == "priority":
        return _priority(text)
    return OPTIONS[name].kind.read(f"request: {name}", text) if name in OPTIONS else text


def _priority(text: str) -> int | str:
    """A priority; what is none stays a text, which is refused."""
    try:
        return int(text)
    except ValueError:
        return text


#: the field of several files, which are the sessions of a corpus
FILES = "files"
#: bytes of a form that are read at once, fewer than its fields may have
READ_BYTES = 32 << 10


class SentForm(MultiPartParser):
    """A form whose files become a corpus as they come, in a thread.

    It is also what werkzeug reads the form from, and writes each file to. Why a file is refused is
    said once all was read: so the fields are known by then.
    """

    def __init__(self, uploads: Uploads, owner: str, body: SentBody) -> None:
        super().__init__(None, FIELD_BYTES, None, READ_BYTES, PARTS)
        self._uploads, self._owner, self._body = uploads, owner, body
        #: what was read and not handed out, and how much of the form's end is handed out at once
        self._held, self._tail = b"", 0
        self._receiver: Receiver | None = None
        #: the file that comes, its field, and bytes of it
        self._name, self._field, self._size = "", "", 0
        #: why a file is refused
        self.error: InputError | ProblemError | None = None

    @property
    def has_files(self) -> bool:
        """Whether files were sent."""
        return self._receiver is not None

    def receive(self, content_type: str) -> dict[str, str]:
        """The fields of the form; if it has files that are not refused, `data` names their corpus.

        Raises:
            ProblemError: it is no form, is too large, or does not come.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not boundary:
            raise ProblemError(415, "the body is no form with a file: expected multipart/form-data")
        self._tail = len(boundary) + MARKS
        stream: Any = self
        try:
            fields = dict(self.parse(stream, boundary.encode(), None)[0])
            if self._receiver and not self.error:
                with self._refusing():
                    fields["data"] = f"corpus:{self._receiver.finish().id}"
            return fields
        except RequestEntityTooLarge:
            much = f"over {PARTS} parts, or a field or headers of over {FIELD_BYTES:,} bytes"
            raise ProblemError(413, f"the form has {much}, expected less") from None
        except ValueError:
            raise ProblemError(400, "the body is no form that can be read") from None
        finally:
            if self._receiver:
                self._receiver.close()

    def read(self, size: int) -> bytes:
        """The next part of the form; its last bytes come in one.

        If werkzeug were given the end of the form in two parts, it might take some of that for
        content of the last file.
        """
        wanted = size + self._tail
        self._held += self._body.read(wanted - len(self._held))
        end = size if len(self._held) == wanted else wanted
        part, self._held = self._held[:end], self._held[end:]
        return part

    @override
    def start_file_streaming(self, event: Any, total_content_length: int | None) -> Any:
        """Begin with a file; a field for one that was left empty sends one without a name."""
        is_folder, before = event.name == FILES, self._field
        name = PurePath((event.filename or "").replace("\\", "/")).name or "data"
        self._name, self._size = "", 0
        if event.filename and not self.error:
            with self._refusing():
                if before and (before, event.name) != (FILES, FILES):
                    raise InputError(
                        "the form has a file beside others: expected one, or several sessions"
                    )
                if not self._receiver:
                    corpus = "sessions" if is_folder else name
                    self._receiver = self._uploads.receive(corpus, self._owner, is_folder=is_folder)
                self._receiver.begin(name)
                self._name, self._field = event.filename, event.name
        return self

    def write(self, data: bytes) -> None:
        """Take what comes of a file."""
        if self._name and self._receiver and data:
            self._size += len(data)
            with self._refusing():
                self._receiver.write(data)

    def seek(self, place: int) -> None:
        """End the file that has come."""
        if self._name and self._receiver:
            with self._refusing():
                if not self._size:
                    raise InputError(f"file '{self._name}': it is empty, expected a text")
                self._receiver.end()
            self._name = ""

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Take no more of files if one is refused."""
        try:
            yield
        except (InputError, ProblemError) as error:
            self.error, self._name = error, ""
