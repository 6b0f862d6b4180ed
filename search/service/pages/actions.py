"""What forms send and do: launch, pause, resume, stop, rerun; and a browser's login.

An uploaded file goes to the disk as it comes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, quote

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions.references import store_of_trial
from lstm_sweep.search.service import problems
from lstm_sweep.search.service.auth import LONGEST_TOKEN, User, check_may_prioritise
from lstm_sweep.search.service.pages.views import (
    LOGIN,
    REFUSALS,
    Looks,
    moved,
    page,
    rendered,
)
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.queue import check_priority
from lstm_sweep.search.service.reruns import Wanted
from lstm_sweep.search.service.routes.operation import begin_session, end_session
from lstm_sweep.search.service.routes.sweeps import dry_run_of
from lstm_sweep.search.service.routes.trials import make
from lstm_sweep.search.service.schemas import ExportSubmission, TokenSubmission
from lstm_sweep.search.service.site import Number, Site, SweepName, TheSite, TheUser, note
from lstm_sweep.search.service.uploads import Receiver
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
    async with SentForm(site, user.name) as sent:
        try:
            await sent.receive(request)
            if sent.has_files:
                sent.fields["data"] = await sent.corpus()
            elif sent.fields.get("place", "").strip():
                sent.fields["data"] = f"server:{sent.fields['place'].strip()}"
            if sent.fields.get("only") == "dry-run":
                lines = await site.answers.read_corpus(partial(_dry_run, site, sent.fields))
                form = partial(_form, site, user, sent.fields, dry_run=lines)
                return page(await site.answers.ask(request, form))
            name = await site.answers.change(partial(_submit, site, user, sent.fields))
        except REFUSALS as error:
            status = problems.response_of(error).status_code
            said = error.detail if isinstance(error, ProblemError) else str(error)
            form = partial(_form, site, user, sent.fields, said)
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
    priority = filled.get("priority", 0)
    check_priority(priority)
    check_may_prioritise(user, priority)
    key = given.get("key") or None
    with site.uploads.naming:
        spec = site.names.spec_of(_fields(filled))
        return site.service.submit(spec, owner=user.name, client_token=key, priority=priority)


async def _changed(site: Site, user: User, sweep: str, call: Any) -> Response:
    def change() -> None:
        site.check_may_change(user, sweep)
        call()

    await site.answers.change(change, sweep)
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
        wanted = Wanted(record.trial.id, record.run_id, {})
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


#: the field of one file, and that of several, which are the sessions of a corpus
FILE, FILES = "file", "files"


class SentForm:
    """A form with a file or several; entered, it has room for them until it is left."""

    def __init__(self, site: Site, owner: str) -> None:
        self._site, self._owner = site, owner
        self.fields: dict[str, str] = {}
        #: the field that files came with
        self._files_of = ""
        #: name of the file that came last, and bytes of it
        self._file_name, self._size = "", 0
        #: bytes of all fields
        self._taken = 0
        #: what has come last, and is not decoded yet
        self._held = b""
        #: the field that comes, or where the file goes
        self._into: str | None = None
        self._receiver: Receiver | None = None

    async def __aenter__(self) -> SentForm:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._receiver:
            with CancelScope(shield=True):  # whatever ends the request
                await to_thread.run_sync(self._receiver.close)

    async def receive(self, request: Request) -> None:
        """Read the body of a request.

        Raises:
            ProblemError: it is no form, is too large, or does not come.
        """
        from werkzeug.http import parse_options_header
        from werkzeug.sansio.multipart import MultipartDecoder

        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise ProblemError(415, "the body is no form with a file: expected multipart/form-data")
        boundary = options["boundary"].encode()
        decoder, held = MultipartDecoder(boundary, max_parts=PARTS), len(boundary) + MARKS
        try:
            async with asyncio.timeout(self._site.settings.limits.upload_s):
                async for block in request.stream():
                    await to_thread.run_sync(self._take_block, decoder, block, held)
        except TimeoutError:
            raise ProblemError(408, "the form takes too long, expected all of it") from None
        except ClientDisconnect:
            raise ProblemError(400, "the connection has broken, expected all of it") from None
        except InputError:
            raise
        except ValueError:
            raise ProblemError(400, "the body is no form that can be read") from None

    def _take_block(self, decoder: Any, block: bytes, held: int) -> None:
        """Take what has come of the form, but for the last `held` bytes; nothing is its end.

        If the decoder were given the end of the form in two parts, it might take some of that for
        content of the last file.
        """
        from werkzeug.exceptions import RequestEntityTooLarge

        come = self._held + block
        parts = [come[:-held]] if block else [come, None]
        self._held = come[-held:]
        try:
            for part in parts:
                decoder.receive_data(part)
                while self._take(decoder.next_event()):
                    pass
        except RequestEntityTooLarge:
            raise ProblemError(413, f"the form has over {PARTS} parts, expected fewer") from None
        if len(decoder.buffer) > FIELD_BYTES:  # headers that do not end
            raise ProblemError(413, f"a part has headers of over {FIELD_BYTES:,} bytes")

    def _take(self, event: Any) -> bool:
        """Take a part of the form; whether more may follow at once."""
        kind = type(event).__name__
        if kind == "Field":
            self._into = event.name
            self.fields[event.name] = ""
        elif kind == "File":
            self._into = None
            self._begin(event.name, event.filename)
        elif kind == "Data" and self._into is None:
            self._write(event.data)
        elif kind == "Data" and self._into is not None:
            self._taken += len(event.data)
            if self._taken > FIELD_BYTES:
                raise ProblemError(413, f"the fields have more than {FIELD_BYTES:,} bytes")
            self.fields[self._into] += event.data.decode("utf-8", "replace")
        return kind not in ("NeedData", "Epilogue")

    def _begin(self, field: str, file_name: str) -> None:
        """Begin with a file; a field for one that was left empty sends one without a name.

        Raises:
            InputError: it has no name that can be used, or the form has another one.
            ProblemError: there is no room for it.
        """
        self._end()
        if not file_name:
            return
        is_folder = field == FILES
        if self._receiver and not (is_folder and self._files_of == FILES):
            raise InputError("the form has a file beside others: expected one, or several sessions")
        name = PurePath(file_name.replace("\\", "/")).name or "data"
        if not self._receiver:
            corpus = "sessions" if is_folder else name
            self._receiver = self._site.uploads.receive(corpus, self._owner, is_folder=is_folder)
        self._receiver.begin(name)
        self._files_of, self._file_name, self._size = field, file_name, 0

    def _write(self, data: bytes) -> None:
        if self._file_name and self._receiver and data:
            self._size += len(data)
            self._receiver.write(data)

    def _end(self) -> None:
        """End the file that has come, if one has.

        Raises:
            InputError: it is empty.
        """
        if not self._file_name:
            return
        if not self._size or not self._receiver:
            raise InputError(f"file '{self._file_name}': it is empty, expected a text")
        self._receiver.end()
        self._file_name = ""

    @property
    def has_files(self) -> bool:
        """Whether files were sent."""
        return self._receiver is not None

    async def corpus(self) -> str:
        """The name of the data that were sent, as a sweep calls them.

        Raises:
            InputError: a file is empty.
            ProblemError: there is no room for it.
        """
        return await to_thread.run_sync(self._make_corpus)

    def _make_corpus(self) -> str:
        self._end()
        assert self._receiver
        return f"corpus:{self._receiver.finish().id}"
