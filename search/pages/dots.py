"""Drawings of single points: the ladder, parameters and loss, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.frame import (
    RIGHT,
    SHAPES,
    Entry,
    Frame,
    Level,
    legend,
    mark,
    nearest,
    places,
    tick_name,
)  # fmt: skip
from lstm_sweep.search.pages.scales import Scale, scale, within
from lstm_sweep.search.pages.svg import WIDE, Markup, Size


@dataclass(frozen=True)
class Dot:
    """A point, and what a pointer over it shows. Without a finite loss it has no height."""

    x: float
    y: float | None
    tip: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it has a finite loss."""
        return self.y is not None and math.isfinite(self.y)


@dataclass(frozen=True)
class Dots:
    """Points that belong together; `joined` by a line from left to right if wanted."""

    name: str
    dots: Sequence[Dot]
    joined: bool = False


@dataclass(frozen=True)
class Band:
    """Values of x with a meaning, such as what the size rule allows."""

    name: str
    low: float
    high: float


def scatter(
    groups: Sequence[Dots],
    levels: Sequence[Level] = (),
    band: Band | None = None,
    *,
    x_label: str,
    y_label: str,
    size: Size = WIDE,
) -> Markup:
    """Losses over a positive quantity on a logarithmic scale.

    Points far above the others, and those without a finite loss, are crosses at the upper edge.
    """
    title = f"{y_label} over {x_label}"
    dots = [dot for group in groups for dot in group.dots if math.isfinite(dot.x) and dot.x > 0]
    losses = [dot.y for dot in dots if dot.is_known and dot.y is not None]
    x0, x1, y0, y1 = places(size)
    edges = [band.low, band.high] if band else []
    x = scale([*(dot.x for dot in dots), *edges], x0, x1, log=True)
    y = scale(within(losses, nearest(levels)), y0, y1)
    if x is None or y is None or not dots:
        return svg.nothing(size, title)
    frame = Frame(size, x, y, x_label, y_label)
    entries = list[Entry]()
    parts = list[Markup]()
    for index, group in enumerate(groups):
        if group.dots:
            class_, shape = f"s{index}", SHAPES[index % len(SHAPES)]
            parts.append(_group(frame, group, class_, shape))
            entries.append(Entry(class_, shape, group.name))
    if any(not dot.is_known or (dot.y or 0.0) > y.high for dot in dots):
        entries.append(Entry("failed", "cross", "no result, or a loss above the frame"))
    behind = _band(frame, band)
    if band:
        entries.append(Entry("band", "square", band.name))
    below, height = legend(entries, size)
    whole = Size(size.width, size.height + height)
    seen = [(dot.x, dot.y) for dot in dots if dot.is_known and dot.y is not None]
    lines, names = frame.levels(levels, [[(x(a), y(b))] for a, b in seen if b <= y.high])
    return svg.picture(whole, title, behind, frame.axes(), lines, *parts, names, below)


def _group(frame: Frame, group: Dots, class_: str, shape: str) -> Markup:
    x, y = frame.x, frame.y
    parts, line = list[Markup](), list[tuple[float, float]]()
    for dot in sorted(group.dots, key=lambda one: one.x if math.isfinite(one.x) else 0.0):
        if not (math.isfinite(dot.x) and dot.x > 0):
            continue
        if dot.is_known and dot.y is not None and dot.y <= y.high:
            line.append((x(dot.x), y(dot.y)))
            parts.append(mark(shape, *line[-1], class_, dot.tip))
        else:
            parts.append(mark("cross", x(dot.x), y.end + 5, "failed", dot.tip))
    return svg.joined([svg.path(line if group.joined else [], f"stroke {class_}"), *parts])


def _band(frame: Frame, band: Band | None) -> Markup:
    if band is None:
        return Markup("")
    low, high = frame.x(band.low), frame.x(band.high)
    top, bottom = frame.y.end, frame.y.begin
    return svg.element(
        "rect", x=low, y=top, width=max(high - low, 1), height=bottom - top, class_="band"
    )


@dataclass(frozen=True)
class Seeds:
    """A config that was trained with several seeds: losses of its first run and of further ones."""

    name: str
    first: float | None
    further: Sequence[float]
    #: what is written at the right end
    note: str = ""

    @property
    def bar(self) -> tuple[float, ...]:
        """Mean of the further seeds, and one standard deviation below and above it; or nothing."""
        known = [one for one in self.further if math.isfinite(one)]
        if not known:
            return ()
        mean = math.fsum(known) / len(known)
        squares = math.fsum((one - mean) * (one - mean) for one in known)
        spread = math.sqrt(squares / max(1, len(known) - 1))
        return mean, mean - spread, mean + spread


#: px of a row of `seeds`
SEEDS_ROW = 46.0


def seeds(rows: Sequence[Seeds], *, x_label: str, size: Size = WIDE) -> Markup:
    """Losses of configs over seeds: a row each, with mean and standard deviation as a bar."""
    title = f"{x_label} over seeds"
    losses = [one for row in rows for one in (*row.further, *row.bar, row.first) if one is not None]
    x = scale(within(losses, rows[0].bar if rows else ()), 16, size.width - RIGHT)
    if x is None:
        return svg.nothing(size, title)
    bottom = SEEDS_ROW * len(rows) + 6
    parts = list[Markup]()
    for tick in x.ticks(max(2, int(size.width / 90))):
        parts.append(svg.line(x(tick), 6, x(tick), bottom, "grid"))
        parts.append(tick_name(tick, x(tick), bottom + 15, size.width))
    for index, row in enumerate(rows):
        parts += _seeds_row(row, x, SEEDS_ROW * index, size)
    parts.append(svg.text(x_label, size.width / 2, bottom + 33, anchor="middle", class_="label"))
    entries = [
        Entry("s0", "circle", "further seeds; bar: mean and deviation"),
        Entry("hollow", "diamond", "first run, by which it was chosen"),
    ]
    below, height = legend(entries, Size(size.width, bottom + 40))
    return svg.picture(Size(size.width, bottom + 40 + height), title, *parts, below)


def _seeds_row(row: Seeds, x: Scale, top: float, size: Size) -> list[Markup]:
    middle = top + 33
    note = svg.text(row.note, size.width - RIGHT, top + 18, anchor="end", class_="faint halo")
    width = size.width - RIGHT - 16 - svg.CHARACTER * len(row.note)
    parts = [svg.text(svg.fitted(row.name, width), 16, top + 18, class_="halo"), note]
    known = [one for one in row.further if math.isfinite(one)]
    if row.bar:
        mean, low, high = map(x, row.bar)
        parts.append(
            svg.element(
                "rect", x=low, y=middle - 6, width=max(high - low, 1), height=12, class_="spread"
            )
        )
        parts.append(svg.line(mean, middle - 9, mean, middle + 9, "mean"))
    parts += [mark("circle", x(one), middle, "s0", f"{one:.4f}") for one in known]
    if row.first is not None and math.isfinite(row.first):
        parts.append(mark("diamond", x(row.first), middle, "hollow", f"first: {row.first:.4f}"))
    return parts
