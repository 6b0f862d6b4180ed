"""Reports of sweeps, as pages."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from lstm_sweep.search import api
from lstm_sweep.search.service.description import API, SweepName, refusals
from lstm_sweep.search.service.site import TheSite

router = APIRouter(prefix=API, tags=["sweeps"])

#: header with what `report` prints, but for the file; ASCII
RESULT = "Lstm-Sweep-Report"
HTML = "text/html"
#: a report has its style in itself, and no script; nothing is loaded, sent or framed
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@router.get(
    "/sweeps/{sweep}/report",
    summary="Show the report of a sweep",
    response_class=Response,
    responses={
        200: {
            "description": "one page that loads nothing",
            "content": {HTML: {"schema": {"type": "string"}}},
            "headers": {
                RESULT: {
                    "description": "what `report --json` prints, but for the file, and `headline`",
                    "schema": {"type": "string"},
                }
            },
        },
        **refusals({404: "there is no such sweep", 409: "it cannot be read"}),
    },
)
async def report(sweep: SweepName, request: Request, site: TheSite) -> Response:
    """A page on a sweep as it is now, be it finished or not: its result, and why."""

    def ask() -> dict[str, Any]:
        found = api.report(sweep, settings=site.store)
        about = found.to_dict() | {"headline": found.headline}
        del about["report"]
        return {"html": site.names.named(found.html), "about": about}

    found = json.loads((await site.answers.get(request, ("report", sweep), ask)).content)
    headers = {
        RESULT: json.dumps(found["about"]),
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-cache",
    }
    return Response(found["html"].encode("utf-8", "replace"), headers=headers, media_type=HTML)
