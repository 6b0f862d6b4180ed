"""Trials: list, show, compare, rerun, export."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.responses import FileResponse

from lstm_sweep.models.config import check_field
from lstm_sweep.models.errors import LONGEST_VALUE, InputError, shown
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import TRIAL, store_of_trial
from lstm_sweep.search.actions.rerun import field_changes
from lstm_sweep.search.actions.trials import TrialComparison
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.engines import check_engine
from lstm_sweep.search.service import answers, schemas
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.reruns import ID, Rerun, Wanted
from lstm_sweep.search.service.schemas import (
    ExportSubmission,
    RerunSubmission,
    VersionSubmission,
    checked_settings,
)
from lstm_sweep.search.service.settings import API
from lstm_sweep.search.service.site import (
    LOCATION,
    ROWS,
    Limit,
    Number,
    Page,
    RunId,
    Site,
    SweepName,
    TheSite,
    TheUser,
    refusals,
    responses,
)
from lstm_sweep.search.store import reader
from lstm_sweep.search.values.spec import ENGINES, NAME

router = APIRouter(prefix=API, tags=["trials"])

TEMPLATE = {
    403: "templates are not allowed",
    404: "there is no such trial, or no such corpus",
}
NONE = {404: "there is no such trial", 409: "it cannot be read"}
UNREAD = NONE | {404: "there is no such sweep"}
RerunId = Annotated[
    str, Path(description="ID of a rerun", json_schema_extra={"pattern": f"^{ID}$"})
]


@router.get(
    "/sweeps/{sweep}/trials",
    summary="List the trials of a sweep",
    responses=responses(schemas.TrialList, UNREAD),
)
async def trials(
    sweep: SweepName,
    request: Request,
    site: TheSite,
    limit: Limit = ROWS,
    page: Page = "",
) -> Response:
    """Some trials of a sweep, the best first, those without a result last.

    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """

    def ask() -> dict[str, Any]:
        found = Local(site.store).trials(sweep, top=limit, page=page)
        return {
            "trials": found.rows,
            "baselines": found.baselines,
            "left_out": found.left_out,
            "next_page": found.next_page or None,
        }

    return await site.answers.reply(request, ("trials", sweep, limit, page), ask)


async def _show(reference: str, request: Request, site: Site) -> Response:
    ask = partial(Local(site.store).show, reference)
    return await site.answers.reply(request, ("show", reference), ask)


@router.get(
    "/sweeps/{sweep}/trials/{number}",
    summary="Show a trial",
    responses=responses(schemas.TrialShown, NONE),
)
async def show(sweep: SweepName, number: Number, request: Request, site: TheSite) -> Response:
    """One trial, round by round."""
    return await _show(f"{sweep}/{number}", request, site)


@router.get(
    "/runs/{run}",
    summary="Show the trial of a run",
    responses=responses(schemas.TrialShown, NONE),
)
async def run(run: RunId, request: Request, site: TheSite) -> Response:
    """One trial by its run, round by round; reruns are found so too."""
    if "/" in run:
        raise InputError(f"run {shown(run)}: expected the ID of a run, or its beginning")
    return await _show(run, request, site)


Reference = Annotated[
    str,
    Query(
        description="a sweep (its best trial), SWEEP/NUMBER, or (the beginning of) a run ID",
        min_length=1,
        json_schema_extra={"pattern": f"^({TRIAL.pattern}|{NAME.pattern})$"},
    ),
]


@router.get(
    "/compare",
    summary="Show two trials, or the best ones of sweeps, side by side",
    responses=responses(schemas.COMPARED, NONE),
)
async def compare(first: Reference, other: Reference, request: Request, site: TheSite) -> Response:
    """What differs in their configs and curves, and which one is better."""

    def ask() -> TrialComparison:
        found = Local(site.store).compare(first, other)
        named = [replace(row, data=site.names.data_named(row.data or "")) for row in found.sweeps]
        return replace(found, sweeps=tuple(named))

    return await site.answers.reply(request, ("compare", first, other), ask)


async def _rerun(reference: str, body: RerunSubmission | None, site: Site, user: User) -> Response:
    given = body.given() if body else {}
    settings = checked_settings(given.get("set", []))
    on, named = given.get("on", next(iter(ENGINES))), given.get("template")

    def change() -> Rerun:
        changes = given.get("changes", {})
        if isinstance(changes, dict):  # else it is refused
            changes = changes | field_changes(settings)
        _check_fields(changes)
        check_engine(on)
        template = None if named is None else site.names.template(named)
        record = reader.find_trial(store_of_trial(reference, site.store), reference)
        site.check_may_train(record.tags)
        # what the trial itself refuses, without a device
        task_kind_of_run(record.tags).check_rerun(record, changes, template, ())
        wanted = Wanted(record.id, record.run_id, changes, template=template, on=on)
        return site.service.rerun(wanted, owner=user.name)

    made = await site.answers.change(change)
    location = {"Location": f"{API}/reruns/{made.id}"}
    return answers.document(site.names.told(made), 202, location)


def _check_fields(changes: object) -> None:
    """Refuse what are no fields of a config with numbers or words."""
    if not isinstance(changes, dict):
        raise InputError(f"changes is {shown(changes)}: expected fields of a config and values")
    for name, value in changes.items():
        check_field(name)
        is_value = isinstance(value, int | float | str) and str(value).isprintable()
        if not is_value or len(str(value)) > LONGEST_VALUE:
            raise InputError(f"changes: {name} is {shown(value)}: expected a number or a word")


ACCEPTED = responses(schemas.RERUN, NONE | TEMPLATE, 202, headers=LOCATION)


@router.post(
    "/sweeps/{sweep}/trials/{number}/reruns",
    status_code=202,
    summary="Train a trial again",
    responses=ACCEPTED,
)
async def rerun(
    sweep: SweepName,
    number: Number,
    site: TheSite,
    user: TheUser,
    body: RerunSubmission | None = None,
) -> Response:
    """Train a trial again, and compare every metric of every round; the answer says where."""
    return await _rerun(f"{sweep}/{number}", body, site, user)


@router.post(
    "/runs/{run}/reruns",
    status_code=202,
    summary="Train the trial of a run again",
    responses=ACCEPTED,
)
async def rerun_of_run(
    run: RunId, site: TheSite, user: TheUser, body: RerunSubmission | None = None
) -> Response:
    """Train the trial of a run again, and compare every metric of every round."""
    return await _rerun(run, body, site, user)


@router.get(
    "/reruns/{rerun}",
    summary="Show a rerun",
    responses=responses(schemas.RERUN, {404: "there is no such rerun"}),
)
async def rerun_shown(rerun: RerunId, request: Request, site: TheSite) -> Response:
    """Whether a rerun has ended, and what it has found."""
    found = await site.answers.ask(request, partial(site.service.rerun_status, rerun))
    return answers.document(site.names.told(found))


#: header with what `export --json` prints, but for the folder; ASCII
RESULT = "Lstm-Sweep-Export"
#: header with the digest of a whole bundle (RFC 9530), whatever part of it is sent
DIGEST = "Repr-Digest"
ZIP = "application/zip"
Format = Annotated[
    Literal["keras", "savedmodel", "onnx"],
    Query(description="with a TensorFlow SavedModel, or with ONNX files, beside the model"),
]
Unchecked = Annotated[bool, Query(description="also a template's network that cannot be checked")]
MAKING = {
    404: "there is no such sweep or trial",
    409: "it cannot be read",
    413: "it is too large",
    429: "another export of the user is made, or waits",
    507: "the disk is full",
}
FETCHED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the bundle",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in (
                (RESULT, "what `export --json` prints, but for the folder"),
                (DIGEST, "SHA-256 of the file (RFC 9530)"),
            )
        },
    },
    **refusals(NONE | {404: "there is no such sweep or trial, or its bundle was not made"}),
}


async def found_bundle(
    reference: str, site: Site, format: str = "keras", unchecked: bool = False
) -> Response:
    """The checked bundle of a trial, or of the best one of a sweep, if it was made."""
    find = partial(site.bundles.find, reference, format, unchecked=unchecked)
    bundle = await to_thread.run_sync(find, limiter=site.bundles.limiter)
    digest = bytes.fromhex(bundle.sha256)
    headers = {
        RESULT: json.dumps(dict(bundle.result)),
        DIGEST: f"sha-256=:{base64.b64encode(digest).decode()}:",
        "ETag": f'"{bundle.sha256}"',
        "Cache-Control": "no-cache",
    }
    return FileResponse(bundle.file, media_type=ZIP, filename=bundle.name, headers=headers)


async def make(
    reference: str,
    body: ExportSubmission,
    site: Site,
    user: User,
    request: Request,
    register: str | None = None,
) -> Response:
    """Make a bundle, once it is this user's turn; what is said of it."""
    call = partial(
        site.bundles.make, reference, body.format, unchecked=body.unchecked, register=register
    )
    async with site.bundles.turn(user.name, request.is_disconnected):
        made = await to_thread.run_sync(call, limiter=site.bundles.limiter)
    return answers.document(made.result, 201)


async def _best(sweep: SweepName) -> str:
    return sweep


async def _trial(sweep: SweepName, number: Number) -> str:
    return f"{sweep}/{number}"


async def _run(run: RunId) -> str:
    return run


#: how a model is named: path, end of the names of endpoints, what is named so, its model, and what
#: gives its reference
PLACES = (
    ("/sweeps/{sweep}", "best", "the best model of a sweep", "the best model of a sweep", _best),
    ("/sweeps/{sweep}/trials/{number}", "trial", "a trial", "the model of a trial", _trial),
    ("/runs/{run}", "run", "a run", "the model of a run", _run),
)


def _add_fetch(path: str, name: str, of: str, reference: Any) -> None:
    @router.get(
        f"{path}/export",
        name=f"fetch_{name}",
        summary=f"Fetch the bundle of {of}",
        response_class=FileResponse,
        responses=FETCHED,
    )
    async def fetch(
        site: TheSite,
        format: Format = "keras",
        unchecked: Unchecked = False,
        reference: str = reference,
    ) -> Response:
        """The checked bundle, if it was made; a rerun is found by its run."""
        return await found_bundle(reference, site, format, unchecked)


def _add_export(path: str, name: str, model: str, reference: Any) -> None:
    @router.post(
        f"{path}/exports",
        status_code=201,
        name=f"export_{name}",
        summary=f"Export {model}",
        responses=responses(schemas.ExportMade, MAKING, 201),
    )
    async def export(
        body: ExportSubmission,
        site: TheSite,
        user: TheUser,
        request: Request,
        reference: str = reference,
    ) -> Response:
        """Make the checked bundle unless it is there, which may take minutes."""
        return await make(reference, body, site, user, request)


def _add_register(path: str, name: str, model: str, reference: Any) -> None:
    @router.post(
        f"{path}/versions",
        status_code=201,
        name=f"register_{name}",
        summary=f"Register {model}",
        responses=responses(schemas.VersionMade, MAKING, 201),
    )
    async def register(
        body: VersionSubmission,
        site: TheSite,
        user: TheUser,
        request: Request,
        reference: str = reference,
    ) -> Response:
        """Make the network a version of a registered model, once it is checked."""
        return await make(reference, body, site, user, request, body.model)


for _path, _name, _of, _, _reference in PLACES:
    _add_fetch(_path, _name, _of, Depends(_reference))
for _add in (_add_export, _add_register):
    for _path, _name, _, _model, _reference in PLACES:
        _add(_path, _name, _model, Depends(_reference))
