"""What sweeps are made of: the sizes of networks, and what a sweep would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from lstm_sweep.search import api
from lstm_sweep.search.api.dry_run import DryRun
from lstm_sweep.search.service import answers
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.bodies import Networks, SweepSubmission, check_priority
from lstm_sweep.search.service.description import API, refusals
from lstm_sweep.search.service.site import Site, TheSite

router = APIRouter(prefix=API, tags=["sweeps"])


@router.post(
    "/sizes",
    summary="Ask the size rule about networks",
    responses={200: {"model": shows.Sizes}, **refusals({404: "there is no such corpus"})},
)
async def sizes(body: Networks, request: Request, site: TheSite) -> Response:
    """Sizes of the networks of a space, compared with the size rule on the data."""
    fields = body.given()

    def ask() -> dict[str, Any]:
        return api.size(site.names.spec_of(fields)).document()

    return answers.document(await site.answers.read_corpus(ask))


@router.post(
    "/dry-runs",
    summary="Say what a sweep would do",
    responses={
        200: {"model": shows.DryRun},
        **refusals(
            {
                403: "templates are not allowed",
                404: "there is no such corpus",
                409: "a sweep has this name",
            }
        ),
    },
)
async def dry_run(body: SweepSubmission, site: TheSite) -> Response:
    """What a sweep with the fields of `SWEEP.yaml` would do; nothing is trained, or queued."""
    fields = body.sent()
    check_priority(fields.pop("priority", 0))
    found = await site.answers.read_corpus(partial(dry_run_of, site, fields))
    return answers.document(found.to_dict())


def dry_run_of(site: Site, fields: Mapping[str, Any]) -> DryRun:
    """What a sweep would do; places are named as clients name them."""
    settings = site.service.settings
    spec = site.names.spec_of(fields)
    if settings.cluster:  # on which all sweeps run
        spec = dataclasses.replace(spec, on="ray")
    found = api.dry_run(spec, settings=site.store, most_slots=settings.count_slots())
    return found.with_places(site.names.named)
