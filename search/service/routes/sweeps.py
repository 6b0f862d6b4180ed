"""Sweeps: submit, list, change, delete, listen; their reports, and what they would do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Header, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from lstm_sweep.models.documents import plain
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.actions.dry_run import DryRun
from lstm_sweep.search.actions.lifecycle import named_changes, specs_of
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import store_of_sweep
from lstm_sweep.search.actions.sweeps import SweepResult, page_of
from lstm_sweep.search.service import answers, schemas
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import User, check_may_prioritise
from lstm_sweep.search.service.events import END
from lstm_sweep.search.service.queue import check_priority
from lstm_sweep.search.service.schemas import (
    KEY_PATTERN,
    Changes,
    Networks,
    Priority,
    PruneSubmission,
    SweepSubmission,
)
from lstm_sweep.search.service.settings import API
from lstm_sweep.search.service.site import (
    LOCATION,
    ROWS,
    SWEEPS,
    TEXT,
    Endpoints,
    Limit,
    Page,
    Site,
    SweepName,
    TheSite,
    TheUser,
    note,
    text_header,
)
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tags

endpoint = Endpoints("sweeps")
Item = TypeVar("Item")

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="a token that the client makes up: a submission that is sent again with it "
        "makes no second sweep",
        pattern=KEY_PATTERN,
    ),
]


def status_of(site: Site, name: str) -> dict[str, Any]:
    found = site.names.told(site.service.status(name))
    return found.document() | {"owner": site.service.owner(name)}


def submitted(site: Site, user: User, fields: dict[str, Any], key: str | None) -> str:
    priority = fields.pop("priority", 0)
    check_priority(priority)
    check_may_prioritise(user, priority)
    with site.uploads.naming:
        spec = site.names.spec_of(fields)
        return site.service.submit(spec, owner=user.name, client_token=key, priority=priority)


async def changed(site: Site, user: User, sweep: str, call: Callable[[], Item]) -> Item:
    def change() -> Item:
        site.check_may_change(user, sweep)
        return call()

    return await site.answers.change(change, sweep)


@endpoint("POST /sweeps", "Queue a sweep", schemas.STATUS, status=201, described=LOCATION)
async def submit(body: SweepSubmission, site: TheSite, user: TheUser, key: Key = None) -> Response:
    """Queue a sweep with the fields of `SWEEP.yaml`; it runs once slots are free."""

    def change() -> dict[str, Any]:
        return status_of(site, submitted(site, user, body.sent(), key))

    made = await site.answers.change(change)
    return answers.document(made, 201, {"Location": f"{API}/sweeps/{made['sweep']}"})


@endpoint("GET /sweeps", "List sweeps", schemas.SWEEPS)
async def sweeps(site: TheSite, limit: Limit = SWEEPS, page: Page = "") -> Response:
    """Some of the sweeps of the store, the newest first."""

    def ask() -> dict[str, Any]:
        found = site.service.sweeps(limit, page)
        rows = [replace(row, data=site.names.data_named(row.data or "")) for row in found]
        return {"sweeps": rows, "left_out": found.left_out, "next_page": found.next_page or None}

    return await site.answers.reply(("sweeps", limit, page), ask)


@endpoint("GET /queue", "Show the queue", schemas.QUEUE)
async def queue(site: TheSite, limit: Limit = ROWS, page: Page = "") -> Response:
    """Some of the sweeps that wait or run, in the order in which slots are given."""

    def ask() -> dict[str, Any]:
        some, next_page = page_of(site.service.queue(), limit, page)
        return {"queue": [*map(site.names.told, some)], "next_page": next_page or None}

    return await site.answers.reply(("queue", limit, page), ask)


@endpoint("GET /sweeps/{sweep}", "Show the state of a sweep", schemas.STATUS)
async def status(sweep: SweepName, site: TheSite) -> Response:
    """The state of a sweep, and why it is in it."""
    return await site.answers.reply(("status", sweep), partial(status_of, site, sweep))


@endpoint("GET /sweeps/{sweep}/result", "Show the result of a sweep", schemas.RESULT)
async def result(sweep: SweepName, site: TheSite) -> Response:
    """The result of a sweep as `launch` prints it, or its state and best trials until it ends."""

    def ask() -> SweepResult:
        return site.names.told(Local(site.store).result(sweep))

    return await site.answers.reply(("result", sweep), ask)


@endpoint("PATCH /sweeps/{sweep}", "Reprioritise a sweep", schemas.QUEUED)
async def prioritise(
    sweep: SweepName, body: Priority, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Give a sweep that waits or runs another priority."""
    priority = body.given()["priority"]
    check_priority(priority)
    check_may_prioritise(user, priority)
    note(request, priority=priority)
    call = partial(site.service.prioritise, sweep, priority)
    return answers.document(site.names.told(await changed(site, user, sweep, call)))


@endpoint("POST /sweeps/{sweep}/pause", "Pause a sweep", schemas.PAUSED)
async def pause(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """Let a sweep wait, its trials checkpointed, until it is resumed."""

    def call() -> dict[str, Any]:
        return site.service.pause(sweep).document() | status_of(site, sweep)

    return answers.document(await changed(site, user, sweep, call))


@endpoint("POST /sweeps/{sweep}/resume", "Resume a sweep", schemas.STATUS)
async def resume(
    sweep: SweepName, site: TheSite, user: TheUser, request: Request, body: Changes | None = None
) -> Response:
    """Queue a sweep that is paused, was broken off or has ended, also with more to do."""
    given = body.sent() if body else {}
    note(request, **{field: shown(value) for field, value in given.items()})

    def call() -> dict[str, Any]:
        with site.uploads.naming:
            run = reader.existing_sweep(store_of_sweep(sweep, site.store), sweep)
            site.check_may_train(Tags(run))
            site.service.resume(sweep, _changes(site, run, dict(given)), owner=user.name)
        return status_of(site, sweep)

    return answers.document(await changed(site, user, sweep, call))


def _changes(site: Site, run: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """Changes that a request gives, once the spec and the template that it gives are checked."""
    spec, template = None, None
    if (fields := changes.pop("spec", None)) is not None:
        if not isinstance(fields, dict):
            raise InputError(f"request: spec is {shown(fields)}: expected fields and values")
        spec = site.names.spec_of(fields)
        changes = named_changes(fields, spec) | changes
    if (named := changes.pop("template", None)) is not None:
        template = site.names.template(named)
    if spec or template:
        specs_of(run, changes, spec, template)
    return changes


@endpoint("POST /sweeps/{sweep}/stop", "Stop a sweep", schemas.STOPPED)
async def stop(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """End a sweep, and wait until it has ended; `resume` goes on with it."""
    stopped = await changed(site, user, sweep, partial(site.service.stop, sweep))
    return answers.document(stopped)


OnlySaid = Annotated[bool, Query(description="only say what would be deleted")]


@endpoint("DELETE /sweeps/{sweep}", "Delete a sweep", schemas.DELETED)
async def delete(
    sweep: SweepName, site: TheSite, user: TheUser, dry_run: OnlySaid = False
) -> Response:
    """Delete a sweep of the user's own, its runs and their files.

    A request that deletes many runs ends before all are deleted: `left` says how many are, and the
    same request goes on.
    """
    call = partial(site.service.delete, sweep, dry_run=dry_run)
    return answers.document(await changed(site, user, sweep, call))


@endpoint("POST /prune", "Delete sweeps that ended long ago", schemas.PRUNED)
async def prune(body: PruneSubmission, site: TheSite, user: TheUser, request: Request) -> Response:
    """Delete the user's own sweeps that ended long ago, or all of them but their best trials.

    Of an admin it deletes those of all users. As for one sweep, `left` says how many runs are left.
    """
    note(request, **body.model_dump())
    call = partial(
        site.service.prune,
        older_than_s=body.older_than_seconds,
        keep_best=body.keep_best,
        dry_run=body.dry_run,
        owner=None if user.is_admin else user.name,
    )
    return answers.document(await site.answers.change(call))


@endpoint("POST /sizes", "Ask the size rule about networks", schemas.SIZES)
async def sizes(body: Networks, request: Request, site: TheSite) -> Response:
    """Sizes of the networks of a space, compared with the size rule on the data."""
    fields = body.given()
    found = await site.answers.read_corpus(lambda: Local().size(site.names.spec_of(fields)))
    return answers.document(found)


@endpoint("POST /dry-runs", "Say what a sweep would do", schemas.DRY_RUN)
async def dry_run(body: SweepSubmission, site: TheSite) -> Response:
    """What a sweep with the fields of `SWEEP.yaml` would do; nothing is trained, or queued."""
    fields = body.sent()
    check_priority(fields.pop("priority", 0))
    found = await site.answers.read_corpus(partial(dry_run_of, site, fields))
    return answers.document(found)


def dry_run_of(site: Site, fields: Mapping[str, Any]) -> DryRun:
    settings = site.service.settings
    spec = site.names.spec_of(fields)
    if settings.cluster:  # on which all sweeps run
        spec = replace(spec, on="ray")
    found = Local(site.store).dry_run(spec, most_slots=settings.count_slots())
    return found.with_places(site.names.named)


#: header with what `report` prints, but for the file; ASCII
RESULT = "Lstm-Sweep-Report"
#: a report has its style in itself, and no script; nothing is loaded, sent or framed
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
REPORT = {
    "description": "one page that loads nothing",
    "content": {"text/html": TEXT},
    "headers": text_header(RESULT, "what `report --json` prints, but for the file, and `headline`"),
}


@endpoint(
    "GET /sweeps/{sweep}/report",
    "Show the report of a sweep",
    described=REPORT,
    response_class=Response,
)
async def report(sweep: SweepName, site: TheSite) -> Response:
    """A page on a sweep as it is now, be it finished or not: its result, and why."""

    def ask() -> tuple[bytes, str]:
        found = Local(site.store).report(sweep)
        about = found.to_dict() | {"headline": found.headline}
        del about["report"]
        html = site.names.named(found.html).encode("utf-8", "replace")
        return html, json.dumps(plain(about))

    html, about = await site.answers.get(("report", sweep), ask)
    headers = {RESULT: about, "Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
    return Response(html, headers=headers, media_type="text/html")


MEDIA = "text/event-stream"
LastId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=64,
        description="ID of the last event that was received; that of `end` ends it",
    ),
]
ABOUT = """\
Server-sent events, until the sweep has ended or the connection breaks:

- `trial`: a trial as it stands now, with the fields of `trials`, its `number`, `state` (`running`,
  `paused` or `ended`), `epochs_per_round` and the `losses` of its rounds
- `status`: the state of the sweep
- `end`: the sweep has ended

First come all trials and the state, then each that has changed, a trial also by a further round.
So it is if a stream is opened again. The ID of `end` is answered by 204 while the sweep is not
resumed, at which browsers stop to connect again.
"""


@endpoint(
    "GET /sweeps/{sweep}/events",
    "Listen to a sweep",
    described={"description": "events", "content": {MEDIA: TEXT}},
    description=ABOUT,
    openapi_extra={
        "responses": {"204": {"description": "the sweep has ended, as the client knows"}}
    },
    response_class=StreamingResponse,
)
async def events(
    sweep: SweepName, request: Request, site: TheSite, user: TheUser, last_id: LastId = None
) -> Response:
    # without a login all are one user
    listener = sweep, user.name if site.settings.asks_login else ""
    view = await site.feeds.open(*listener)
    if last_id == END and not view.is_under_way:
        site.feeds.close(*listener)
        return Response(status_code=204)
    stream = site.feeds.stream(sweep, view, partial(_is_allowed, request, site, user))
    return EventStream(stream, partial(site.feeds.close, *listener))


class EventStream(StreamingResponse):
    """The events of a sweep; who listens is forgotten however the answer ends."""

    def __init__(self, events: Any, close: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type=MEDIA, headers=headers)
        self._close = close

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


async def _is_allowed(request: Request, site: Site, user: User) -> bool:
    """Whether the login of a request is good by now; it is as long as nobody can tell."""
    try:
        now = site.login.user_of(request.headers, by_proxy=request.state.by_proxy)
    except ProblemError as error:
        return error.status not in (401, 403)
    return now.name == user.name
