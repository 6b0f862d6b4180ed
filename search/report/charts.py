"""The kinds of charts of a report: bars, curves, dots, and parallel axes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lstm_sweep.search.report import svg
from lstm_sweep.search.report.svg import (
    RIGHT,
    SHAPES,
    WIDE,
    Entry,
    Frame,
    Level,
    Line,
    Markup,
    Scale,
    Size,
    legend,
    mark,
    nearest,
    places,
    scale,
    short,
    tick_name,
    with_room,
    within,
)

T = TypeVar("T")
Points = Sequence[tuple[float, float | None]]


def known(points: Points) -> list[tuple[float, float]]:
    """The points that have a finite loss."""
    return [(x, y) for x, y in points if y is not None and math.isfinite(y) and math.isfinite(x)]


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """`most` items at most, from the first to the last at even distances."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# --- bars -----------------------------------------------------------------------------------------

#: px of a bar with its name above it
BAR_ROW, THICK = 40.0, 14.0


@dataclass(frozen=True)
class Bar:
    """A named amount from 0, what is written beside it, and whether it stands out."""

    name: str
    value: float
    text: str
    strong: bool = False

    @property
    def is_drawn(self) -> bool:
        """Amounts that are not finite, or not above 0, have no bar."""
        return math.isfinite(self.value) and self.value > 0


def bars(
    rows: Sequence[Bar], *, title: str, limit: float | None = None, size: Size = WIDE
) -> Markup:
    """Amounts as bars from 0; `limit` is a line that none can come below."""
    if not rows:
        return svg.nothing(size, title)
    room = size.width - 20 - max(len(row.text) for row in rows) * svg.CHARACTER
    most = max((row.value for row in rows if row.is_drawn), default=1.0)
    parts = list[Markup]()
    for index, row in enumerate(rows):
        top = BAR_ROW * index
        width = room * row.value / most if row.is_drawn else 0.0
        parts += [
            svg.text(svg.fitted(row.name, size.width - 8), 4, top + 14),
            svg.element(
                "rect", x=4, y=top + 20, width=width, height=THICK, rx=2,
                class_="bar strong" if row.strong else "bar",
            ),
            svg.text(row.text, 4 + width + 6, top + 31, class_="strong" if row.strong else None),
        ]  # fmt: skip
    height = BAR_ROW * len(rows) + 2
    if limit is not None and 0 < limit <= most:
        x = 4 + room * limit / most
        parts.append(svg.line(x, 18, x, height, "level"))
    return svg.picture(Size(size.width, height), title, *parts)


# --- curves ---------------------------------------------------------------------------------------

#: curves that are drawn grey, at most; of more, some from the first to the last
MOST_GREY = 250
#: marks on a curve, at most, and on that of the best loss
MOST_MARKS, MOST_STEPS = 14, 100


@dataclass(frozen=True)
class Curve:
    """A named line through points; points without a finite loss are left out."""

    name: str
    points: Points


def learning_curves(
    named: Sequence[Curve],
    others: Sequence[Curve] = (),
    levels: Sequence[Level] = (),
    *,
    y_label: str,
    size: Size = WIDE,
) -> Markup:
    """Loss over epochs: five of the `named` curves in colour, the first on top; others in grey."""
    title = f"{y_label} over epochs of {len(named) + len(others)} trials"
    best = [(one.name, known(one.points)) for one in named[: len(SHAPES)]]
    rest = (known(one.points) for one in (*named[len(SHAPES) :], *others))
    grey = thinned([points for points in rest if points], MOST_GREY)
    drawn = [point for points in (*(points for _, points in best), *grey) for point in points]
    x0, x1, y0, y1 = places(size)
    x = scale((a for a, _ in drawn), x0, x1)
    y = scale(within([b for _, b in drawn], nearest(levels)), y0, y1)
    if x is None or y is None:
        return svg.nothing(size, title)
    whole = all(a == round(a) for a, _ in drawn)
    x, y = replace(x, whole_ticks=whole), with_room(y, levels)
    frame = Frame(size, x, y, "epoch", y_label)
    behind = [
        svg.path(_corners(frame, points), "stroke other")
        if len(points) > 1
        else mark("circle", x(points[0][0]), y(points[0][1]), "other", r=2)
        for points in grey
    ]
    coloured, entries = list[Markup](), list[Entry]()
    for index, (name, points) in enumerate(best):
        class_, shape = f"s{index}", SHAPES[index]
        marks = [
            mark(shape, x(a), y(b), class_, f"{name}\nepoch {a:.4g}: {b:.4f}")
            for a, b in thinned(points, MOST_MARKS)
            if b <= y.high
        ]
        coloured.append(svg.joined([svg.path(_corners(frame, points), f"stroke {class_}"), *marks]))
        entries.append(Entry(class_, shape, name))
    if grey:
        several = "s" if len(others) > 1 else ""
        entries.append(Entry("other", "circle", f"{len(others)} other trial{several}"))
    lines = [_corners(frame, points) for _, points in best]
    return _framed(frame, title, [*behind, *reversed(coloured)], entries, levels, lines)


def _corners(frame: Frame, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The places of points; of a loss above the frame, a place above it."""
    above = frame.y.end - 20
    return [(frame.x(a), frame.y(b) if b <= frame.y.high else above) for a, b in points]


def best_over_time(
    points: Points, levels: Sequence[Level] = (), *, unit: str, y_label: str, size: Size = WIDE
) -> Markup:
    """The best loss so far over time in a unit, as steps down; the last point is when it ended."""
    title = f"best {y_label} over time"
    finite = known(points)
    x0, x1, y0, y1 = places(size)
    x = scale([0.0, *(a for a, _ in finite)], x0, x1, whole=True)
    losses = [b for _, b in finite]
    y = scale(within(losses, [*losses[-1:], *nearest(levels)]), y0, y1)
    if x is None or y is None or not finite:
        return svg.nothing(size, title)
    y = with_room(y, levels)
    frame = Frame(size, x, y, unit, f"best {y_label}")
    steps, falls = finite[:1], finite[:1]
    for (_, before), (a, b) in itertools.pairwise(finite):
        steps += [(a, before), (a, b)]
        falls += [(a, b)] if b < before else []
    marks = [
        mark("circle", x(a), y(b), "s0", f"{a:.3g} {unit}: {b:.4f}")
        for a, b in thinned(falls, MOST_STEPS)
        if b <= y.high
    ]
    line = _corners(frame, steps)
    return _framed(frame, title, [svg.path(line, "stroke s0"), *marks], [], levels, [line])


def _framed(
    frame: Frame,
    title: str,
    parts: Sequence[Markup],
    entries: Sequence[Entry],
    levels: Sequence[Level],
    lines: Sequence[Line],
) -> Markup:
    """A drawing of parts within a frame, with its legend below; names hide little of `lines`."""
    below, height = legend(entries, frame.size)
    whole = Size(frame.size.width, frame.size.height + height)
    behind, names = frame.levels(levels, lines)
    return svg.picture(whole, title, frame.axes(), behind, frame.inside(*parts), names, below)


# --- dots -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dot:
    """A point, and what a pointer over it shows. Without a finite loss it has no height."""

    x: float
    y: float | None
    tip: str = ""


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
    placed = [
        replace(group, dots=[dot for dot in group.dots if math.isfinite(dot.x) and dot.x > 0])
        for group in groups
    ]
    points = [(dot.x, dot.y) for group in placed for dot in group.dots]
    x0, x1, y0, y1 = places(size)
    edges = [band.low, band.high] if band else []
    x = scale([*(a for a, _ in points), *edges], x0, x1, log=True)
    y = scale(within([b for _, b in known(points)], nearest(levels)), y0, y1)
    if x is None or y is None or not points:
        return svg.nothing(size, title)
    frame = Frame(size, x, y, x_label, y_label)
    seen = [(a, b) for a, b in known(points) if b <= y.high]
    entries = [
        Entry(f"s{index}", SHAPES[index % len(SHAPES)], group.name)
        for index, group in enumerate(groups)
        if group.dots
    ]
    if len(seen) < len(points):
        entries.append(Entry("failed", "cross", "no result, or a loss above the frame"))
    behind = Markup("")
    if band:
        entries.append(Entry("band", "square", band.name))
        width = max(x(band.high) - x(band.low), 1)
        behind = svg.element(
            "rect", x=x(band.low), y=y.end, width=width, height=y.begin - y.end, class_="band"
        )
    below, height = legend(entries, size)
    whole = Size(size.width, size.height + height)
    lines, names = frame.levels(levels, [[(x(a), y(b))] for a, b in seen])
    marks = [_group(frame, group, index) for index, group in enumerate(placed)]
    return svg.picture(whole, title, behind, frame.axes(), lines, *marks, names, below)


def _group(frame: Frame, group: Dots, index: int) -> Markup:
    x, y, class_ = frame.x, frame.y, f"s{index}"
    parts, line = list[Markup](), list[tuple[float, float]]()
    for dot in sorted(group.dots, key=lambda one: one.x):
        if dot.y is not None and math.isfinite(dot.y) and dot.y <= y.high:
            line.append((x(dot.x), y(dot.y)))
            parts.append(mark(SHAPES[index % len(SHAPES)], *line[-1], class_, dot.tip))
        else:
            parts.append(mark("cross", x(dot.x), y.end + 5, "failed", dot.tip))
    return svg.joined([svg.path(line if group.joined else [], f"stroke {class_}"), *parts])


@dataclass(frozen=True)
class Seeds:
    """A config that was trained with several seeds: losses of its first run and of further ones."""

    name: str
    first: float | None
    further: Sequence[float]
    #: what is written at the right end
    note: str = ""

    @property
    def known(self) -> list[float]:
        """The finite losses of further runs."""
        return [one for one in self.further if math.isfinite(one)]

    @property
    def bar(self) -> tuple[float, ...]:
        """Mean of the further seeds, and one standard deviation below and above it; or nothing."""
        if not self.known:
            return ()
        mean = statistics.fmean(self.known)
        spread = statistics.stdev(self.known) if len(self.known) > 1 else 0.0
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
    width = size.width - RIGHT - 16 - svg.CHARACTER * len(row.note)
    parts = [
        svg.text(svg.fitted(row.name, width), 16, top + 18, class_="halo"),
        svg.text(row.note, size.width - RIGHT, top + 18, anchor="end", class_="faint halo"),
    ]
    if row.bar:
        mean, low, high = map(x, row.bar)
        width = max(high - low, 1)
        parts += [
            svg.element("rect", x=low, y=middle - 6, width=width, height=12, class_="spread"),
            svg.line(mean, middle - 9, mean, middle + 9, "mean"),
        ]
    parts += [mark("circle", x(one), middle, "s0", f"{one:.4f}") for one in row.known]
    if row.first is not None and math.isfinite(row.first):
        parts.append(mark("diamond", x(row.first), middle, "hollow", f"first: {row.first:.4f}"))
    return parts


# --- parallel axes --------------------------------------------------------------------------------

Value = int | float | str
#: px of an axis with its name, and beside it
AXIS_ROW, AXIS_SIDE = 52.0, 24.0
#: trials that are drawn, at most
MOST = 250
#: words that are written at an axis, at most
MOST_WORDS = 12
#: classes of colour, from the best trials to the worst
CLASSES = 5


@dataclass(frozen=True)
class Axis:
    """A hyperparameter: a range of numbers, or words in an order."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    words: tuple[str, ...] = ()
    #: whether its numbers are whole
    is_whole: bool = False
    #: the numbers that are written at it; none: round ones
    marks: tuple[float, ...] = ()

    def place(self, value: Value | None, x0: float, x1: float) -> float | None:
        """Where a value stands; None for one that is not on the axis."""
        if self.words:
            if str(value) not in self.words:
                return None
            share = (self.words.index(str(value)) + 0.5) / len(self.words)
            return x0 + share * (x1 - x0)
        found = self._scale(x0, x1)
        if isinstance(value, str) or value is None or not math.isfinite(value) or not found:
            return None
        return None if self.log and value <= 0 else found(float(value))

    def ticks(self, x0: float, x1: float) -> list[tuple[str, float]]:
        """What is written at the axis, and where."""
        if self.words:
            each, every = (x1 - x0) / len(self.words), 1 + len(self.words) // MOST_WORDS
            named = list(enumerate(self.words))[::every]
            room = each * every - 4
            return [(svg.fitted(word, room), x0 + (i + 0.5) * each) for i, word in named]
        found = self._scale(x0, x1)
        if found is None:
            return []
        ticks = self.marks or found.ticks(max(2, int((x1 - x0) / 80)))
        places = [(short(tick), found(tick)) for tick in ticks]
        return [one for i, one in enumerate(places) if i == 0 or one[1] - places[i - 1][1] > 24]

    def _scale(self, x0: float, x1: float) -> Scale | None:
        found = scale([self.low, self.high], x0, x1, log=self.log, whole=self.low < self.high)
        return found and replace(found, whole_ticks=self.is_whole)


@dataclass(frozen=True)
class Point:
    """A trial: its values by the names of the axes, and its loss."""

    name: str
    values: Mapping[str, Value]
    loss: float


def parallel(
    axes: Sequence[Axis], points: Sequence[Point], *, loss_label: str, size: Size = WIDE
) -> Markup:
    """A line for each trial through its values: the lower its loss, the stronger, and on top."""
    title = f"hyperparameters and {loss_label} of {len(points)} trials"
    ranked = sorted((one for one in points if math.isfinite(one.loss)), key=lambda p: p.loss)
    begin, end = AXIS_SIDE, size.width - AXIS_SIDE
    reach = scale(within([one.loss for one in ranked]), begin, end)
    if not axes or not ranked or reach is None:
        return svg.nothing(size, title)
    parts = list[Markup]()
    for rank, point in reversed(thinned(list(enumerate(ranked)), MOST)):
        values = [axis.place(point.values.get(axis.name), begin, end) for axis in axes]
        rows = enumerate([*values, reach(point.loss)])
        corners = [(x, AXIS_ROW * index + 26) for index, x in rows if x is not None]
        tip = svg.element("title", f"{point.name}: {point.loss:.4f}")
        class_ = f"stroke q{CLASSES * rank // len(ranked)}" + " first" * (rank == 0)
        parts.append(svg.element("path", tip, d=svg.drawn(corners), class_=class_))
    losses = [(short(tick), reach(tick)) for tick in reach.ticks(max(2, int(size.width / 80)))]
    named = [*((axis.name, axis.ticks(begin, end)) for axis in axes), (loss_label, losses)]
    for index, (name, ticks) in enumerate(named):
        parts.append(_axis(name, ticks, AXIS_ROW * index + 26, size.width))
    height = AXIS_ROW * len(named) + 6
    entries = [Entry("q0 first", "circle", f"the best trial of the search, {ranked[0].name}")]
    if len(ranked) > 1:
        entries += [
            Entry("q0", "circle", "the best fifth of the trials"),
            Entry(f"q{CLASSES - 1}", "circle", "the worst fifth"),
        ]
    below, more = legend(entries, Size(size.width, height))
    return svg.picture(Size(size.width, height + more), title, *parts, below)


def _axis(name: str, ticks: Sequence[tuple[str, float]], y: float, width: float) -> Markup:
    parts = [
        svg.line(AXIS_SIDE, y, width - AXIS_SIDE, y, "axis"),
        svg.text(svg.fitted(name, width / 2), 4, y - 10, class_="halo strong"),
    ]
    for word, x in ticks:
        parts += [
            svg.line(x, y - 3, x, y + 3, "axis"),
            svg.text(word, x, y + 16, anchor="middle", class_="halo"),
        ]
    return svg.joined(parts)
