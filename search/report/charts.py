"""The kinds of charts of a report: bars, curves and dots."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from markupsafe import Markup

from lstm_sweep.search.report import svg
from lstm_sweep.search.report.svg import CHARACTER, LARGEST, WIDTH, Scale, scale, short, within

T = TypeVar("T")
#: places on x, and losses; a point without a finite one is left out
Points = Sequence[tuple[float, float | None]]
#: horizontal lines by their names, such as the losses of baselines
Levels = Mapping[str, float]
#: a line of a legend: the class of its series, the shape of its mark, and what it means
Entry = tuple[str, str, str]


def known(points: Points) -> list[tuple[float, float]]:
    """The points that have a place."""
    return [(x, y) for x, y in points if y is not None and abs(y) <= LARGEST and abs(x) <= LARGEST]


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """`most` items at most, from the first to the last at even distances."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# --- frames, marks and legends --------------------------------------------------------------------

#: px of a frame with what is around the place for points
HEIGHT = 340.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 14.0, 16.0, 40.0
#: px of a line of text
ROW = 17.0
#: ticks at most
TICKS_X, TICKS_Y = 8, 8
#: marks that tell series apart without colour, and the corners of those that have some
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "cross": [(-1, -1), (1, 1), (0, 0), (-1, 1), (1, -1), (0, 0)],
}


@dataclass(frozen=True)
class Frame:
    """The place for the points of a drawing, with levels across it."""

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    levels: Levels

    @classmethod
    def of(
        cls,
        xs: Iterable[float],
        ys: Sequence[float],
        levels: Levels,
        labels: tuple[str, str],
        kept: Sequence[float] = (),
        **how: bool,
    ) -> Frame | None:
        """A frame that the values have a place in, but for heights far above the others.

        It shows what is `kept` and the two lowest levels: a high one would leave the rest flat.
        None if no value has a place. `how` is said to the scale of x.
        """
        x = scale(xs, LEFT, WIDTH - RIGHT, **how)
        y = scale(within(ys, [*sorted(levels.values())[:2], *kept]), HEIGHT - BOTTOM, TOP)
        return cls(x, y, *labels, levels) if x and y else None

    def corners(self, points: Points) -> list[tuple[float, float]]:
        """The places of points; of a loss above the frame, a place above it."""
        return [
            (self.x(a), self.y(b) if b <= self.y.high else self.y.end - 20)
            for a, b in known(points)
        ]

    def inside(self, *children: Markup) -> Markup:
        """Children of which only what is within the frame is seen."""
        x, y = self.x, self.y
        left, top, width, height = x.begin, y.end, x.end - x.begin, y.begin - y.end
        return svg.element(
            "svg", *children, x=left, y=top, width=width, height=height, overflow="hidden",
            viewBox=" ".join(map(svg.number, (left, top, width, height))),
        )  # fmt: skip

    def picture(
        self,
        title: str,
        parts: Iterable[Markup],
        entries: Sequence[Entry],
        behind: Markup = svg.NOTHING,
    ) -> Markup:
        below, height = legend(entries, HEIGHT)
        shown = behind, *self._axes(), *parts, *self._levels(), below
        return svg.picture(HEIGHT + height, title, *shown)

    def _axes(self) -> Iterable[Markup]:
        left, right, bottom, top = self.x.begin, self.x.end, self.y.begin, self.y.end
        across, middle = (left + right) / 2, (top + bottom) / 2
        yield svg.line(left, bottom, right, bottom, "axis")
        for tick in self.x.ticks(TICKS_X):
            yield svg.line(self.x(tick), bottom, self.x(tick), top, "grid")
            yield tick_name(tick, self.x(tick), bottom + 15)
        for tick in self.y.ticks(TICKS_Y):
            yield svg.line(left, self.y(tick), right, self.y(tick), "grid")
            yield svg.text(short(tick), left - 6, self.y(tick) + 4, anchor="end")
        yield svg.text(self.x_label, across, bottom + 33, anchor="middle", class_="label")
        yield svg.element(
            "text", self.y_label, x=12, y=middle, text_anchor="middle", class_="label",
            transform=f"rotate(-90 12 {svg.number(middle)})",
        )  # fmt: skip

    def _levels(self) -> Iterable[Markup]:
        """Horizontal lines with their names, which neighbours have at different places."""
        levels = [one for one in self.levels.items() if self.y.low <= one[1] <= self.y.high]
        middle = (self.x.begin + self.x.end) / 2
        spots = (self.x.end - 2, "end"), (self.x.begin + 14, None), (middle, "middle")
        for index, (level, value) in enumerate(sorted(levels, key=lambda one: one[1])):
            y, (x, anchor) = self.y(value), spots[index % len(spots)]
            yield svg.line(self.x.begin, y, self.x.end, y, "level")
            yield svg.text(f"{level} {value:.3f}", x, y - 4, anchor=anchor, class_="halo")


def tick_name(tick: float, x: float, y: float) -> Markup:
    """A number below an axis, moved so that a drawing has all of it."""
    name = short(tick)
    half = len(name) * CHARACTER / 2 + 1
    return svg.text(name, max(half, min(x, WIDTH - half)), y, anchor="middle")


def legend(entries: Sequence[Entry], top: float) -> tuple[Markup, float]:
    """A legend from `top` on, and its height in px; two columns where there is room."""
    longest = max((len(meaning) for *_, meaning in entries), default=0) * CHARACTER + 30
    columns = 2 if len(entries) > 1 and longest <= (WIDTH - LEFT) / 2 else 1
    rows = -(-len(entries) // columns)
    width = (WIDTH - LEFT) / columns
    parts = list[Markup]()
    for index, (class_, shape, meaning) in enumerate(entries):
        x, y = LEFT + (index // rows) * width, top + 10 + (index % rows) * ROW
        parts += [
            svg.line(x - 8, y - 4, x + 8, y - 4, f"stroke {class_}"),
            mark(shape, x, y - 4, class_),
            svg.text(svg.fitted(meaning, width - 18), x + 14, y),
        ]
    return svg.joined(parts), rows * ROW + (6 if rows else 0)


def mark(shape: str, x: float, y: float, class_: str, tip: str = "", r: float = 4) -> Markup:
    """A mark at a point, with a text that a pointer over it shows."""
    title = (svg.element("title", tip),) if tip else ()
    named = f"mark {class_}" + " cross" * (shape == "cross")
    if shape == "circle":
        return svg.element("circle", *title, cx=x, cy=y, r=r, class_=named)
    d = svg.drawn((x + r * dx, y + r * dy) for dx, dy in CORNERS[shape]) + "Z"
    return svg.element("path", *title, d=d, class_=named)


# --- bars -----------------------------------------------------------------------------------------

#: px of a bar with its name above it
BAR_ROW, THICK = 40.0, 14.0


class Bar(NamedTuple):
    """A named amount, what is written beside it, and whether it stands out."""

    name: str
    value: float
    text: str
    strong: bool = False


def bars(rows: Sequence[Bar], *, title: str) -> Markup:
    """Amounts as bars from 0, if they are above it."""
    if not rows:
        return svg.nothing(title)
    room = WIDTH - 20 - max(len(row.text) for row in rows) * CHARACTER
    drawn = [row.value if 0 < row.value <= LARGEST else 0.0 for row in rows]
    most = max(drawn) or 1.0
    parts = list[Markup]()
    for index, (row, value) in enumerate(zip(rows, drawn, strict=True)):
        top, width = BAR_ROW * index, room * (value / most)
        class_ = "bar strong" if row.strong else "bar"
        parts += [
            svg.text(svg.fitted(row.name, WIDTH - 8), 4, top + 14),
            svg.element("rect", x=4, y=top + 20, width=width, height=THICK, rx=2, class_=class_),
            svg.text(row.text, 4 + width + 6, top + 31, class_="strong" if row.strong else None),
        ]
    return svg.picture(BAR_ROW * len(rows) + 2, title, *parts)


# --- curves ---------------------------------------------------------------------------------------

#: curves that are drawn grey, at most; of more, some from the first to the last
MOST_GREY = 250
#: marks on a curve, at most, and on that of the best loss
MOST_MARKS, MOST_STEPS = 14, 100


def learning_curves(
    named: Mapping[str, Points],
    others: Sequence[Points],
    levels: Levels,
    *,
    y_label: str,
) -> Markup:
    """Loss over epochs: up to five that are `named` in colour, the first on top; others in grey."""
    title = f"{y_label} over epochs of {len(named) + len(others)} trials"
    best = {name: known(points) for name, points in named.items()}
    grey = thinned([points for points in map(known, others) if points], MOST_GREY)
    drawn = [*itertools.chain(*best.values(), *grey)]
    xs, ys = [a for a, _ in drawn], [b for _, b in drawn]
    frame = Frame.of(xs, ys, levels, ("epoch", y_label))
    if frame is None:
        return svg.nothing(title)
    x, y = frame.x, frame.y
    if all(a == round(a) for a in xs):
        frame = replace(frame, x=replace(x, whole_ticks=True))
    behind = [
        svg.path(frame.corners(points), "stroke other")
        if len(points) > 1
        else mark("circle", *frame.corners(points)[0], "other", r=2)
        for points in grey
    ]
    coloured, entries = list[Markup](), list[Entry]()
    for index, (name, points) in enumerate(best.items()):
        class_, shape = f"s{index}", SHAPES[index]
        marks = [
            mark(shape, x(a), y(b), class_, f"{name}\nepoch {a:.4g}: {b:.4f}")
            for a, b in thinned(points, MOST_MARKS)
            if b <= y.high
        ]
        coloured.append(svg.joined([svg.path(frame.corners(points), f"stroke {class_}"), *marks]))
        entries.append((class_, shape, name))
    if grey:
        several = "s" if len(others) > 1 else ""
        entries.append(("other", "circle", f"{len(others)} other trial{several}"))
    return frame.picture(title, [frame.inside(*behind, *reversed(coloured))], entries)


def best_over_time(points: Points, levels: Levels, *, unit: str, y_label: str) -> Markup:
    """The best loss so far over time in a unit, as steps down; the last point is when it ended."""
    title = f"best {y_label} over time"
    finite = known(points)
    times, losses = [a for a, _ in finite], [b for _, b in finite]
    labels = unit, f"best {y_label}"
    frame = Frame.of([0.0, *times], losses, levels, labels, losses[-1:], whole=True)
    if frame is None or not finite:
        return svg.nothing(title)
    steps, falls = finite[:1], finite[:1]
    for (_, before), (a, b) in itertools.pairwise(finite):
        steps += [(a, before), (a, b)]
        falls += [(a, b)] if b < before else []
    marks = [
        mark("circle", frame.x(a), frame.y(b), "s0", f"{a:.3g} {unit}: {b:.4f}")
        for a, b in thinned(falls, MOST_STEPS)
        if b <= frame.y.high
    ]
    inside = frame.inside(svg.path(frame.corners(steps), "stroke s0"), *marks)
    return frame.picture(title, [inside], [])


# --- dots -----------------------------------------------------------------------------------------


class Dot(NamedTuple):
    """A point, and what a pointer over it shows. Without a finite loss it has no height."""

    x: float
    y: float | None
    tip: str = ""


class Band(NamedTuple):
    """Values of x with a meaning, such as what the size rule allows."""

    name: str
    low: float
    high: float


def scatter(
    groups: Mapping[str, Sequence[Dot]],
    levels: Levels,
    band: Band | None = None,
    *,
    x_label: str,
    y_label: str,
    joined: bool = False,
) -> Markup:
    """Losses over a positive quantity on a logarithmic scale, `joined` from left to right if so.

    Points far above the others, and those without a finite loss, are crosses at the upper edge.
    """
    title = f"{y_label} over {x_label}"
    placed = [[dot for dot in dots if 0 < dot.x <= LARGEST] for dots in groups.values()]
    points = [dot for dots in placed for dot in dots]
    finite = known([(dot.x, dot.y) for dot in points])
    edges = [band.low, band.high] if band else []
    xs = [*(dot.x for dot in points), *edges]
    frame = Frame.of(xs, [b for _, b in finite], levels, (x_label, y_label), log=True)
    if frame is None or not points:
        return svg.nothing(title)
    x, y = frame.x, frame.y
    shapes = [*zip((f"s{n}" for n in itertools.count()), itertools.cycle(SHAPES), groups)]
    entries = [entry for entry in shapes if groups[entry[2]]]
    if sum(b <= y.high for _, b in finite) < len(points):
        entries.append(("failed", "cross", "no result, or a loss above the frame"))
    behind = svg.NOTHING
    if band:
        entries.append(("band", "square", band.name))
        width = max(x(band.high) - x(band.low), 1)
        behind = svg.element(
            "rect", x=x(band.low), y=y.end, width=width, height=y.begin - y.end, class_="band"
        )
    parts = list[Markup]()
    for (class_, shape, _), dots in zip(shapes, placed, strict=True):
        marks, line = list[Markup](), list[tuple[float, float]]()
        for dot in sorted(dots, key=lambda one: one.x):
            if dot.y is not None and -LARGEST <= dot.y <= y.high:
                line.append((x(dot.x), y(dot.y)))
                marks.append(mark(shape, *line[-1], class_, dot.tip))
            else:
                marks.append(mark("cross", x(dot.x), y.end + 5, "failed", dot.tip))
        parts += [svg.path(line if joined else [], f"stroke {class_}"), *marks]
    return frame.picture(title, parts, entries, behind)
