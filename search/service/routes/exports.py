"""Exports: bundles as zip files."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from starlette.responses import FileResponse

from lstm_sweep.search.service.description import API, Number, SweepName, refusals
from lstm_sweep.search.service.site import Site, TheSite

router = APIRouter(prefix=API, tags=["trials"])

#: header with what `export --json` prints, but for the folder; ASCII
RESULT = "Lstm-Sweep-Export"
ZIP = "application/zip"
Format = Annotated[
    Literal["keras", "savedmodel"],
    Query(description="`savedmodel`: with a TensorFlow SavedModel beside it"),
]
Unchecked = Annotated[bool, Query(description="also a template's network that cannot be checked")]
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the bundle",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            RESULT: {
                "description": "what `export --json` prints, but for the folder",
                "schema": {"type": "string"},
            }
        },
    },
    **refusals(
        {
            404: "there is no such sweep or trial",
            409: "it cannot be read",
            507: "the disk is full",
        }
    ),
}


async def _export(reference: str, format: str, unchecked: bool, site: Site) -> Response:
    get = partial(site.bundles.get, reference, format, unchecked=unchecked)
    bundle = await to_thread.run_sync(get)
    return FileResponse(
        bundle.file,
        media_type=ZIP,
        filename=bundle.name,
        headers={RESULT: json.dumps(dict(bundle.result)), "Cache-Control": "no-cache"},
    )


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
