"""The drawings of a report, as SVG: bars, curves, dots and a matrix of counts."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from markupsafe import Markup, escape

T = TypeVar("T")
#: places on x, and losses; a point without a finite one is left out
Points = Sequence[tuple[float, float | None]]
#: horizontal lines by their names, such as the losses of baselines
Levels = Mapping[str, float]
#: a line of a legend: the class of its series, the shape of its mark, and what it means
Entry = tuple[str, str, str]

#: numbers beyond it have no place, and those nearer to 0 than its inverse no logarithm
LARGEST = 1e100
#: px of a drawing with axes, and of what is around the place for its points
WIDTH, HEIGHT = 680.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 70.0, 24.0, 16.0, 40.0
#: px of a character on average, and of a line of text
CHARACTER, ROW = 6.4, 17.0
#: ticks of an axis at most, and steps between two of them, times a power of ten
TICKS, STEPS = 8, (1, 2, 5, 10)
#: share of its length that a scale has to spare at both ends
SPARE = 0.04
#: marks that tell series apart without colour, and the corners of those that have some
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "cross": [(-1, -1), (1, 1), (0, 0), (-1, 1), (1, -1), (0, 0)],
}
#: characters that XML 1.0 does not allow, not even escaped
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NOTHING = Markup("")


# --- elements -------------------------------------------------------------------------------------


def escaped(text: str) -> Markup:
    return escape(NOT_XML.sub("\ufffd", text))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element; attributes that are None are left out, children but `Markup` are escaped.

    `class_` is the attribute `class`, and each other `_` in a name is a `-`.
    """
    written = "".join(
        f' {name.strip("_").replace("_", "-")}="'
        f'{escaped(value) if isinstance(value, str) else number(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(one if isinstance(one, Markup) else escaped(one) for one in children)
    return Markup(f"<{tag}{written}>{inside}</{tag}>")


def drawing(height: float, title: str, *children: Markup) -> Markup:
    """An `<svg>` that scales with its place; `title` is what a screen reader says of it."""
    return element(
        "svg", *children, xmlns="http://www.w3.org/2000/svg", width=WIDTH, height=height,
        viewBox=f"0 0 {number(WIDTH)} {number(height)}", role="img", aria_label=title,
        class_="drawing",
    )  # fmt: skip


def nothing(title: str) -> Markup:
    """A drawing for which there are no numbers yet."""
    return drawing(60, title, text("nothing to show yet", WIDTH / 2, 30, "middle", class_="faint"))


def text(content: str, x: float, y: float, anchor: str | None = None, **more: str | None) -> Markup:
    """A text that begins, ends (`end`) or has its middle (`middle`) at a point of its base line."""
    return element("text", content, x=x, y=y, text_anchor=anchor, **more)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points; empty without any."""
    return element("path", d=through(points), class_=class_) if points else NOTHING


def through(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def mark(shape: str, x: float, y: float, class_: str, tip: str = "") -> Markup:
    """A mark at a point, with a text that a pointer over it shows."""
    title = (element("title", tip),) if tip else ()
    named, r = f"mark {class_}" + " cross" * (shape == "cross"), 4.0
    if shape == "circle":
        return element("circle", *title, cx=x, cy=y, r=r, class_=named)
    d = through((x + r * dx, y + r * dy) for dx, dy in CORNERS[shape]) + "Z"
    return element("path", *title, d=d, class_=named)


def fitted(content: str, width: float) -> str:
    """A text cut to what fits into a width in px."""
    most = max(1, int(width / CHARACTER))
    return content if len(content) <= most else content[: most - 1] + "\u2026"


def number(value: float) -> str:
    """A coordinate to a tenth of a px."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}: expected a finite number")
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0", value == 0)


def short(value: float) -> str:
    """A number for an axis or a label: `0.001`, `1e-5`, `25k`, `1.5M`."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e12:
            return f"{value / unit:.4g}{letter}"
    return re.sub(r"e([-+])0*", lambda sign: f"e{sign[1].strip('+')}", f"{value:.6g}")


# --- scales and frames ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Places in px from `begin` to `end` for values from `low` to `high`."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; of one outside, the nearer end."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round values within the scale, at least 2 where that can be."""
        low, high = self.low, self.high
        if self.log:
            found = list[float]()
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for digits in ((1, 2, 5), (1, 3), (1,)):
                found = [digit * 10.0**power for power in powers for digit in digits]
                found = [one for one in found if low * 0.999 <= one <= high * 1.001]
                if len(found) <= TICKS:
                    break
            if len(found) > 1:
                return found[:: math.ceil(len(found) / TICKS)]
        span = (high - low) / TICKS
        power = 10.0 ** math.floor(math.log10(span))
        step = next(one * power for one in STEPS if one * power >= span * (1 - 1e-9))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def scale(values: Iterable[float], begin: float, end: float, log: bool = False) -> Scale | None:
    """A scale that all values fit into that have a place; None if there are none."""
    known = [v for v in values if abs(v) <= LARGEST and (not log or v >= 1 / LARGEST)]
    if not known:
        return None
    low, high = min(known), max(known)
    if log:
        spare = (high / low) ** SPARE if high >= 1.001 * low else 2.0
        return Scale(low / spare, high * spare, begin, end, log)
    spare, largest = SPARE * (high - low), max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, 1 / LARGEST):
        spare = largest * 0.05 if largest > 1 / LARGEST else 0.5
    return Scale(low - spare, high + spare, begin, end)


def within(values: Iterable[float], always: Iterable[float]) -> list[float]:
    """Values that decide how far a scale reaches: without those far above the others.

    A single trial whose loss is a thousand times that of the others would leave nothing to see of
    them. Far above is 3 times the distance of the quartiles above the third one. `always` are
    values that are kept.
    """
    known, kept = sorted(values), [one for one in always if math.isfinite(one)]
    if len(known) < 4:
        return known + kept
    first, _, third = statistics.quantiles(known, n=4, method="inclusive")
    most = max([third + 3 * (third - first), *kept])
    return [one for one in known if one <= most] + kept


def known(points: Points) -> list[tuple[float, float]]:
    """The points that have a place."""
    return [(x, y) for x, y in points if y is not None and abs(y) <= LARGEST and abs(x) <= LARGEST]


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """`most` items at most, from the first to the last at even distances."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


@dataclass(frozen=True)
class Frame:
    """The place for the points of a drawing, with levels across it."""

    x: Scale
    y: Scale
    labels: tuple[str, str]
    levels: Levels

    @classmethod
    def of(
        cls,
        xs: Iterable[float],
        ys: Iterable[float],
        levels: Levels,
        labels: tuple[str, str],
        kept: Sequence[float] = (),
        log: bool = False,
    ) -> Frame | None:
        """A frame that the values have a place in, but for heights far above the others.

        It shows what is `kept` and the two lowest levels: a high one would leave the rest flat.
        None if no value has a place.
        """
        x = scale(xs, LEFT, WIDTH - RIGHT, log)
        y = scale(within(ys, [*sorted(levels.values())[:2], *kept]), HEIGHT - BOTTOM, TOP)
        return cls(x, y, labels, levels) if x and y else None

    def places(self, points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Where points are; a line to a loss above the frame ends at its upper edge."""
        return [(self.x(a), self.y(b)) for a, b in points]

    def picture(self, title: str, parts: Iterable[Markup], entries: Sequence[Entry] = ()) -> Markup:
        """The parts between axes and levels, and a legend below."""
        below = list[Markup]()
        for index, (class_, shape, meaning) in enumerate(entries):
            y = HEIGHT + 6 + ROW * index
            below += [
                line(LEFT - 8, y, LEFT + 8, y, f"stroke {class_}"),
                mark(shape, LEFT, y, class_),
                text(fitted(meaning, WIDTH - LEFT - 18), LEFT + 14, y + 4),
            ]
        height = HEIGHT + ROW * len(entries) + 6 * bool(entries)
        return drawing(height, title, *self._axes(), *parts, *self._levels(), *below)

    def _axes(self) -> Iterable[Markup]:
        left, right, bottom, top = self.x.begin, self.x.end, self.y.begin, self.y.end
        yield line(left, bottom, right, bottom, "axis")
        for tick in self.x.ticks():
            yield line(self.x(tick), bottom, self.x(tick), top, "grid")
            yield text(short(tick), self.x(tick), bottom + 15, "middle")
        for tick in self.y.ticks():
            yield line(left, self.y(tick), right, self.y(tick), "grid")
            yield text(short(tick), left - 6, self.y(tick) + 4, "end")
        yield text(self.labels[0], (left + right) / 2, bottom + 33, "middle", class_="label")
        middle = (top + bottom) / 2
        turned = f"rotate(-90 12 {number(middle)})"
        yield text(self.labels[1], 12, middle, "middle", class_="label", transform=turned)

    def _levels(self) -> Iterable[Markup]:
        """Horizontal lines with their names, which neighbours have at different places."""
        levels = [one for one in self.levels.items() if self.y.low <= one[1] <= self.y.high]
        left, right = self.x.begin, self.x.end
        spots = (right - 2, "end"), (left + 14, None), ((left + right) / 2, "middle")
        for index, (level, value) in enumerate(sorted(levels, key=lambda one: one[1])):
            y, (x, anchor) = self.y(value), spots[index % len(spots)]
            yield line(left, y, right, y, "level")
            yield text(f"{level} {value:.3f}", x, y - 4, anchor, class_="halo")


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
        return nothing(title)
    room = WIDTH - 20 - max(len(row.text) for row in rows) * CHARACTER
    drawn = [row.value if 0 < row.value <= LARGEST else 0.0 for row in rows]
    most = max(drawn) or 1.0
    parts = list[Markup]()
    for index, (row, value) in enumerate(zip(rows, drawn, strict=True)):
        top, width = BAR_ROW * index, room * (value / most)
        strong = "strong" if row.strong else ""
        parts += [
            text(fitted(row.name, WIDTH - 8), 4, top + 14),
            element(
                "rect", x=4, y=top + 20, width=width, height=THICK, rx=2, class_=f"bar {strong}"
            ),
            text(row.text, 4 + width + 6, top + 31, class_=strong),
        ]
    return drawing(BAR_ROW * len(rows) + 2, title, *parts)


# --- curves ---------------------------------------------------------------------------------------

#: curves that are drawn grey, at most; of more, some from the first to the last
MOST_GREY = 250
#: marks on a curve, at most, and on that of the best loss
MOST_MARKS, MOST_STEPS = 14, 100


def learning_curves(
    named: Mapping[str, Points], others: Sequence[Points], levels: Levels, *, y_label: str
) -> Markup:
    """Loss over epochs: up to five that are `named` in colour, the first on top; others in grey."""
    title = f"{y_label} over epochs of {len(named) + len(others)} trials"
    best = {name: known(points) for name, points in named.items()}
    grey = thinned([points for points in map(known, others) if points], MOST_GREY)
    drawn = [*itertools.chain(*best.values(), *grey)]
    frame = Frame.of([a for a, _ in drawn], [b for _, b in drawn], levels, ("epoch", y_label))
    if frame is None:
        return nothing(title)
    parts = [
        path(frame.places([*points[:1], *points]), "stroke other" + " dot" * (len(points) == 1))
        for points in grey
    ]
    coloured, entries = list[Markup](), list[Entry]()
    for index, (name, points) in enumerate(best.items()):
        class_, shape = f"s{index}", SHAPES[index]
        marks = [
            mark(shape, frame.x(a), frame.y(b), class_, f"{name}\nepoch {a:.4g}: {b:.4f}")
            for a, b in thinned(points, MOST_MARKS)
            if b <= frame.y.high
        ]
        coloured = [path(frame.places(points), f"stroke {class_}"), *marks, *coloured]
        entries.append((class_, shape, name))
    if grey:
        several = "s" if len(others) > 1 else ""
        entries.append(("other", "circle", f"{len(others)} other trial{several}"))
    return frame.picture(title, [*parts, *coloured], entries)


def best_over_time(points: Points, levels: Levels, *, unit: str, y_label: str) -> Markup:
    """The best loss so far over time in a unit, as steps down; the last point is when it ended."""
    title, finite = f"best {y_label} over time", known(points)
    times, losses = [0.0, *(a for a, _ in finite)], [b for _, b in finite]
    frame = Frame.of(times, losses, levels, (unit, f"best {y_label}"), losses[-1:])
    if frame is None or not finite:
        return nothing(title)
    steps, falls = finite[:1], finite[:1]
    for (_, before), (a, b) in itertools.pairwise(finite):
        steps += [(a, before), (a, b)]
        falls += [(a, b)] if b < before else []
    marks = [
        mark("circle", frame.x(a), frame.y(b), "s0", f"{a:.3g} {unit}: {b:.4f}")
        for a, b in thinned(falls, MOST_STEPS)
        if b <= frame.y.high
    ]
    return frame.picture(title, [path(frame.places(steps), "stroke s0"), *marks])


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
    finite = [b for _, b in known([(dot.x, dot.y) for dot in points])]
    xs = [*(dot.x for dot in points), *(band[1:] if band else ())]
    frame = Frame.of(xs, finite, levels, (x_label, y_label), log=True)
    if frame is None or not points:
        return nothing(title)
    x, y = frame.x, frame.y
    shapes = [*zip((f"s{n}" for n in itertools.count()), itertools.cycle(SHAPES), groups)]
    entries = [entry for entry in shapes if groups[entry[2]]]
    if sum(b <= y.high for b in finite) < len(points):
        entries.append(("failed", "cross", "no result, or a loss above the frame"))
    parts = list[Markup]()
    if band:
        entries.append(("band", "square", band.name))
        width, height = max(x(band.high) - x(band.low), 1), y.begin - y.end
        parts.append(
            element("rect", x=x(band.low), y=y.end, width=width, height=height, class_="band")
        )
    for (class_, shape, _), dots in zip(shapes, placed, strict=True):
        marks, places = list[Markup](), list[tuple[float, float]]()
        for dot in sorted(dots, key=lambda one: one.x):
            if dot.y is not None and -LARGEST <= dot.y <= y.high:
                places.append((x(dot.x), y(dot.y)))
                marks.append(mark(shape, *places[-1], class_, dot.tip))
            else:
                marks.append(mark("cross", x(dot.x), y.end + 5, "failed", dot.tip))
        parts += [path(places if joined else [], f"stroke {class_}"), *marks]
    return frame.picture(title, parts, entries)


# --- a matrix -------------------------------------------------------------------------------------

#: px of a cell of a matrix, at most, and below which it has no number, and no name
CELL, NUMBERED, READABLE = 56.0, 19.0, 9.0


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """What each class, a row, was taken for, a column; the darker, the larger its share."""
    longest = max(map(len, names)) * CHARACTER
    left, top = min(longest, WIDTH / 4) + 16, min(longest, WIDTH / 6) + 10
    side = min(CELL, (WIDTH - left - 2) / len(names))
    height = min(side, 30.0) if side >= NUMBERED else side
    parts = list[Markup]()
    for k, name in enumerate(names):
        x, y = left + (k + 0.5) * side, top + (k + 0.5) * height + 4
        if height >= READABLE:
            parts.append(text(fitted(name, left - 8), left - 6, y, "end"))
        if side >= READABLE:
            turned = f"rotate(-90 {number(x + 4)} {number(top - 4)})"
            parts.append(text(fitted(name, top - 6), x + 4, top - 4, transform=turned))
    for (i, row), (j, other) in itertools.product(enumerate(counts), enumerate(names)):
        count, whole = row[j], sum(row)
        share = count / whole if whole else 0.0
        x, y = left + j * side, top + i * height
        tip = element("title", f"{names[i]} taken for {other}: {count:,} of {whole:,}")
        cell = f"cell {'right' if i == j else 'wrong'}"
        parts.append(
            element(
                "rect", tip, x=x, y=y, width=side, height=height, class_=cell,
                fill_opacity=f"{share:.2f}",
            )
        )  # fmt: skip
        if count and side >= max(NUMBERED, CHARACTER * len(f"{count}") + 4):
            on = "on" if share > 0.6 else None
            parts.append(text(f"{count}", x + side / 2, y + height / 2 + 4, "middle", class_=on))
    return drawing(top + height * len(names) + 4, "confusion matrix", *parts)
