"""Answers as text: what commands print, for the terminal that the client has."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

from fastapi import Request
from rich.console import Console
from starlette.responses import Response

from lstm_sweep.search.service.site import Site

MEDIA = "text/plain"
#: header of a request: `columns=140; color=none`
TERMINAL = "lstm-sweep-terminal"
#: header of an answer: sentences on what is left out, as a JSON list in ASCII
LEFT_OUT = "Lstm-Sweep-Left-Out"
#: header of an answer: what names the page after this one
NEXT_PAGE = "Lstm-Sweep-Next-Page"
#: columns of a terminal: those of one that says nothing, the fewest and the most
COLUMNS, FEWEST, MOST = 140, 20, 1_000
#: systems of colours, by their name in the header
COLORS = {"standard": "standard", "256": "256", "truecolor": "truecolor"}
#: characters of the header with what is left out, about
LONGEST_LEFT_OUT = 16_000

#: prints a value, and returns what may have sentences on what is left out, and a next page
Write = Callable[[Console], object]


def wants_text(request: Request) -> bool:
    """Whether a client asks for text, and for no JSON."""
    kinds = [one.partition(";")[0].strip() for one in request.headers.get("accept", "").split(",")]
    return MEDIA in kinds and "application/json" not in kinds


def text_of(terminal: str, write: Write) -> dict[str, Any]:
    """What `write` prints on a terminal, what is left out, and what names the next page."""
    given = dict(re.findall(r"([a-z]+)=([0-9a-z]+)", terminal[:200]))
    columns = given.get("columns", "")
    width = int(columns) if re.fullmatch("[0-9]{1,4}", columns) else COLUMNS
    color: Any = COLORS.get(given.get("color", ""))
    output = io.StringIO()
    console = Console(
        file=output, width=min(max(width, FEWEST), MOST), highlight=False, markup=False,
        emoji=False, force_terminal=color is not None, color_system=color, _environ={},
    )  # fmt: skip
    found = write(console)
    left_out, next_page = getattr(found, "left_out", ()), getattr(found, "next_page", "")
    return {"text": output.getvalue(), "left_out": list(left_out), "next_page": next_page}


def response(found: dict[str, Any]) -> Response:
    """The response with a text."""
    left_out = list(found["left_out"])
    while len(written := json.dumps(left_out)) > LONGEST_LEFT_OUT:
        left_out = left_out[: len(left_out) // 2]
    headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
    if left_out:
        headers[LEFT_OUT] = written
    if found["next_page"]:
        headers[NEXT_PAGE] = found["next_page"]
    return Response(found["text"].encode("utf-8", "replace"), headers=headers, media_type=MEDIA)


async def answer(request: Request, site: Site, write: Write) -> Response:
    """What `write` prints for the terminal of a client."""
    terminal = request.headers.get(TERMINAL, "")
    return response(await site.answers.ask(request, lambda: text_of(terminal, write)))


async def read_corpus(request: Request, site: Site, write: Write) -> Response:
    """What `write` prints once it has read a corpus; it is not remembered."""
    terminal = request.headers.get(TERMINAL, "")
    return response(await site.answers.read_corpus(lambda: text_of(terminal, write)))


async def change(request: Request, site: Site, write: Write, sweep: str = "") -> Response:
    """What `write` prints, which changes something."""
    terminal = request.headers.get(TERMINAL, "")
    return response(await site.answers.change(lambda: text_of(terminal, write), sweep))
