"""The kinds of charts of a report: bars, curves, dots, and parallel axes."""

from __future__ import annotations

import itertools
import math
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

#: px of a bar with its name above it
BAR_ROW, THICK = 40.0, 14.0


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
        top = BAR_ROW * index
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
    height = BAR_ROW * len(rows) + 2
    if limit is not None and math.isfinite(limit) and 0 < limit <= most:
        x = 4 + room * limit / most
        parts.append(svg.line(x, 18, x, height, "level"))
    return svg.picture(Size(size.width, height), title, *parts)


#: curves that are drawn grey, at most; of more, some from the first to the last
MOST_GREY = 250
#: marks on a curve, at most, and on that of the best loss
MOST_MARKS, MOST_STEPS = 14, 100

T = TypeVar("T")
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Curve:
    """A named line through points; points without a finite loss are left out."""

    name: str
    points: Points

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points that have a finite loss."""
        return [
            (x, y)
            for x, y in self.points
            if y is not None and math.isfinite(y) and math.isfinite(x)
        ]


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
    best = named[: len(SHAPES)]
    grey = thinned([one for one in (*named[len(SHAPES) :], *others) if one.known], MOST_GREY)
    front = [y for one in best for _, y in one.known]
    back = [y for one in grey for _, y in one.known]
    x0, x1, y0, y1 = places(size)
    x = scale((x for one in (*best, *grey) for x, _ in one.known), x0, x1)
    y = scale(within([*front, *back], nearest(levels)), y0, y1)
    if x is None or y is None:
        return svg.nothing(size, title)
    whole = all(a == round(a) for one in (*best, *grey) for a, _ in one.known)
    y = with_room(y, levels)
    frame = Frame(size, replace(x, whole_ticks=whole), y, "epoch", y_label)
    parts = [
        svg.joined(
            svg.path(((x(a), _reach(frame, b)) for a, b in one.known), "stroke other")
            if len(one.known) > 1
            else mark("circle", x(one.known[0][0]), y(one.known[0][1]), "other", r=2)
            for one in grey
        )
    ]
    entries = list[Entry]()
    for index in reversed(range(len(best))):
        class_, shape = f"s{index}", SHAPES[index]
        parts.append(_series(frame, best[index], class_, shape))
        entries.insert(0, Entry(class_, shape, best[index].name))
    if grey:
        several = "s" if len(others) > 1 else ""
        entries.append(Entry("other", "circle", f"{len(others)} other trial{several}"))
    lines = [[(x(a), _reach(frame, b)) for a, b in one.known] for one in best]
    return _framed(frame, title, parts, entries, levels, lines)


def _series(frame: Frame, curve: Curve, class_: str, shape: str) -> Markup:
    known = curve.known
    line = svg.path(((frame.x(a), _reach(frame, b)) for a, b in known), f"stroke {class_}")
    seen = [(a, b) for a, b in thinned(known, MOST_MARKS) if b <= frame.y.high]
    marks = (
        mark(shape, frame.x(a), frame.y(b), class_, f"{curve.name}\nepoch {a:.4g}: {b:.4f}")
        for a, b in seen
    )
    return svg.joined([line, *marks])


def _reach(frame: Frame, value: float) -> float:
    """The place of a loss; of one above the frame, a place above it."""
    return frame.y(value) if value <= frame.y.high else frame.y.end - 20


def best_over_time(
    points: Points, levels: Sequence[Level] = (), *, unit: str, y_label: str, size: Size = WIDE
) -> Markup:
    """The best loss so far over time in a unit, as steps down; the last point is when it ended."""
    title = f"best {y_label} over time"
    known = Curve("", points).known
    x0, x1, y0, y1 = places(size)
    x = scale([0.0, *(a for a, _ in known)], x0, x1, whole=True)
    losses = [b for _, b in known]
    y = scale(within(losses, [*losses[-1:], *nearest(levels)]), y0, y1)
    if x is None or y is None or not known:
        return svg.nothing(size, title)
    y = with_room(y, levels)
    frame = Frame(size, x, y, unit, f"best {y_label}")
    corners = [known[0]]
    for (_, before), (a, b) in itertools.pairwise(known):
        corners += [(a, before), (a, b)]
    places_of = [(x(a), _reach(frame, b)) for a, b in corners]
    line = svg.path(places_of, "stroke s0")
    falls = [one for i, one in enumerate(known) if i == 0 or one[1] < known[i - 1][1]]
    falls = [(a, b) for a, b in thinned(falls, MOST_STEPS) if b <= y.high]
    marks = (mark("circle", x(a), y(b), "s0", f"{a:.3g} {unit}: {b:.4f}") for a, b in falls)
    return _framed(frame, title, [line, *marks], [], levels, [places_of])


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


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """`most` items at most, from the first to the last at even distances."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


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


Value = int | float | str
#: px of an axis with its name, and beside it
AXIS_ROW, AXIS_LEFT, AXIS_RIGHT = 52.0, 24.0, 24.0
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
    reach = scale(within([one.loss for one in ranked]), AXIS_LEFT, size.width - AXIS_RIGHT)
    if not axes or not ranked or reach is None:
        return svg.nothing(size, title)
    lines = list[Markup]()
    shown = thinned(list(enumerate(ranked)), MOST)
    for rank, point in reversed(shown):
        class_ = f"stroke q{CLASSES * rank // len(ranked)}" + " first" * (rank == 0)
        lines.append(_line(axes, point, reach, size.width, class_))
    rows = [_axis(axis.name, axis.ticks(AXIS_LEFT, size.width - AXIS_RIGHT), index, size.width)
            for index, axis in enumerate(axes)]  # fmt: skip
    ticks = [(short(tick), reach(tick)) for tick in reach.ticks(max(2, int(size.width / 80)))]
    rows.append(_axis(loss_label, ticks, len(axes), size.width))
    height = AXIS_ROW * (len(axes) + 1)
    entries = [Entry("q0 first", "circle", f"the best trial of the search, {ranked[0].name}")]
    if len(ranked) > 1:
        entries += [
            Entry("q0", "circle", "the best fifth of the trials"),
            Entry(f"q{CLASSES - 1}", "circle", "the worst fifth"),
        ]
    below, more = legend(entries, Size(size.width, height + 6))
    return svg.picture(Size(size.width, height + 6 + more), title, *lines, *rows, below)


def _line(axes: Sequence[Axis], point: Point, reach: Scale, width: float, class_: str) -> Markup:
    places = [
        axis.place(point.values.get(axis.name), AXIS_LEFT, width - AXIS_RIGHT) for axis in axes
    ]
    rows = enumerate([*places, reach(point.loss)])
    found = [(x, AXIS_ROW * index + 26) for index, x in rows if x is not None]
    title = svg.element("title", f"{point.name}: {point.loss:.4f}")
    return svg.element("path", title, d=svg.drawn(found), class_=class_)


def _axis(name: str, ticks: Sequence[tuple[str, float]], index: int, width: float) -> Markup:
    y = AXIS_ROW * index + 26
    parts = [
        svg.line(AXIS_LEFT, y, width - AXIS_RIGHT, y, "axis"),
        svg.text(svg.fitted(name, width / 2), 4, y - 10, class_="halo strong"),
    ]
    for word, x in ticks:
        parts += [
            svg.line(x, y - 3, x, y + 3, "axis"),
            svg.text(word, x, y + 16, anchor="middle", class_="halo"),
        ]
    return svg.joined(parts)
