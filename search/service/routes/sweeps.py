"""Sweeps: submit, list, pause, stop, resume, reprioritise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search import api
from lstm_sweep.search.api.lifecycle import StoppedSweep
from lstm_sweep.search.api.listings import page_of
from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.api.resumption import changes_of, named_changes
from lstm_sweep.search.driver.resume import how_to_go_on
from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.auth import User, check_may_prioritise
from lstm_sweep.search.service.bodies import (
    KEY_PATTERN,
    Changes,
    Priority,
    SweepSubmission,
    check_priority,
)
from lstm_sweep.search.service.description import (
    API,
    ROWS,
    SWEEPS,
    Limit,
    Page,
    SweepName,
    refusals,
)
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.site import Site, TheSite, TheUser, note
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.tags import Tags

router = APIRouter(prefix=API, tags=["sweeps"])

NONE = {404: "there is no such sweep"}
QUEUE = shows.list_of("Queue", "queue", QueuedSweep, next_page=(str | None, shows.NEXT_PAGE))
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
    """The state of a sweep, and who has submitted it."""
    found = site.service.status(name).to_dict()
    why = found["why"] and site.names.named(found["why"])
    return found | {"why": why, "owner": site.service.owner(name)}


@router.post(
    "/sweeps",
    status_code=201,
    summary="Queue a sweep",
    responses={
        201: {"model": shows.SweepStatus, "headers": {"Location": {"schema": {"type": "string"}}}},
        **refusals(
            {
                404: "there is no such corpus",
                409: "a sweep has this name",
            }
        ),
    },
)
async def submit(body: SweepSubmission, site: TheSite, user: TheUser, key: Key = None) -> Response:
    """Queue a sweep with the fields of `SWEEP.yaml`; it runs once slots are free."""
    fields = body.sent()
    priority = fields.pop("priority", 0)
    check_priority(priority)
    check_may_prioritise(user, priority)

    def change() -> dict[str, Any]:
        with site.uploads.naming:
            spec = site.names.spec_of(fields)
            name = site.service.submit(spec, owner=user.name, client_token=key, priority=priority)
        return status_of(site, name)

    made = await site.answers.change(change)
    return answers.document(made, 201, {"Location": f"{API}/sweeps/{made['sweep']}"})


@router.get("/sweeps", summary="List sweeps", responses={200: {"model": shows.SweepList}})
async def sweeps(
    request: Request, site: TheSite, limit: Limit = SWEEPS, page: Page = ""
) -> Response:
    """Some of the sweeps of the store, the newest first."""

    def ask() -> dict[str, Any]:
        found = site.service.sweeps(limit, page)
        more = {"left_out": list(found.left_out), "next_page": found.next_page or None}
        rows = [row | {"data": site.names.data_named(row["data"] or "")} for row in found.to_list()]
        return {"sweeps": rows, **more}

    return answers.response(request, await site.answers.get(request, ("sweeps", limit, page), ask))


@router.get("/queue", summary="Show the queue", responses={200: {"model": QUEUE}})
async def queue(request: Request, site: TheSite, limit: Limit = ROWS, page: Page = "") -> Response:
    """Some of the sweeps that wait or run, in the order in which slots are given."""

    def ask() -> dict[str, Any]:
        shown, next_page = page_of(site.service.queue(), limit, page)
        return {"queue": [one.to_dict() for one in shown], "next_page": next_page or None}

    return answers.response(request, await site.answers.get(request, ("queue", limit, page), ask))


@router.get(
    "/sweeps/{sweep}",
    summary="Show the state of a sweep",
    responses={200: {"model": shows.SweepStatus}, **refusals(NONE | {409: "it cannot be read"})},
)
async def status(sweep: SweepName, request: Request, site: TheSite) -> Response:
    """The state of a sweep, and why it is in it."""
    ask = partial(status_of, site, sweep)
    return answers.response(request, await site.answers.get(request, ("status", sweep), ask))


@router.get(
    "/sweeps/{sweep}/result",
    summary="Show the result of a sweep",
    responses={200: {"model": shows.SweepOutcome}, **refusals(NONE | {409: "it cannot be read"})},
)
async def result(sweep: SweepName, request: Request, site: TheSite) -> Response:
    """The result of a sweep as `launch` prints it, or its state and best trials until it ends."""

    def ask() -> dict[str, Any]:
        found = api.result(sweep, settings=site.store)
        return found.document() | {"why": site.names.named(found.why)}

    return answers.response(request, await site.answers.get(request, ("result", sweep), ask))


@router.patch(
    "/sweeps/{sweep}",
    summary="Reprioritise a sweep",
    responses={
        200: {"model": shows.model_of(QueuedSweep)},
        **refusals(NONE | {409: "it has ended"}),
    },
)
async def prioritise(
    sweep: SweepName, body: Priority, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Give a sweep that waits or runs another priority."""
    priority = body.given()["priority"]
    check_priority(priority)
    check_may_prioritise(user, priority)
    note(request, priority=priority)

    def change() -> dict[str, Any]:
        site.check_may_change(user, sweep)
        return site.service.prioritise(sweep, priority).to_dict()

    return answers.document(await site.answers.change(change))


@router.post(
    "/sweeps/{sweep}/pause",
    summary="Pause a sweep",
    responses={200: {"model": shows.Paused}, **refusals(NONE | {409: "it has ended"})},
)
async def pause(sweep: SweepName, site: TheSite, user: TheUser, request: Request) -> Response:
    """Let a sweep wait, its trials checkpointed, until it is resumed."""

    def change() -> dict[str, Any]:
        site.check_may_change(user, sweep)
        before = site.service.status(sweep)
        site.service.pause(sweep)
        had_ended = not before.is_under_way or before.state == "paused"
        tags = Tags(reader.existing_sweep(store_of_sweep(sweep, site.store), sweep))
        more = {"had_ended": had_ended, "advice": how_to_go_on(sweep, tags), "left_out": []}
        return status_of(site, sweep) | more

    return answers.document(await site.answers.change(change, sweep))


@router.post(
    "/sweeps/{sweep}/resume",
    summary="Resume a sweep",
    responses={
        200: {"model": shows.SweepStatus},
        **refusals(
            {
                403: "templates are not allowed",
                404: "there is no such sweep, or no such corpus",
                409: "it runs, has nothing to do, or began with another spec",
            }
        ),
    },
)
async def resume(
    sweep: SweepName,
    site: TheSite,
    user: TheUser,
    request: Request,
    body: Changes | None = None,
) -> Response:
    """Queue a sweep that is paused, was broken off or has ended, also with more to do."""
    given = body.sent() if body else {}
    note(request, **{field: shown(value) for field, value in given.items()})

    def call() -> None:
        run = reader.existing_sweep(store_of_sweep(sweep, site.store), sweep)
        site.check_may_train(Tags(run))
        changes, spec, template = dict(given), None, None
        if (fields := changes.pop("spec", None)) is not None:
            if not isinstance(fields, dict):
                raise InputError(f"request: spec is {shown(fields)}: expected fields and values")
            spec = site.names.spec_of(fields)
            changes = named_changes(fields, spec) | changes
        if (named := changes.pop("template", None)) is not None:
            template = site.names.template(named)
        if spec or template:
            changes = changes_of(sweep, changes, settings=site.store, spec=spec, template=template)
        site.service.resume(sweep, changes, owner=user.name)

    def call_alone() -> None:
        with site.uploads.naming:
            call()

    return await _changed(site, user, sweep, call_alone)


@router.post(
    "/sweeps/{sweep}/stop",
    summary="Stop a sweep",
    responses={200: {"model": shows.Stopped}, **refusals(NONE | {409: "it cannot be read"})},
)
async def stop(sweep: SweepName, site: TheSite, user: TheUser, request: Request) -> Response:
    """End a sweep, and wait until it has ended; `resume` goes on with it."""

    def change() -> StoppedSweep:
        site.check_may_change(user, sweep)
        return site.service.stop(sweep)

    stopped = await site.answers.change(change, sweep)
    more = {
        "had_ended": stopped.had_ended,
        "advice": stopped.advice,
        "left_out": list(stopped.left_out),
    }
    return answers.document(stopped.to_dict() | more)


async def _changed(site: Site, user: User, sweep: str, call: Callable[[], Any]) -> Response:
    """The state of a sweep after a change."""

    def change() -> dict[str, Any]:
        site.check_may_change(user, sweep)
        call()
        return status_of(site, sweep)

    return answers.document(await site.answers.change(change, sweep))
