"""Exports: bundles as zip files, and versions of registered models."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from starlette.responses import FileResponse

from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.bodies import VersionSubmission
from lstm_sweep.search.service.bundles import Bundle
from lstm_sweep.search.service.description import API, Number, RunId, SweepName, refusals
from lstm_sweep.search.service.site import Site, TheSite

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
    {
        404: "there is no such sweep or trial",
        409: "it cannot be read",
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


async def _bundle(
    reference: str, format: str, unchecked: bool, site: Site, register: str | None = None
) -> Bundle:
    get = partial(site.bundles.get, reference, format, unchecked=unchecked, register=register)
    return await to_thread.run_sync(get, limiter=site.bundles.limiter)


async def _export(reference: str, format: str, unchecked: bool, site: Site) -> Response:
    bundle = await _bundle(reference, format, unchecked, site)
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


async def _register(reference: str, body: VersionSubmission, site: Site) -> Response:
    made = await _bundle(reference, body.format, body.unchecked, site, body.model)
    return answers.document(dict(made.result), 201)


@router.get(
    "/sweeps/{sweep}/export",
    summary="Export the best model of a sweep",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def export_best(
    sweep: SweepName, site: TheSite, format: Format = "keras", unchecked: Unchecked = False
) -> Response:
    """The checked bundle of the best trial; the first request for it takes a while."""
    return await _export(sweep, format, unchecked, site)


@router.get(
    "/sweeps/{sweep}/trials/{number}/export",
    summary="Export the model of a trial",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def export_trial(
    sweep: SweepName,
    number: Number,
    site: TheSite,
    format: Format = "keras",
    unchecked: Unchecked = False,
) -> Response:
    """The checked bundle of a trial whose weights were kept."""
    return await _export(f"{sweep}/{number}", format, unchecked, site)


@router.get(
    "/runs/{run}/export",
    summary="Export the model of a run",
    response_class=FileResponse,
    responses=RESPONSES,
)
async def export_run(
    run: RunId, site: TheSite, format: Format = "keras", unchecked: Unchecked = False
) -> Response:
    """The checked bundle of the trial of a run, such as that of a rerun."""
    return await _export(run, format, unchecked, site)


MADE: dict[int | str, dict[str, Any]] = {201: {"model": shows.VersionMade}, **REFUSALS}


@router.post(
    "/sweeps/{sweep}/versions",
    status_code=201,
    summary="Register the best model of a sweep",
    responses=MADE,
)
async def register_best(sweep: SweepName, body: VersionSubmission, site: TheSite) -> Response:
    """Make the network of the best trial a version of a registered model, once it is checked."""
    return await _register(sweep, body, site)


@router.post(
    "/sweeps/{sweep}/trials/{number}/versions",
    status_code=201,
    summary="Register the model of a trial",
    responses=MADE,
)
async def register_trial(
    sweep: SweepName, number: Number, body: VersionSubmission, site: TheSite
) -> Response:
    """Make the network of a trial a version of a registered model, once it is checked."""
    return await _register(f"{sweep}/{number}", body, site)


@router.post(
    "/runs/{run}/versions",
    status_code=201,
    summary="Register the model of a run",
    responses=MADE,
)
async def register_run(run: RunId, body: VersionSubmission, site: TheSite) -> Response:
    """Make the network of the trial of a run a version of a registered model."""
    return await _register(run, body, site)
