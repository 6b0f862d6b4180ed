"""Corpora: one request announces a file or folder, and one sends it unless it is there."""

from __future__ import annotations

from contextlib import closing, suppress
from functools import partial
from os.path import realpath
from typing import Annotated

from anyio import to_thread
from fastapi import Path, Query, Request, Response

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import row_of, unfinished
from lstm_sweep.search.actions.transfers import OCTETS, TAR
from lstm_sweep.search.service import answers, schemas
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.auth import check_owner
from lstm_sweep.search.service.schemas import CorpusAnnouncement
from lstm_sweep.search.service.site import Endpoints, TheSite, TheUser
from lstm_sweep.search.service.uploads import (
    CORPUS,
    CORPUS_ID,
    LONGEST_CORPUS,
    READ_BYTES,
    SentBody,
    UploadedCorpus,
    unpack,
)
from lstm_sweep.search.store.faults import NoSuchRunError

endpoint = Endpoints("corpora")

CorpusId = Annotated[
    str,
    Path(
        description="ID of a corpus: of its name and the digests of its files",
        pattern=f"^{CORPUS_ID}$",
    ),
]
Name = Annotated[
    str,
    Query(min_length=1, max_length=LONGEST_CORPUS, description="name of the file or folder"),
]
#: refusals: when, by status
NONE = {404: "there is no such corpus"}
TOO_MUCH = {413: "it is too large", 507: "the disk is full, or too much was uploaded"}
SENDING = TOO_MUCH | {
    408: "it does not come, or takes too long",
    409: "what has come has another ID",
    415: "the body has another type",
    429: "too many corpora are sent just now",
}
BODY = {"schema": {"type": "string", "format": "binary"}}


@endpoint("POST /corpora", "Announce a corpus", schemas.CorpusAnnounced, TOO_MUCH)
async def announce(body: CorpusAnnouncement, site: TheSite, user: TheUser) -> Response:
    """Whether a corpus is there; if it is not, whether it may be sent and has room."""
    ask = partial(site.uploads.announce, body.id, body.name, body.bytes, user.name)
    is_there = await site.answers.read(ask)
    return answers.document({"id": body.id, "data": CORPUS + body.id, "is_there": is_there})


@endpoint(
    "PUT /corpora/{corpus}",
    "Send a corpus",
    schemas.CORPUS,
    SENDING,
    status=201,
    openapi_extra={"requestBody": {"required": True, "content": {OCTETS: BODY, TAR: BODY}}},
)
async def send(
    corpus: CorpusId, name: Name, request: Request, site: TheSite, user: TheUser
) -> Response:
    """Send a file as it is, or a folder as a tar file; if it breaks off, nothing of it stays."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (OCTETS, TAR):
        raise ProblemError(
            415, f"the body is no {OCTETS} and no {TAR}, expected a file or a tar file"
        )
    uploads, body = site.uploads, SentBody(request)

    def receive() -> UploadedCorpus:
        with closing(uploads.receive(name, user.name, is_folder=kind == TAR)) as receiver:
            if kind == TAR:
                unpack(body, receiver)
            else:
                receiver.write(name, iter(partial(body.read, READ_BYTES), b""))
            return receiver.finish(corpus)

    try:
        made = await to_thread.run_sync(receive, limiter=uploads.limiter)
    except Exception:
        await body.pass_over()
        raise
    return answers.document(made, 201)


@endpoint("GET /corpora", "List corpora", schemas.CORPORA)
async def corpora(site: TheSite) -> Response:
    """Corpora that were uploaded, by name."""
    found = await site.answers.read(site.uploads.corpora)
    return answers.document({"corpora": found})


@endpoint("GET /corpora/{corpus}", "Show a corpus", schemas.CORPUS, NONE)
async def corpus_shown(corpus: CorpusId, site: TheSite) -> Response:
    """One corpus."""
    found = await site.answers.read(partial(site.uploads.corpus, corpus))
    return answers.document(found)


NEEDED = NONE | {403: "somebody else has sent it", 409: "a sweep or a rerun needs it"}


@endpoint("DELETE /corpora/{corpus}", "Delete a corpus", refused=NEEDED, status=204)
async def delete_corpus(corpus: CorpusId, site: TheSite, user: TheUser) -> Response:
    """Delete a corpus of the user's own that no sweep or rerun needs which waits or runs."""

    def change() -> None:
        with site.uploads.naming:  # so that no sweep is submitted meanwhile that needs it
            owner = site.uploads.corpus(corpus).owner
            check_owner(user, owner, f"corpus '{corpus}'")
            folder = f"{realpath(site.uploads.folder_of(corpus))}/"
            here = Local(site.service.settings.store)
            needs = [(f"sweep '{row.sweep}'", row.data, row.state) for row in unfinished(here)]
            for job in site.service.reruns():
                with suppress(NoSuchRunError):
                    row = row_of(here.sweep_run(job.name.rpartition("/")[0])[1])
                    needs.append((f"a rerun of trial '{job.name}'", row.data, job.state))
            for what, data, state in needs:
                if data and realpath(data).startswith(folder):
                    raise ProblemError(409, f"corpus '{corpus}': {what} needs it, which is {state}")
            site.uploads.delete(corpus)

    await site.answers.change(change)
    return Response(status_code=204)
