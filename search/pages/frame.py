"""The frame of a drawing: axes with ticks, a grid, levels, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.scales import Scale, short
from lstm_sweep.search.pages.svg import Markup, Size

#: px around the place for points
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 40.0
#: px of a line of text
ROW = 17.0
#: px between two ticks, at least
APART_X, APART_Y = 70.0, 36.0
#: marks that tell series apart without colour
SHAPES = ("circle", "square", "triangle", "diamond", "cross")


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
            yield svg.text(short(tick), x(tick), bottom + 15, anchor="middle")
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

    def levels(self, levels: Sequence[Level]) -> Markup:
        """Horizontal lines with their names at the right end, moved apart where they are close."""
        shown = [one for one in levels if self.y.low <= one.value <= self.y.high]
        parts, lowest = list[Markup](), self.y.end - ROW
        for level in sorted(shown, key=lambda one: -one.value):
            y = self.y(level.value)
            lowest = max(y - 4, lowest + ROW - 3)
            name = f"{level.name} {level.value:.3f}"
            parts += [
                svg.line(self.x.begin, y, self.x.end, y, "level"),
                svg.text(name, self.x.end - 2, lowest, anchor="end", class_="halo"),
            ]
        return svg.joined(parts)

    def inside(self, *children: Markup) -> Markup:
        """Children of which only what is within the frame is seen."""
        x, y = self.x, self.y
        left, top, width, height = x.begin, y.end, x.end - x.begin, y.begin - y.end
        return svg.element(
            "svg", *children, x=left, y=top, width=width, height=height, overflow="hidden",
            viewBox=" ".join(map(svg.number, (left, top, width, height))),
        )  # fmt: skip


def nearest(levels: Sequence[Level]) -> list[float]:
    """The two lowest levels, which a frame has to show; a high one would leave the rest flat."""
    return sorted(level.value for level in levels)[:2]


def places(size: Size) -> tuple[float, float, float, float]:
    """Begin and end of the scales of a drawing: of x, and of y, which begins below."""
    return LEFT, size.width - RIGHT, size.height - BOTTOM, TOP


def legend(entries: Sequence[Entry], size: Size) -> tuple[Markup, float]:
    """A legend below the frame, and its height in px; two columns where there is room."""
    longest = max((len(entry.text) for entry in entries), default=0) * svg.CHARACTER + 30
    columns = 2 if len(entries) > 1 and longest <= (size.width - LEFT) / 2 else 1
    rows = -(-len(entries) // columns)
    width = (size.width - LEFT) / columns
    parts = list[Markup]()
    for index, entry in enumerate(entries):
        x, y = LEFT + (index // rows) * width, size.height + 10 + (index % rows) * ROW
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
