"""The HTTP side of a service, as an ASGI app, and its description (OpenAPI).

Endpoints of corpora, and of the service itself, stand here too.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from os.path import realpath
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.exceptions import HTTPException

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import row_of, unfinished
from lstm_sweep.search.actions.transfers import CORPUS, OCTETS, TAR
from lstm_sweep.search.service import answers, pages, schemas
from lstm_sweep.search.service.answers import MEDIA, ProblemError
from lstm_sweep.search.service.auth import COOKIE, check_owner
from lstm_sweep.search.service.guard import OPEN, Guard
from lstm_sweep.search.service.routes import sweeps, trials
from lstm_sweep.search.service.schemas import CorpusAnnouncement, ProblemDocument
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import API, HttpSettings
from lstm_sweep.search.service.site import TEXT, Endpoints, Site, TheSite, TheUser
from lstm_sweep.search.service.uploads import (
    CORPUS_ID,
    LONGEST_CORPUS,
    READ_BYTES,
    SentBody,
    UploadedCorpus,
    unpack,
)
from lstm_sweep.search.store.faults import NoSuchRunError

VERSION = version("lstm-sweep")
#: what is asked of the service itself
endpoint, corpus_endpoint = Endpoints("service", prefix=""), Endpoints("corpora")
API_PARTS = (sweeps.endpoint, trials.endpoint, corpus_endpoint, endpoint)
ROUTERS = (*(part.router for part in API_PARTS), pages.router)
PLAIN = {"content": {"text/plain": TEXT}}
REFUSED = "it is refused: `detail` says what was expected"
ABOUT = """\
Queues sweeps of lstm-sweep, runs them, and hands out their models.

Refusals are problem documents (RFC 9457), the default response of each request; `detail` is the
sentence of the command line.
"""


def create_app(service: Service, settings: HttpSettings) -> FastAPI:
    """The app of a service that has been started.

    Whoever ends the server sets `app.state.site.feeds.closing` first: it waits for open streams.
    """
    site = Site(service, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        site.feeds.closing = True

    app = FastAPI(
        title="lstm-sweep",
        version=VERSION,
        description=ABOUT,
        openapi_tags=[{"name": name} for name in ("sweeps", "trials", "corpora", "service")],
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # whose pages are loaded from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.site = site
    for router in ROUTERS:
        app.include_router(router)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _leave_to_guard)
    app.add_middleware(Guard, site=site)
    describe = app.openapi
    app.openapi = functools.cache(lambda: _completed(describe()))  # type: ignore[method-assign]
    return app


async def _leave_to_guard(request: Request, error: Exception) -> Response:
    raise error


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """The description of an app in which each endpoint has its refusals and its logins."""
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "of `lstm-sweep token add`"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    problem = {MEDIA: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    for path, methods in found["paths"].items():
        for described in methods.values():
            described["responses"].pop("422", None)  # FastAPI's own
            described["responses"]["default"] = {"description": REFUSED, "content": problem}
            if path not in OPEN:
                described["security"] = [{"token": []}, {"cookie": []}, {}]
    return found


@endpoint(f"GET {API}/health", "Is it there?", schemas.Health)
async def health() -> Response:
    """The service answers; without a login, and whatever the store does."""
    return answers.document({"status": "ok", "version": VERSION})


@endpoint(f"GET {API}/ready", "Does it take sweeps?", schemas.Ready)
async def ready(site: TheSite) -> Response:
    """The service takes sweeps, and its store answers, or else 503; asked without a login."""

    def ask() -> dict[str, Any]:
        if site.service.ready():
            raise ProblemError(503, "no sweeps are taken just now: the log of the service says why")
        found = _figures(site)
        return {
            "status": "ready",
            "takes_code": site.service.settings.allow_code,
            **found["sweeps"],
            "slots_held": found["slots"]["held"],
        }

    return await site.answers.reply(("ready",), ask)


def _figures(site: Site) -> dict[str, Any]:
    service, queue, now = site.service, site.service.queue(), datetime.now(UTC)
    running = sum(bool(one.slots) for one in queue)
    waits = [(now - one.submitted).total_seconds() for one in queue if not one.slots]
    return {
        "sweeps": {"running": running, "queued": len(queue) - running},
        "slots": {
            "held": sum(one.slots for one in queue),
            "wanted": sum(one.wanted for one in queue),
        },
        "listeners": site.feeds.listeners,
        "oldest_wait_seconds": max([0.0, *waits]),
        **service.figures,
        "ready": not service.ready(),
    }


@endpoint("GET /metrics", "Figures for Prometheus", described=PLAIN, response_class=Response)
async def metrics(site: TheSite) -> Response:
    """Requests, sweeps by state, slots and listeners."""
    text = await site.answers.read(lambda: site.metrics.text(_figures(site)))
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@endpoint(f"GET {API}/user", "Who am I?", schemas.USER)
async def who(user: TheUser) -> Response:
    """Who asks, and the role; a proxy asks this for whoever wants pages that lie beside these."""
    return answers.document(user)


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
BODY = {"schema": {"type": "string", "format": "binary"}}


@corpus_endpoint("POST /corpora", "Announce a corpus", schemas.CorpusAnnounced)
async def announce(body: CorpusAnnouncement, site: TheSite) -> Response:
    """Whether a corpus is there; if it is not, whether it may be sent and has room."""
    ask = partial(site.uploads.announce, body.id, body.name, body.bytes)
    is_there = await site.answers.read(ask)
    return answers.document({"id": body.id, "data": CORPUS + body.id, "is_there": is_there})


@corpus_endpoint(
    "PUT /corpora/{corpus}",
    "Send a corpus",
    schemas.CORPUS,
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


@corpus_endpoint("GET /corpora", "List corpora", schemas.CORPORA)
async def corpora(site: TheSite) -> Response:
    """Corpora that were uploaded, by name."""
    found = await site.answers.read(site.uploads.corpora)
    return answers.document({"corpora": found})


@corpus_endpoint("GET /corpora/{corpus}", "Show a corpus", schemas.CORPUS)
async def corpus_shown(corpus: CorpusId, site: TheSite) -> Response:
    """One corpus."""
    found = await site.answers.read(partial(site.uploads.corpus, corpus))
    return answers.document(found)


@corpus_endpoint("DELETE /corpora/{corpus}", "Delete a corpus", status=204)
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
