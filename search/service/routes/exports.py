"""Exports: bundles as zip files, and versions of registered models."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
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


async def found_bundle(
    reference: str, site: Site, format: str = "keras", unchecked: bool = False
) -> Response:
    """The checked bundle of a trial, or of the best one of a sweep, if it was made."""
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


MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": shows.ExportMade},
    **MAKING,
}
VERSION: dict[int | str, dict[str, Any]] = {201: {"model": shows.VersionMade}, **MAKING}


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
        responses=RESPONSES,
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
        responses=MADE,
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
        responses=VERSION,
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
for _path, _name, _, _model, _reference in PLACES:
    _add_export(_path, _name, _model, Depends(_reference))
for _path, _name, _, _model, _reference in PLACES:
    _add_register(_path, _name, _model, Depends(_reference))
