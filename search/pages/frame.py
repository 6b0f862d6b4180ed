"""The frame of a drawing: axes with ticks, a grid, levels, a legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.scales import Scale, short
from lstm_sweep.search.pages.svg import WIDE, Markup, Size

#: px around the place for points
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 40.0
#: px to the left of a legend on a phone
LEFT_NARROW = 20.0
#: px of a line of text
ROW = 17.0
#: px between two ticks, at least
APART_X, APART_Y = 70.0, 36.0
#: px from one place on a line to the next, at which names are kept from hiding it
STEP = 5.0
#: marks that tell series apart without colour
SHAPES = ("circle", "square", "triangle", "diamond", "cross")


#: the corners of a line in px
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Level:
    """A horizontal line with a name, such as the loss of a baseline."""

    name: str
    value: float


@dataclass(frozen=True)
class Entry:
    """A line of a legend: the class of its series, the shape of its mark, and what it means."""

    class_: str
    shape: str
    text: str


@dataclass(frozen=True)
class Box:
    """A rectangle in px."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, others: Iterable[Box]) -> bool:
        """Whether it has a point in common with one of the others."""
        return any(
            self.x0 < one.x1 and one.x0 < self.x1 and self.y0 < one.y1 and one.y0 < self.y1
            for one in others
        )

    def holds(self, places: Iterable[tuple[float, float]]) -> int:
        """How many of the places are within it."""
        return sum(self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1 for x, y in places)


@dataclass(frozen=True)
class Frame:
    """The place for the points of a drawing."""

    size: Size
    x: Scale
    y: Scale
    x_label: str
    y_label: str

    def axes(self) -> Markup:
        """Grid, ticks and the names of both axes."""
        return svg.joined([*self._x_axis(), *self._y_axis()])

    def _x_axis(self) -> Iterable[Markup]:
        x, bottom, top = self.x, self.y.begin, self.y.end
        yield svg.line(x.begin, bottom, x.end, bottom, "axis")
        for tick in x.ticks(max(2, int((x.end - x.begin) / APART_X))):
            yield svg.line(x(tick), bottom, x(tick), top, "grid")
            yield tick_name(tick, x(tick), bottom + 15, self.size.width)
        yield svg.text(
            self.x_label, (x.begin + x.end) / 2, bottom + 33, anchor="middle", class_="label"
        )

    def _y_axis(self) -> Iterable[Markup]:
        y, left, right = self.y, self.x.begin, self.x.end
        for tick in y.ticks(max(2, int((y.begin - y.end) / APART_Y))):
            yield svg.line(left, y(tick), right, y(tick), "grid")
            yield svg.text(short(tick), left - 6, y(tick) + 4, anchor="end")
        middle = (y.begin + y.end) / 2
        turned = f"rotate(-90 12 {svg.number(middle)})"
        yield svg.element(
            "text", self.y_label, x=12, y=middle, transform=turned, text_anchor="middle",
            class_="label",
        )  # fmt: skip

    def levels(self, levels: Sequence[Level], lines: Iterable[Line] = ()) -> tuple[Markup, Markup]:
        """Horizontal lines, and their names, which hide as little of what `lines` draw as may be.

        A name stands above or below its level, at the right end, at the left or between them.
        """
        covered = [place for line in lines for place in _along(line)]
        drawn, names, taken = list[Markup](), list[Markup](), list[Box]()
        for level in sorted(levels, key=lambda one: -one.value):
            if not self.y.low <= level.value <= self.y.high:
                continue
            name = f"{level.name} {level.value:.3f}"
            boxes = list(self._boxes(len(name) * svg.CHARACTER, self.y(level.value)))
            best = min(boxes, key=lambda box: (box.overlaps(taken), box.holds(covered)))
            taken.append(best)
            y = self.y(level.value)
            drawn.append(svg.line(self.x.begin, y, self.x.end, y, "level"))
            names.append(svg.text(name, best.x1, best.y1 - 3, anchor="end", class_="halo"))
        return svg.joined(drawn), svg.joined(names)

    def _boxes(self, width: float, y: float) -> Iterable[Box]:
        """Where the name of a level at `y` may stand, the usual place first."""
        left, right = self.x.begin + 4 + width, self.x.end - 2
        ends = [right + share * (left - right) for share in (0, 1, 0.25, 0.5, 0.75)]
        rows = [y - 1, y + ROW - 1, y + 2 * ROW - 4]
        for bottom in [row for row in rows if row <= self.y.begin - 1] or rows[:1]:
            yield from (Box(end - width, bottom - ROW + 3, end, bottom) for end in ends)

    def inside(self, *children: Markup) -> Markup:
        """Children of which only what is within the frame is seen."""
        x, y = self.x, self.y
        left, top, width, height = x.begin, y.end, x.end - x.begin, y.begin - y.end
        return svg.element(
            "svg", *children, x=left, y=top, width=width, height=height, overflow="hidden",
            viewBox=" ".join(map(svg.number, (left, top, width, height))),
        )  # fmt: skip


def tick_name(tick: float, x: float, y: float, width: float) -> Markup:
    """A number below an axis, moved so that a drawing of this width has all of it."""
    name = short(tick)
    half = len(name) * svg.CHARACTER / 2 + 1
    return svg.text(name, max(half, min(x, width - half)), y, anchor="middle")


def _along(line: Line) -> Iterable[tuple[float, float]]:
    """Places on a line, its corners among them."""
    yield from line[:1]
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        count = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0)) / STEP))
        for part in range(1, count + 1):
            yield x0 + (x1 - x0) * part / count, y0 + (y1 - y0) * part / count


def nearest(levels: Sequence[Level]) -> list[float]:
    """The two lowest levels, which a frame has to show; a high one would leave the rest flat."""
    return sorted(level.value for level in levels)[:2]


def with_room(y: Scale, levels: Sequence[Level]) -> Scale:
    """A scale of heights that has room for a name below its lowest level."""
    shown = [level.value for level in levels if y.low <= level.value <= y.high]
    share = ROW / abs(y.begin - y.end)
    low = (min(shown, default=y.high) - share * y.high) / (1 - share)
    return replace(y, low=low) if math.isfinite(low) and low < y.low else y


def places(size: Size) -> tuple[float, float, float, float]:
    """Begin and end of the scales of a drawing: of x, and of y, which begins below."""
    return LEFT, size.width - RIGHT, size.height - BOTTOM, TOP


def legend(entries: Sequence[Entry], size: Size) -> tuple[Markup, float]:
    """A legend below the frame, and its height in px; two columns where there is room."""
    longest = max((len(entry.text) for entry in entries), default=0) * svg.CHARACTER + 30
    left = LEFT if size.width >= WIDE.width else LEFT_NARROW
    columns = 2 if len(entries) > 1 and longest <= (size.width - left) / 2 else 1
    rows = -(-len(entries) // columns)
    width = (size.width - left) / columns
    parts = list[Markup]()
    for index, entry in enumerate(entries):
        x, y = left + (index // rows) * width, size.height + 10 + (index % rows) * ROW
        parts += [
            svg.line(x - 8, y - 4, x + 8, y - 4, f"stroke {entry.class_}"),
            mark(entry.shape, x, y - 4, entry.class_),
            svg.text(svg.fitted(entry.text, width - 18), x + 14, y),
        ]
    return svg.joined(parts), rows * ROW + (6 if rows else 0)


def mark(shape: str, x: float, y: float, class_: str, tip: str = "", r: float = 4) -> Markup:
    """A mark at a point, with a text that a pointer over it shows."""
    title = (svg.element("title", tip),) if tip else ()
    named = f"mark {class_}"
    if shape == "circle":
        return svg.element("circle", *title, cx=x, cy=y, r=r, class_=named)
    if shape == "square":
        side = 1.8 * r
        return svg.element(
            "rect", *title, x=x - side / 2, y=y - side / 2, width=side, height=side, class_=named
        )
    corners: dict[str, list[tuple[float, float]]] = {
        "triangle": [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
        "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
        "cross": [(-1, -1), (1, 1), (0, 0), (-1, 1), (1, -1), (0, 0)],
    }
    d = svg.drawn((x + r * dx, y + r * dy) for dx, dy in corners[shape]) + "Z"
    return svg.element("path", *title, d=d, class_=f"{named} cross" if shape == "cross" else named)
