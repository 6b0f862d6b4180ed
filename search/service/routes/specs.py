"""What sweeps are made of: the sizes of networks, and files in YAML."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from rich.console import Console

from lstm_sweep.models.errors import shown
from lstm_sweep.models.yaml_file import parse_yaml
from lstm_sweep.search import api
from lstm_sweep.search.service import answers, printed
from lstm_sweep.search.service import shown as shows
from lstm_sweep.search.service.bodies import Networks, SweepSubmission, YamlFile, check_priority
from lstm_sweep.search.service.description import API, refusals
from lstm_sweep.search.service.site import Site, TheSite
from lstm_sweep.search.texts.sizes import write_sizes

#: of a whole number that JSON is given
MOST_BITS = 1_000

router = APIRouter(prefix=API, tags=["sweeps"])


@router.post(
    "/sizes",
    summary="Ask the size rule about networks",
    responses={200: {"model": shows.Sizes}, **refusals({404: "there is no such corpus"})},
)
async def sizes(body: Networks, request: Request, site: TheSite) -> Response:
    """Sizes of the networks of a space, compared with the size rule on the data."""
    fields = body.given()

    def write(console: Console) -> None:
        write_sizes(console, api.size(site.names.spec_of(fields)))

    if printed.wants_text(request):
        return await printed.read_corpus(request, site, write)

    def ask() -> dict[str, Any]:
        report = api.size(site.names.spec_of(fields))
        more = {"corpus": report.corpus, "refused": report.refused}
        return report.to_dict() | more

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
    return answers.document(await site.answers.read_corpus(partial(dry_run_of, site, fields)))


def dry_run_of(site: Site, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What `launch --dry-run --json` prints of a sweep; places are named as clients name them."""
    settings = site.service.settings
    spec = site.names.spec_of(fields)
    if settings.cluster:  # on which all sweeps run
        spec = dataclasses.replace(spec, on="ray")
    result = api.dry_run(spec, settings=site.store, most_slots=settings.count_slots()).to_dict()
    for field in ("data", "template"):
        if result["spec"].get(field):
            result["spec"][field] = site.names.named(result["spec"][field])
    return result | {"notes": [site.names.named(note) for note in result["notes"]]}


@router.post(
    "/yaml",
    summary="Read a sweep file or a space file",
    responses={200: {"model": shows.FileContent}},
)
async def yaml(body: YamlFile, request: Request, site: TheSite) -> Response:
    """What a file in YAML says, for clients that cannot read YAML; it is read as commands do."""

    def ask() -> bytes:
        return answers.to_json({"content": in_json(parse_yaml(body.text, body.name))})

    content = await site.answers.ask(request, ask)
    return Response(content, media_type="application/json")


def in_json(value: object) -> Any:
    """A value of a YAML file; what JSON does not have, such as a date, is a text."""
    if isinstance(value, dict):
        return {str(key): in_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [in_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return shown(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
