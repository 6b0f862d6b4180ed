"""Drawings of amounts as horizontal bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.svg import WIDE, Markup, Size

#: px of a bar with its name above it
ROW, THICK = 40.0, 14.0


@dataclass(frozen=True)
class Bar:
    """A named amount from 0, what is written beside it, and whether it stands out."""

    name: str
    value: float
    text: str
    strong: bool = False


def bars(
    rows: Sequence[Bar], *, title: str, limit: float | None = None, size: Size = WIDE
) -> Markup:
    """Amounts as bars from 0; `limit` is a line that none can come below, or the end of the scale.

    Amounts that are not finite, or below 0, have no bar.
    """
    known = [row.value for row in rows if math.isfinite(row.value) and row.value > 0]
    if not rows:
        return svg.nothing(size, title)
    widest = max((len(row.text) for row in rows), default=0) * svg.CHARACTER + 12
    room = size.width - widest - 8
    most = max(known, default=1.0)
    parts = list[Markup]()
    for index, row in enumerate(rows):
        top = ROW * index
        ok = math.isfinite(row.value) and row.value > 0
        width = room * row.value / most if ok else 0.0
        parts += [
            svg.text(svg.fitted(row.name, size.width - 8), 4, top + 14),
            svg.element(
                "rect", x=4, y=top + 20, width=width, height=THICK, rx=2,
                class_="bar strong" if row.strong else "bar",
            ),
            svg.text(row.text, 4 + width + 6, top + 31, class_="strong" if row.strong else None),
        ]  # fmt: skip
    height = ROW * len(rows) + 2
    if limit is not None and math.isfinite(limit) and 0 < limit <= most:
        x = 4 + room * limit / most
        parts.append(svg.line(x, 18, x, height, "level"))
    return svg.picture(Size(size.width, height), title, *parts)
