"""Trials: list, show, compare, rerun, export."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Response
from starlette.responses import FileResponse

from lstm_sweep.models.config import CLASS_LIMITS, LIMITS, check_field
from lstm_sweep.models.errors import LONGEST_VALUE, InputError, shown
from lstm_sweep.search.actions.classification import Classification, Wish
from lstm_sweep.search.actions.detection import Alarms, Rule
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import TRIAL, store_of_trial
from lstm_sweep.search.actions.rerun import field_changes
from lstm_sweep.search.actions.sweeps import TrialComparison
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.engines import check_engine
from lstm_sweep.search.service import answers, schemas
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.jobs import ID, Rerun, Wanted
from lstm_sweep.search.service.schemas import (
    ClassSubmission,
    ExportSubmission,
    LineSubmission,
    RerunSubmission,
    VersionSubmission,
    checked_settings,
)
from lstm_sweep.search.service.settings import API
from lstm_sweep.search.service.site import (
    LOCATION,
    ROWS,
    Endpoints,
    Handler,
    Limit,
    Number,
    Page,
    RunId,
    Site,
    SweepName,
    TheReference,
    TheSite,
    TheUser,
    text_header,
)
from lstm_sweep.search.store import reader
from lstm_sweep.search.values.spec import ENGINES, NAME

endpoint = Endpoints("trials")

SIDE_BY_SIDE = "Show two trials, or the best ones of sweeps, side by side"


@endpoint("GET /sweeps/{sweep}/trials", "List the trials of a sweep", schemas.TrialList)
async def trials(sweep: SweepName, site: TheSite, limit: Limit = ROWS, page: Page = "") -> Response:
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

    return await site.answers.reply(("trials", sweep, limit, page), ask)


async def _best(sweep: SweepName) -> None: ...


async def _trial(sweep: SweepName, number: Number) -> None: ...


async def _run(run: RunId) -> None: ...


TRIAL_PATH = "/sweeps/{sweep}/trials/{number}"
#: how a trial, or a model, is named: by a path, whose parts are checked, and how that is said
TRIALS = ((TRIAL_PATH, _trial, "a trial"), ("/runs/{run}", _run, "the trial of a run"))
MODELS = (
    ("/sweeps/{sweep}", _best, "the best model of a sweep", "the best model of a sweep"),
    (TRIAL_PATH, _trial, "a trial", "the model of a trial"),
    ("/runs/{run}", _run, "a run", "the model of a run"),
)


def each(
    places: Sequence[Any], method: str, path: str, summary: str, model: Any = None, **more: Any
) -> Callable[[Handler], Handler]:
    """An endpoint for each way to name something, which it gets as its `TheReference`."""

    def add(handler: Handler) -> Handler:
        for place, check, *said in places:
            named = f"{method} {place}{path}", summary.format(*said)
            endpoint(*named, model, dependencies=[Depends(check)], **more)(handler)
        return handler

    return add


@each(TRIALS, "GET", "", "Show {}", schemas.TrialShown)
async def show(reference: TheReference, site: TheSite) -> Response:
    """One trial, round by round; a rerun is found by its run."""
    ask = partial(Local(site.store).show, reference)
    return await site.answers.reply(("show", reference), ask)


Reference = Annotated[
    str,
    Query(
        description="a sweep (its best trial), SWEEP/NUMBER, or (the beginning of) a run ID",
        min_length=1,
        json_schema_extra={"pattern": f"^({TRIAL.pattern}|{NAME.pattern})$"},
    ),
]


@endpoint("GET /compare", SIDE_BY_SIDE, schemas.COMPARED)
async def compare(first: Reference, other: Reference, site: TheSite) -> Response:
    """What differs in their configs and curves, and which one is better."""

    def ask() -> TrialComparison:
        found = Local(site.store).compare(first, other)
        named = [replace(row, data=site.names.data_named(row.data or "")) for row in found.sweeps]
        return replace(found, sweeps=tuple(named))

    return await site.answers.reply(("compare", first, other), ask)


@each(TRIALS, "POST", "/reruns", "Train {} again", schemas.RERUN, status=202, described=LOCATION)
async def rerun(
    reference: TheReference, site: TheSite, user: TheUser, body: RerunSubmission | None = None
) -> Response:
    """Train a trial again, and compare every metric of every round; the answer says where."""
    given = body.given() if body else {}
    settings = checked_settings(given.get("set", []))
    on, named = given.get("on", next(iter(ENGINES))), given.get("template")

    def change() -> Rerun:
        changes = _checked_fields(given.get("changes", {})) | field_changes(settings)
        check_engine(on)
        with site.uploads.naming:  # so that its corpus is not deleted meanwhile
            template = None if named is None else site.names.template(named)
            record = reader.find_trial(store_of_trial(reference, site.store), reference)
            site.check_may_train(record.tags)
            # what the trial itself refuses, without a device
            kind = task_kind_of_run(record.tags)
            kind.check_rerun(record, changes, template, ())
            options = [f"--set={name}={value}" for name, value in changes.items()]
            options += [f"--template={template}"] if template else []
            options.append(f"--on={on}")
            wanted = Wanted(record.id, record.run_id, tuple(options), kind.runs_user_code)
            return site.service.rerun(wanted, owner=user.name)

    made = await site.answers.change(change)
    location = {"Location": f"{API}/reruns/{made.id}"}
    return answers.document(site.names.told(made), 202, location)


def _checked_fields(changes: Any) -> dict[str, Any]:
    if not isinstance(changes, dict):
        raise InputError(f"changes is {shown(changes)}: expected fields of a config and values")
    for name, value in changes.items():
        check_field(name, {**LIMITS, **CLASS_LIMITS})
        is_value = isinstance(value, int | float | str) and str(value).isprintable()
        if not is_value or len(str(value)) > LONGEST_VALUE:
            raise InputError(f"changes: {name} is {shown(value)}: expected a number or a word")
    return changes


RerunId = Annotated[
    str, Path(description="ID of a rerun", json_schema_extra={"pattern": f"^{ID}$"})
]


@endpoint("GET /reruns/{rerun}", "Show a rerun", schemas.RERUN)
async def rerun_shown(rerun: RerunId, site: TheSite) -> Response:
    """Whether a rerun has ended, and what it has found."""
    found = await site.answers.read(partial(site.service.rerun_status, rerun))
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
BUNDLE = {
    "description": "the bundle",
    "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    "headers": text_header(RESULT, "what `export --json` prints, but for the folder")
    | text_header(DIGEST, "SHA-256 of the file (RFC 9530)"),
}


@each(
    MODELS,
    "GET",
    "/export",
    "Fetch the bundle of {}",
    described=BUNDLE,
    response_class=FileResponse,
)
async def found_bundle(
    reference: TheReference, site: TheSite, format: Format = "keras", unchecked: Unchecked = False
) -> Response:
    """The checked bundle, if it was made; a rerun is found by its run."""
    find = partial(site.bundles.find, reference, format, unchecked=unchecked)
    bundle = await site.answers.read(find)
    digest = bytes.fromhex(bundle.sha256)
    headers = {
        RESULT: json.dumps(dict(bundle.result)),
        DIGEST: f"sha-256=:{base64.b64encode(digest).decode()}:",
        "ETag": f'"{bundle.sha256}"',
        "Cache-Control": "no-cache",
    }
    return FileResponse(bundle.file, media_type=ZIP, filename=bundle.name, headers=headers)


@each(MODELS, "POST", "/exports", "Export {1}", schemas.ExportMade, status=201)
async def export(
    reference: TheReference, body: ExportSubmission, site: TheSite, user: TheUser
) -> Response:
    """Make the checked bundle unless it is there, which may take minutes."""
    return await make(reference, body, site, user)


@each(MODELS, "POST", "/versions", "Register {1}", schemas.VersionMade, status=201)
async def register(
    reference: TheReference, body: VersionSubmission, site: TheSite, user: TheUser
) -> Response:
    """Make the network a version of a registered model, once it is checked."""
    return await make(reference, body, site, user, body.model)


async def make(
    reference: str, body: ExportSubmission, site: Site, user: User, register: str | None = None
) -> Response:
    call = partial(
        site.bundles.make, reference, body.format, unchecked=body.unchecked, register=register
    )
    made = await site.bundles.in_turn(user.name, call)
    return answers.document(made.result, 201)


@each(MODELS, "POST", "/classes", "Tell classes by {1}", schemas.SequencesClassified)
async def classes(
    reference: TheReference, body: ClassSubmission, site: TheSite, user: TheUser
) -> Response:
    """Which class each sequence is of; the bundle is made unless it is there."""
    found = await classified(reference, body, site, user)
    return answers.document(found.to_dict())


async def classified(
    reference: str, body: ClassSubmission, site: Site, user: User
) -> Classification:
    wish = Wish(body.error, body.precision, body.recall, body.of, body.decide)
    if (body.sequences is None) == (body.data is None):
        raise InputError("request: expected either sequences or data")
    columns = {"text": body.text, "label": body.label}
    if body.labels is not None:
        columns["labels"] = site.names.data(body.labels, "labels")
    data = body.sequences or site.names.data(body.data)
    call = partial(site.bundles.classify, reference, data, wish, columns)
    return await site.bundles.in_turn(user.name, call)


@each(MODELS, "POST", "/verdicts", "Judge sessions by {1}", schemas.SessionsJudged)
async def verdicts(
    reference: TheReference, body: LineSubmission, site: TheSite, user: TheUser
) -> Response:
    """Which sessions of lines or data are abnormal; the bundle is made unless it is there."""
    if (body.lines is None) == (body.data is None):
        raise InputError("request: expected either lines or data")
    beside = {"labels": body.labels, "calibrate": body.calibrate}
    judge = partial(
        site.bundles.judge,
        reference,
        body.lines or site.names.data(body.data),
        rule=Rule(body.below, body.candidates),
        top=body.top,
        ends=body.ends,
        alarms=Alarms(body.false_alarms, body.false_discoveries),
        **{name: site.names.data(one, name) for name, one in beside.items() if one is not None},
    )
    found = await site.bundles.in_turn(user.name, judge)
    return answers.document(found.to_dict())
