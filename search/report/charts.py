"""The kinds of charts of a report: bars, curves, dots, and parallel axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from lstm_sweep.search.report import svg
from lstm_sweep.search.report.svg import (
    RIGHT,
    SHAPES,
    WIDE,
    Entry,
    Frame,
    Levels,
    Markup,
    Place,
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
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import Trial

T = TypeVar("T")
#: places on x, and losses; a point without a finite one is left out
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


class Bar(NamedTuple):
    """A named amount, what is written beside it, and whether it stands out."""

    name: str
    value: float
    text: str
    strong: bool = False


def bars(
    rows: Sequence[Bar], *, title: str, limit: float | None = None, size: Size = WIDE
) -> Markup:
    """Amounts as bars from 0, if they are above it; `limit` is a line that none can come below."""
    if not rows:
        return svg.nothing(size, title)
    room = size.width - 20 - max(len(row.text) for row in rows) * svg.CHARACTER
    drawn = [row.value if math.isfinite(row.value) and row.value > 0 else 0.0 for row in rows]
    most = max(drawn) or 1.0
    parts = list[Markup]()
    for index, (row, value) in enumerate(zip(rows, drawn, strict=True)):
        top, width = BAR_ROW * index, room * (value / most)
        class_ = "bar strong" if row.strong else "bar"
        parts += [
            svg.text(svg.fitted(row.name, size.width - 8), 4, top + 14),
            svg.element("rect", x=4, y=top + 20, width=width, height=THICK, rx=2, class_=class_),
            svg.text(row.text, 4 + width + 6, top + 31, class_="strong" if row.strong else None),
        ]
    height = BAR_ROW * len(rows) + 2
    if limit is not None and 0 < limit <= most:
        x = 4 + room * (limit / most)
        parts.append(svg.line(x, 18, x, height, "level"))
    return svg.picture(Size(size.width, height), title, *parts)


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
    size: Size = WIDE,
) -> Markup:
    """Loss over epochs: up to five that are `named` in colour, the first on top; others in grey."""
    title = f"{y_label} over epochs of {len(named) + len(others)} trials"
    best = {name: known(points) for name, points in named.items()}
    grey = thinned([points for points in map(known, others) if points], MOST_GREY)
    drawn = [*itertools.chain(*best.values(), *grey)]
    x0, x1, y0, y1 = places(size)
    x = scale((a for a, _ in drawn), x0, x1)
    y = scale(within([b for _, b in drawn], nearest(levels)), y0, y1)
    if x is None or y is None:
        return svg.nothing(size, title)
    whole = all(a == round(a) for a, _ in drawn)
    frame = Frame(size, replace(x, whole_ticks=whole), with_room(y, levels), "epoch", y_label)
    x, y = frame.x, frame.y
    behind = [
        svg.path(_corners(frame, points), "stroke other")
        if len(points) > 1
        else mark("circle", x(points[0][0]), y(points[0][1]), "other", r=2)
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
        coloured.append(svg.joined([svg.path(_corners(frame, points), f"stroke {class_}"), *marks]))
        entries.append((class_, shape, name))
    if grey:
        several = "s" if len(others) > 1 else ""
        entries.append(("other", "circle", f"{len(others)} other trial{several}"))
    parts = frame.inside(*behind, *reversed(coloured))
    corners = [place for points in best.values() for place in _corners(frame, points)]
    return _framed(frame, title, [parts], entries, levels, corners)


def _corners(frame: Frame, points: Sequence[tuple[float, float]]) -> list[Place]:
    """The places of points; of a loss above the frame, a place above it."""
    above = frame.y.end - 20
    return [(frame.x(a), frame.y(b) if b <= frame.y.high else above) for a, b in points]


def best_over_time(
    points: Points, levels: Levels, *, unit: str, y_label: str, size: Size = WIDE
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
    corners = _corners(frame, steps)
    parts = frame.inside(svg.path(corners, "stroke s0"), *marks)
    return _framed(frame, title, [parts], [], levels, corners)


def _framed(
    frame: Frame,
    title: str,
    parts: Sequence[Markup],
    entries: Sequence[Entry],
    levels: Levels,
    places: Sequence[Place],
    behind: Markup = svg.NOTHING,
) -> Markup:
    """A drawing of parts within a frame, with its legend below; names hide few of the places."""
    below, height = legend(entries, frame.size)
    whole = Size(frame.size.width, frame.size.height + height)
    drawn, names = frame.levels(levels, places)
    return svg.picture(whole, title, behind, frame.axes(), drawn, *parts, names, below)


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
    size: Size = WIDE,
) -> Markup:
    """Losses over a positive quantity on a logarithmic scale, `joined` from left to right if so.

    Points far above the others, and those without a finite loss, are crosses at the upper edge.
    """
    title = f"{y_label} over {x_label}"
    placed = [[dot for dot in dots if 0 < dot.x < math.inf] for dots in groups.values()]
    points = [dot for dots in placed for dot in dots]
    finite = known([(dot.x, dot.y) for dot in points])
    x0, x1, y0, y1 = places(size)
    edges = [band.low, band.high] if band else []
    x = scale([*(dot.x for dot in points), *edges], x0, x1, log=True)
    y = scale(within([b for _, b in finite], nearest(levels)), y0, y1)
    if x is None or y is None or not points:
        return svg.nothing(size, title)
    frame = Frame(size, x, y, x_label, y_label)
    seen = [(x(a), y(b)) for a, b in finite if b <= y.high]
    shapes = [*zip((f"s{n}" for n in itertools.count()), itertools.cycle(SHAPES), groups)]
    entries = [entry for entry in shapes if groups[entry[2]]]
    if len(seen) < len(points):
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
            if dot.y is not None and math.isfinite(dot.y) and dot.y <= y.high:
                line.append((x(dot.x), y(dot.y)))
                marks.append(mark(shape, *line[-1], class_, dot.tip))
            else:
                marks.append(mark("cross", x(dot.x), y.end + 5, "failed", dot.tip))
        parts += [svg.path(line if joined else [], f"stroke {class_}"), *marks]
    return _framed(frame, title, parts, entries, levels, seen, behind)


#: px of a row of `seeds`
SEEDS_ROW = 46.0


def seeds(rows: Sequence[tuple[Confirmed, str]], *, x_label: str, size: Size = WIDE) -> Markup:
    """Losses of configs over seeds: a row each, with mean and standard deviation as a bar.

    Beside a config is what is written at the right end.
    """
    title = f"{x_label} over seeds"
    spans = [_span(one) for one, _ in rows]
    further = (
        loss
        for (one, _), span in zip(rows, spans, strict=True)
        for loss in (*one.losses, *span, one.first_loss)
    )
    x = scale(within([*further], spans[0] if spans else ()), 16, size.width - RIGHT)
    if x is None:
        return svg.nothing(size, title)
    bottom = SEEDS_ROW * len(rows) + 6
    parts = list[Markup]()
    for tick in x.ticks(max(2, int(size.width / 90))):
        parts.append(svg.line(x(tick), 6, x(tick), bottom, "grid"))
        parts.append(tick_name(tick, x(tick), bottom + 15, size.width))
    for index, (one, note) in enumerate(rows):
        parts += _seeds_row(one, note, x, SEEDS_ROW * index, size)
    parts.append(svg.text(x_label, size.width / 2, bottom + 33, anchor="middle", class_="label"))
    entries = [
        ("s0", "circle", "further seeds; bar: mean and deviation"),
        ("hollow", "diamond", "first run, by which it was chosen"),
    ]
    below, height = legend(entries, Size(size.width, bottom + 40))
    return svg.picture(Size(size.width, bottom + 40 + height), title, *parts, below)


def _span(one: Confirmed) -> tuple[float, ...]:
    """Mean of the further seeds, and one standard deviation below and above it; or nothing."""
    mean = one.mean
    return () if mean is None else (mean, mean - one.spread, mean + one.spread)


def _seeds_row(one: Confirmed, note: str, x: Scale, top: float, size: Size) -> list[Markup]:
    middle = top + 33
    width = size.width - RIGHT - 16 - svg.CHARACTER * len(note)
    parts = [
        svg.text(svg.fitted(one.trial, width), 16, top + 18, class_="halo"),
        svg.text(note, size.width - RIGHT, top + 18, anchor="end", class_="faint halo"),
    ]
    if span := _span(one):
        mean, low, high = map(x, span)
        width = max(high - low, 1)
        parts += [
            svg.element("rect", x=low, y=middle - 6, width=width, height=12, class_="spread"),
            svg.line(mean, middle - 9, mean, middle + 9, "mean"),
        ]
    parts += [mark("circle", x(loss), middle, "s0", f"{loss:.4f}") for loss in one.losses]
    first = mark("diamond", x(one.first_loss), middle, "hollow", f"first: {one.first_loss:.4f}")
    return [*parts, first]


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


def parallel(
    axes: Sequence[Axis], ranked: Sequence[Trial], *, loss_label: str, size: Size = WIDE
) -> Markup:
    """A line for each trial, of which the best comes first, through its values.

    The lower its loss, the stronger the line, and on top.
    """
    title = f"hyperparameters and {loss_label} of {len(ranked)} trials"
    losses = [one.best_loss or 0.0 for one in ranked]
    begin, end = AXIS_SIDE, size.width - AXIS_SIDE
    reach = scale(within(losses), begin, end)
    if reach is None:
        return svg.nothing(size, title)
    parts = list[Markup]()
    for rank in reversed(thinned(range(len(ranked)), MOST)):
        one, loss = ranked[rank], losses[rank]
        values = [axis.place(one.hyperparameters.get(axis.name), begin, end) for axis in axes]
        rows = enumerate([*values, reach(loss)])
        corners = [(x, AXIS_ROW * index + 26) for index, x in rows if x is not None]
        class_ = f"stroke q{CLASSES * rank // len(ranked)}" + " first" * (rank == 0)
        parts.append(svg.path(corners, class_, f"{one.id}: {loss:.4f}"))
    ticks = [(short(tick), reach(tick)) for tick in reach.ticks(max(2, int(size.width / 80)))]
    named = [*((axis.name, axis.ticks(begin, end)) for axis in axes), (loss_label, ticks)]
    for index, (name, ticks) in enumerate(named):
        parts += _axis(name, ticks, AXIS_ROW * index + 26, size.width)
    height = AXIS_ROW * len(named) + 6
    entries = [("q0 first", "circle", f"the best trial of the search, {ranked[0].id}")]
    if len(ranked) > 1:
        entries.append(("q0", "circle", "the best fifth of the trials"))
        entries.append((f"q{CLASSES - 1}", "circle", "the worst fifth"))
    below, more = legend(entries, Size(size.width, height))
    return svg.picture(Size(size.width, height + more), title, *parts, below)


def _axis(name: str, ticks: Sequence[tuple[str, float]], y: float, width: float) -> list[Markup]:
    parts = [
        svg.line(AXIS_SIDE, y, width - AXIS_SIDE, y, "axis"),
        svg.text(svg.fitted(name, width / 2), 4, y - 10, class_="halo strong"),
    ]
    for word, x in ticks:
        parts.append(svg.line(x, y - 3, x, y + 3, "axis"))
        parts.append(svg.text(word, x, y + 16, anchor="middle", class_="halo"))
    return parts
