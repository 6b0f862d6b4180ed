"""What forms send and do: launch, pause, resume, stop, rerun; and a browser's login.

An uploaded file goes to the disk as it comes.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, quote

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.answers import ProblemError, refusal
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.pages.views import LOGIN, moved, page, reference_of, rendered
from lstm_sweep.search.service.routes import sweeps, trials
from lstm_sweep.search.service.schemas import (
    Changes,
    ClassSubmission,
    ExportSubmission,
    Priority,
)
from lstm_sweep.search.service.site import Number, Site, SweepName, TheSite, TheUser
from lstm_sweep.search.service.uploads import SentBody, UploadedCorpus, Uploads
from lstm_sweep.search.values.spec import OPTIONS
from lstm_sweep.search.values.texts import DEFAULT_MINUTES

router = APIRouter(include_in_schema=False)


#: options of a sweep that the form shows at once, and those that it shows if asked
FIRST = ("minutes", "trials")
MORE = ("symbols", "label", "text", "ladder", "halving", "confirm_configs", "size_rule", "seed")
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
        site,
        user,
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
async def launch_form(site: TheSite, user: TheUser) -> Response:
    return page(await site.answers.read(partial(_form, site, user, {})))


@router.post("/launch")
async def launch(request: Request, site: TheSite, user: TheUser) -> Response:
    """Queue a sweep on files, a sample, or data of the service, or say what it would do."""
    fields, lines, said, status = dict[str, str](), list[str](), "", 200
    kind = request.headers.get("content-type", "")
    try:
        receive = partial(receive_form, site.uploads, user.name, SentBody(request), kind, fields)
        await to_thread.run_sync(receive, limiter=site.uploads.limiter)
        filled = filled_in(fields)
        wanted = {name: filled[name] for name in FIELDS if name in filled}
        if fields.get("only") != "dry-run":
            wanted["priority"], key = filled.get("priority", 0), fields.get("key") or None
            submit = partial(sweeps.submitted, site, user, wanted, key)
            return moved(f"/sweeps/{quote(await site.answers.change(submit))}")
        found = await site.answers.read_corpus(partial(sweeps.dry_run_of, site, wanted))
        lines = list(found.lines())[1:-1]  # that nothing is begun is said beside them
    except Exception as error:
        problem = refusal(error)
        if problem.status == 500:
            raise
        said, status = problem.said(site.names.named), problem.status
    form = partial(_form, site, user, fields, said, lines)
    return page(await site.answers.read(form), status)


def _to(sweep: str) -> Response:
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/pause")
async def pause(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    await sweeps.pause(sweep, site, user)
    return _to(sweep)


@router.post("/sweeps/{sweep}/stop")
async def stop(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    await sweeps.stop(sweep, site, user)
    return _to(sweep)


@router.post("/sweeps/{sweep}/resume")
async def resume(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    changes = Changes(**filled_in(await fields_of(request)))
    await sweeps.resume(sweep, site, user, request, changes)
    return _to(sweep)


@router.post("/sweeps/{sweep}/priority")
async def prioritise(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    priority = Priority(**filled_in(await fields_of(request)))
    await sweeps.prioritise(sweep, priority, site, user, request)
    return _to(sweep)


@router.post("/sweeps/{sweep}/trials/{number}/rerun")
async def rerun(sweep: SweepName, number: Number, site: TheSite, user: TheUser) -> Response:
    made = await trials.rerun(f"{sweep}/{number}", site, user)
    return moved(f"/reruns/{made.headers['location'].rpartition('/')[2]}")


@router.post("/sweeps/{sweep}/export")
@router.post("/sweeps/{sweep}/trials/{number}/export")
async def export(request: Request, site: TheSite, user: TheUser) -> Response:
    """Make the bundle of a trial, or of the best one of a sweep, and lead to it."""
    await trials.make(reference_of(request), ExportSubmission(), site, user, request)
    return moved(request.url.path)


@router.post("/sweeps/{sweep}/classes")
async def classes(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Which class each line of a text is of, by the best trial of a sweep."""
    lines = (await fields_of(request)).get("sequences", "").splitlines()
    body = ClassSubmission(sequences=[line for line in lines if line.strip()] or [""])
    found = await trials.classified(sweep, body, site, user, request)
    rows = zip(body.sequences, found.sequences, strict=True)
    return page(rendered("classes.html", site, user, sweep=sweep, trial=found.trial, rows=[*rows]))


@router.get(LOGIN)
async def login_form() -> Response:
    return page(rendered("login.html", said=""))


@router.post(LOGIN)
async def login(request: Request, site: TheSite) -> Response:
    token = (await fields_of(request)).get("token", "").strip()
    try:
        return site.login.enter(moved("/"), request, token)
    except ProblemError as error:
        return page(rendered("login.html", said=error.detail), error.status)


@router.post("/logout")
async def logout(request: Request, site: TheSite) -> Response:
    return site.login.leave(moved(LOGIN), request)


#: bytes of a field of a form, and parts that it has, at most
FIELD_BYTES, PARTS = 64 << 10, 100


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form without files."""
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=PARTS))
    except ValueError:
        raise ProblemError(400, "the body is no form, expected fields in UTF-8") from None


def filled_in(given: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a sweep that are filled in, as a spec has them."""
    return {name: _value(name, text.strip()) for name, text in given.items() if text.strip()}


def _value(name: str, text: str) -> Any:
    if name == "set":  # a field a line
        return [line.strip() for line in text.splitlines() if line.strip()]
    if name == "priority":
        with contextlib.suppress(ValueError):
            return int(text)
    return OPTIONS[name].kind.read(f"request: {name}", text) if name in OPTIONS else text


#: the field of several files, which are the sessions of a corpus
FILES = "files"
#: bytes of a form that are read at once
READ_BYTES = 64 << 10


def receive_form(
    uploads: Uploads, owner: str, body: SentBody, content_type: str, fields: dict[str, str]
) -> None:
    """Fill in the fields of a form; if it has files, `data` is the corpus that they become."""
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "").encode()
    if kind != "multipart/form-data" or not boundary:
        raise ProblemError(415, "the body is no form with a file: expected multipart/form-data")
    with contextlib.ExitStack() as scratch:

        def container(**_: Any) -> Any:
            return scratch.enter_context(tempfile.TemporaryFile(dir=uploads.coming))

        parser = MultiPartParser(
            container, FIELD_BYTES, buffer_size=READ_BYTES, max_form_parts=PARTS
        )
        stream: Any = _Blocks(body, boundary)
        try:
            found, files = parser.parse(stream, boundary, None)
        except RequestEntityTooLarge:
            much = f"over {PARTS} parts, or a field or headers of over {FIELD_BYTES:,} bytes"
            raise ProblemError(413, f"the form has {much}, expected less") from None
        except ValueError:
            raise ProblemError(400, "the body is no form that can be read") from None
        except OSError as error:
            raise ProblemError(507, f"the file cannot be written: {error.strerror}") from None
        fields |= found.to_dict()
        if sent := [one for one in files.items(multi=True) if one[1].filename]:
            fields["data"] = f"corpus:{_corpus_of(sent, uploads, owner).id}"
        elif place := fields.get("place", "").strip():
            fields["data"] = f"server:{place}"


def _corpus_of(
    sent: Sequence[tuple[str, FileStorage]], uploads: Uploads, owner: str
) -> UploadedCorpus:
    names = [PurePath((file.filename or "").replace("\\", "/")).name or "data" for _, file in sent]
    is_folder = {field for field, _ in sent} == {FILES}
    if len(sent) > 1 and not is_folder:
        raise InputError("the form has a file beside others: expected one, or several sessions")
    corpus = "sessions" if is_folder else names[0]
    with contextlib.closing(uploads.receive(corpus, owner, is_folder=is_folder)) as receiver:
        for name, (_, file) in zip(names, sent, strict=True):
            if not receiver.write(name, iter(partial(file.stream.read, READ_BYTES), b"")):
                raise InputError(f"file '{file.filename}': it is empty, expected a text")
        return receiver.finish()


class _Blocks:
    """The blocks of a form: none ends one byte behind a boundary, which werkzeug takes for data."""

    def __init__(self, body: SentBody, boundary: bytes) -> None:
        self._body, self._mark, self._end = body, b"--" + boundary, b""

    def read(self, size: int) -> bytes:
        found = block = self._body.read(size)
        while block:
            self._end = (self._end + block)[-len(self._mark) - 1 :]
            if not self._end.startswith(self._mark):
                break
            block = self._body.read(1)
            found += block
        return found
