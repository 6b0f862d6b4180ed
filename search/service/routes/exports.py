"""Exports: bundles as zip files, and versions of registered models."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import FileResponse

from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.bodies import ExportSubmission, VersionSubmission
from lstm_sweep.search.service.description import API, Number, RunId, SweepName, refusals
from lstm_sweep.search.service.site import Site, TheSite, TheUser

router = APIRouter(prefix=API, tags=["trials"])

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
REFUSALS = refusals(
    {404: "there is no such sweep or trial, or its bundle was not made", 409: "it cannot be read"}
)
MAKING = refusals(
    {
        404: "there is no such sweep or trial",
        409: "it cannot be read",
        413: "it is too large",
        429: "another export of the user is made, or waits",
        507: "the disk is full",
    }
)
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the bundle",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            RESULT: {
                "description": "what `export --json` prints, but for the folder",
                "schema": {"type": "string"},
            },
            DIGEST: {
                "description": "SHA-256 of the file (RFC 9530)",
                "schema": {"type": "string"},
            },
        },
    },
    **REFUSALS,
}


async def _found(reference: str, format: str, unchecked: bool, site: Site) -> Response:
    find = partial(site.bundles.find, reference, format, unchecked=unchecked)
    bundle = await to_thread.run_sync(find, limiter=site.bundles.limiter)
    digest = base64.b64encode(bundle.digest).decode()
    return FileResponse(
        bundle.file,
        media_type=ZIP,
        filename=bundle.name,
        headers={
            RESULT: json.dumps(dict(bundle.result)),
            DIGEST: f"sha-256=:{digest}:",
            "ETag": f'"{bundle.digest.hex()}"',
            "Cache-Control": "no-cache",
        },
    )


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
    return answers.document(dict(made.result), 201)


@router.get(
    "/sweeps/{sweep}/export",
    summary="Fetch the bundle of the best model of a sweep",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def fetch_best(
    sweep: SweepName, site: TheSite, format: Format = "keras", unchecked: Unchecked = False
) -> Response:
    """The checked bundle of the best trial, if it was made."""
    return await _found(sweep, format, unchecked, site)


@router.get(
    "/sweeps/{sweep}/trials/{number}/export",
    summary="Fetch the bundle of a trial",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def fetch_trial(
    sweep: SweepName,
    number: Number,
    site: TheSite,
    format: Format = "keras",
    unchecked: Unchecked = False,
) -> Response:
    """The checked bundle of a trial, if it was made."""
    return await _found(f"{sweep}/{number}", format, unchecked, site)


@router.get(
    "/runs/{run}/export",
    summary="Fetch the bundle of a run",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def fetch_run(
    run: RunId, site: TheSite, format: Format = "keras", unchecked: Unchecked = False
) -> Response:
    """The checked bundle of the trial of a run, such as that of a rerun, if it was made."""
    return await _found(run, format, unchecked, site)


MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": shows.ExportMade},
    **MAKING,
}
VERSION: dict[int | str, dict[str, Any]] = {201: {"model": shows.VersionMade}, **MAKING}


@router.post(
    "/sweeps/{sweep}/exports",
    status_code=201,
    summary="Export the best model of a sweep",
    responses=MADE,
)
async def export_best(
    sweep: SweepName, body: ExportSubmission, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Make the checked bundle of the best trial unless it is there, which may take minutes."""
    return await make(sweep, body, site, user, request)


@router.post(
    "/sweeps/{sweep}/trials/{number}/exports",
    status_code=201,
    summary="Export the model of a trial",
    responses=MADE,
)
async def export_trial(
    sweep: SweepName,
    number: Number,
    body: ExportSubmission,
    site: TheSite,
    user: TheUser,
    request: Request,
) -> Response:
    """Make the checked bundle of a trial whose weights were kept, unless it is there."""
    return await make(f"{sweep}/{number}", body, site, user, request)


@router.post(
    "/runs/{run}/exports",
    status_code=201,
    summary="Export the model of a run",
    responses=MADE,
)
async def export_run(
    run: RunId, body: ExportSubmission, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Make the checked bundle of the trial of a run, such as that of a rerun."""
    return await make(run, body, site, user, request)


@router.post(
    "/sweeps/{sweep}/versions",
    status_code=201,
    summary="Register the best model of a sweep",
    responses=VERSION,
)
async def register_best(
    sweep: SweepName, body: VersionSubmission, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Make the network of the best trial a version of a registered model, once it is checked."""
    return await make(sweep, body, site, user, request, body.model)


@router.post(
    "/sweeps/{sweep}/trials/{number}/versions",
    status_code=201,
    summary="Register the model of a trial",
    responses=VERSION,
)
async def register_trial(
    sweep: SweepName,
    number: Number,
    body: VersionSubmission,
    site: TheSite,
    user: TheUser,
    request: Request,
) -> Response:
    """Make the network of a trial a version of a registered model, once it is checked."""
    return await make(f"{sweep}/{number}", body, site, user, request, body.model)


@router.post(
    "/runs/{run}/versions",
    status_code=201,
    summary="Register the model of a run",
    responses=VERSION,
)
async def register_run(
    run: RunId, body: VersionSubmission, site: TheSite, user: TheUser, request: Request
) -> Response:
    """Make the network of the trial of a run a version of a registered model."""
    return await make(run, body, site, user, request, body.model)
