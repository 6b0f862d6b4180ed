"""Corpora: files are sent by their digest, then named as a corpus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from anyio import CancelScope, to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from starlette.requests import ClientDisconnect

from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.bodies import CORPUS_ID, SHA256, CorpusSubmission
from lstm_sweep.search.service.description import API, refusals
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.site import Site, TheSite
from lstm_sweep.search.service.uploads import Receiver, Upload, Uploads, check_sha256

router = APIRouter(prefix=API, tags=["corpora"])

#: bytes that are gathered before they are written
BLOCK = 1 << 20
#: states of a sweep that needs its data no more by itself
ENDED = ("finished", "failed", "stopped", "interrupted")
#: media type of a file that is sent
OCTETS = "application/octet-stream"

Digest = Annotated[
    str,
    Path(
        description="SHA-256 of the whole file, in hexadecimal",
        json_schema_extra={"pattern": f"^{SHA256}$"},
    ),
]
CorpusId = Annotated[
    str, Path(description="ID of a corpus", json_schema_extra={"pattern": f"^{CORPUS_ID}$"})
]
Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, lt=2**60, description="bytes that were sent before")
]
Length = Annotated[
    int, Header(alias="Upload-Length", ge=0, lt=2**60, description="bytes of the whole file")
]
NONE = {404: "there is no such corpus"}


@router.get(
    "/uploads/{sha256}",
    summary="Show how much of a file is there",
    responses={200: {"model": shows.UploadShown}},
)
async def upload_state(sha256: Digest, site: TheSite) -> Response:
    """How much of a file is there: what is left is sent from `offset` on."""
    check_sha256(sha256)
    return answers.document(site.uploads.state(sha256).to_dict())


@router.patch(
    "/uploads/{sha256}",
    summary="Send a file, or the rest of it",
    responses={
        200: {"model": shows.UploadShown},
        **refusals(
            {
                408: "nothing has come for a while",
                409: "what is there ends elsewhere: `offset` says where",
                415: "the body has another type",
                507: "the disk is full, or too much was uploaded",
            }
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(
    sha256: Digest, request: Request, site: TheSite, offset: Offset, length: Length
) -> Response:
    """Send a file from an offset on; what has come stays if the connection breaks."""
    check_sha256(sha256)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
        raise ProblemError(415, f"the body is no {OCTETS}, expected the bytes of a file as such")
    return answers.document((await _receive(sha256, request, site, offset, length)).to_dict())


async def _receive(sha256: str, request: Request, site: Site, offset: int, length: int) -> Upload:
    uploads = site.uploads
    async with _receiving(uploads, sha256, offset, length) as receiver:
        await _write_body(request, receiver, site.settings.limits.silence_s)
        if receiver.is_whole:
            return await to_thread.run_sync(uploads.finish, sha256, limiter=uploads.limiter)
    return uploads.state(sha256)


@asynccontextmanager
async def _receiving(
    uploads: Uploads, sha256: str, offset: int, total: int
) -> AsyncIterator[Receiver]:
    """`Uploads.receiving`, entered and left in threads: it waits while a corpus is made."""
    receiving = uploads.receiving(sha256, offset, total)
    receiver = await to_thread.run_sync(receiving.__enter__, limiter=uploads.limiter)
    ending: BaseException | None = None
    try:
        yield receiver
    except BaseException as error:
        ending = error
        raise
    finally:
        given = (type(ending), ending, ending.__traceback__) if ending else (None, None, None)
        with CancelScope(shield=True):  # whatever ends the request
            await to_thread.run_sync(receiving.__exit__, *given, limiter=uploads.limiter)


async def _write_body(request: Request, receiver: Receiver, silence_s: float) -> None:
    """Write the body of a request as it comes; what has come is written whatever happens."""
    gathered = bytearray()
    stream = aiter(request.stream())
    try:
        while True:
            try:
                part = await asyncio.wait_for(anext(stream), silence_s)
            except StopAsyncIteration:
                return
            gathered += part
            if len(gathered) >= BLOCK:
                await to_thread.run_sync(receiver.write, bytes(gathered))
                gathered.clear()
    except TimeoutError:
        raise ProblemError(408, f"nothing has come for {silence_s:g} s, expected more") from None
    except ClientDisconnect:
        raise ProblemError(400, "the connection has broken, expected the rest later") from None
    finally:
        receiver.write(bytes(gathered))


@router.post(
    "/corpora",
    status_code=201,
    summary="Make a corpus of uploaded files",
    responses={
        201: {
            "model": shows.CorpusShown,
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **refusals({409: "files are not uploaded yet: `missing` names them"}),
    },
)
async def make_corpus(body: CorpusSubmission, site: TheSite) -> Response:
    """Make a corpus of uploaded files; the same one again is the same corpus."""
    uploads = site.uploads
    made = await to_thread.run_sync(uploads.make_corpus, body, limiter=uploads.limiter)
    return answers.document(made.to_dict(), 201, {"Location": f"{API}/corpora/{made.id}"})


@router.get("/corpora", summary="List corpora", responses={200: {"model": shows.CorpusList}})
async def corpora(site: TheSite) -> Response:
    """Corpora that were uploaded, by name."""
    found = await site.answers.read(site.uploads.corpora)
    return answers.document({"corpora": [one.to_dict() for one in found]})


@router.get(
    "/corpora/{corpus}",
    summary="Show a corpus",
    responses={200: {"model": shows.CorpusShown}, **refusals(NONE)},
)
async def corpus_shown(corpus: CorpusId, site: TheSite) -> Response:
    """One corpus."""
    found = await site.answers.read(partial(site.uploads.corpus, corpus))
    return answers.document(found.to_dict())


@router.delete(
    "/corpora/{corpus}",
    status_code=204,
    summary="Delete a corpus",
    responses=refusals(NONE | {409: "a sweep needs it"}),
)
async def delete_corpus(corpus: CorpusId, site: TheSite) -> Response:
    """Delete a corpus that no sweep needs which waits or runs."""

    def change() -> None:
        site.uploads.corpus(corpus)
        folder = str(site.uploads.folder_of(corpus))
        for row in site.service.sweeps():
            if row.state not in ENDED and (row.data or "").startswith(folder):
                raise ProblemError(
                    409, f"corpus '{corpus}': sweep '{row.sweep}' needs it, which is {row.state}"
                )
        site.uploads.delete(corpus)

    await site.answers.change(change)
    return Response(status_code=204)
