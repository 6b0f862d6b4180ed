"""SVG and HTML elements as texts; all that comes from outside is escaped."""

from __future__ import annotations

import html
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lstm_sweep.search.values import texts

#: steps between two ticks, times a power of ten
STEPS = (1, 2, 5, 10)
#: share of its length that a linear scale has to spare at both ends
SPARE = 0.04
#: numbers that are nearer to 0 have no logarithm that is worth a tick, and those beyond the inverse
#: of it overflow
SMALLEST = 1e-300


@dataclass(frozen=True)
class Scale:
    """Places in px from `begin` to `end` for values from `low` to `high`, which are finite."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    #: whether only whole numbers are written at its axis
    whole_ticks: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; of one outside, the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            share = (math.log(value) - low) / (high - low)
        else:  # halves, as the difference of two large numbers may overflow
            share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return self.begin + share * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, `most` at most, and at least 2 where that can be."""
        found = self._log_ticks(most) if self.log else self._linear_ticks(most)
        whole = [one for one in found if one == round(one)]
        return whole if self.whole_ticks and len(whole) > 1 else found

    def _linear_ticks(self, most: int) -> list[float]:
        span = self.high / most - self.low / most
        if span < SMALLEST:
            return [self.low, self.high]
        power = 10.0 ** math.floor(math.log10(span))
        step = next(one * power for one in STEPS if one * power >= span * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        if not (math.isfinite(step) and last - first < 10 * most):
            return [self.low, self.high]
        return [float(f"{number * step:.10g}") for number in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        low, high = math.log10(self.low), math.log10(self.high)
        powers = range(math.floor(low), math.ceil(high) + 1)
        found: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [one for one in found if self.low * 0.999 <= one <= self.high * 1.001]
            if len(found) <= most:
                return found if len(found) > 1 else self._linear_ticks(most)
        return found[:: math.ceil(len(found) / most)]


def scale(
    values: Iterable[float],
    begin: float,
    end: float,
    *,
    log: bool = False,
    whole: bool = False,
) -> Scale | None:
    """A scale that all finite values fit into; None if there are none.

    On a logarithmic one only values above 0 count. `whole` leaves nothing to spare at the ends.
    """
    known = [one for one in values if math.isfinite(one) and (one >= SMALLEST or not log)]
    if not known:
        return None
    low, high = min(known), max(known)
    if log:
        spare = 1.0 if whole else math.exp(SPARE * (math.log(high) - math.log(low)))
        low, high = max(low / spare, SMALLEST), _finite(high * spare)
        if high < 1.001 * low:
            low, high = max(low / 2, SMALLEST), _finite(high * 2)
        return Scale(low, high, begin, end, log=True)
    spare = 0.0 if whole else SPARE * (high - low)
    low, high = _finite(low - spare), _finite(high + spare)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(abs(low) * 0.05, 0.5 if low == 0 else 1e-300)
        low, high = low - half, high + half
    return Scale(low, high, begin, end)


def within(values: Sequence[float], always: Iterable[float] = ()) -> list[float]:
    """Values that decide how far a scale reaches: without those far above the others.

    A single trial whose loss is a thousand times that of the others would leave nothing to see of
    them. Far above is 3 times the distance of the quartiles above the third one. `always` are
    values that are kept.
    """
    known = sorted(one for one in values if math.isfinite(one))
    kept = [one for one in always if math.isfinite(one)]
    if len(known) < 4:
        return known + kept
    first, _, third = statistics.quantiles(known, n=4, method="inclusive")
    most = max([third + 3 * (third - first), *kept])
    return [one for one in known if one <= most] + kept


def short(value: float) -> str:
    """A number for an axis or a label: `0.001`, `1e-5`, `25k`, `1.5M`."""
    if not math.isfinite(value):
        return str(value)
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e12:
            return f"{value / unit:.4g}{letter}"
    digits = f"{value:.6g}"
    mantissa, exponent, power = digits.partition("e")
    return f"{mantissa}e{int(power)}" if exponent else digits


def _finite(value: float) -> float:
    return min(max(value, -1e300), 1e300)


#: characters that XML 1.0 does not allow, not even escaped
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: width of a character of the text in drawings, px, on average
CHARACTER = 6.4


class Markup(str):
    """A text that is markup already, so that it is not escaped again."""

    __slots__ = ()

    def __html__(self) -> str:
        """The text itself; template languages ask for it."""
        return str(self)


NOTHING = Markup("")


class Size(NamedTuple):
    """Width and height of a drawing in px of its own coordinates."""

    width: float
    height: float


#: for a screen or paper, and for a phone; the text is as large in both
WIDE, NARROW = Size(680, 340), Size(340, 280)


def escaped(text: str) -> Markup:
    """A text as the content of an element or the value of an attribute."""
    return Markup(html.escape(NOT_XML.sub("\ufffd", text)))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element; attributes that are None are left out.

    `class_` is the attribute `class`, and each other `_` in a name is a `-`.

    Children are escaped unless they are `Markup`.
    """
    written = "".join(
        f' {name.strip("_").replace("_", "-")}="'
        f'{escaped(value) if isinstance(value, str) else number(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other; those that are no `Markup` are escaped."""
    return Markup("".join(one if isinstance(one, Markup) else escaped(one) for one in parts))


def picture(size: Size, title: str, *children: Markup) -> Markup:
    """An `<svg>` that scales with its place; `title` is what a screen reader says of it."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(size.width)} {number(size.height)}",
        width=size.width,
        height=size.height,
        role="img",
        aria_label=title,
        class_="drawing",
    )


def nothing(size: Size, title: str) -> Markup:
    """A drawing for which there are no numbers yet."""
    x, y = size.width / 2, 30
    says = text("nothing to show yet", x, y, anchor="middle", class_="faint")
    return picture(Size(size.width, 60), title, says)


def text(
    content: str, x: float, y: float, *, anchor: str | None = None, class_: str | None = None
) -> Markup:
    """A text that begins, ends (`end`) or has its middle (`middle`) at a point of its base line."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Iterable[tuple[float, float]], class_: str, tip: str = "") -> Markup:
    """A line through points, with a text that a pointer over it shows; empty without any point."""
    title = (element("title", tip),) if tip else ()
    return element("path", *title, d=d, class_=class_) if (d := drawn(points)) else NOTHING


def drawn(points: Iterable[tuple[float, float]]) -> str:
    """The data of a path through points."""
    return "".join(
        f"{'L' if index else 'M'}{number(x)} {number(y)}" for index, (x, y) in enumerate(points)
    )


def fitted(content: str, width: float) -> str:
    """A text cut to what fits into a width in px."""
    most = max(1, int(width / CHARACTER))
    return content if len(content) <= most else content[: most - 1] + "\u2026"


def number(value: float) -> str:
    """A coordinate to a tenth of a px.

    Raises:
        ValueError: it is not finite, for which there is no place.
    """
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}: expected a finite number")
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0", value == 0)


@dataclass(frozen=True)
class Table:
    """Numbers for people; `note` says what is left out."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture for a screen and for a phone, what it shows in words, and its numbers."""

    title: str
    wide: Markup
    narrow: Markup
    caption: str
    table: Table


def duration(seconds: float) -> str:
    """A time for people, which no line break divides: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    text = f"{seconds:.1f} s" if seconds < 10 else texts.duration(seconds)
    return text.replace(" ", "\u00a0")


def figure(title: str, draw: Callable[..., Markup], caption: str, table: Table) -> Figure:
    """A figure whose picture is drawn for both sizes."""
    return Figure(title, draw(size=WIDE), draw(size=NARROW), caption, table)


#: px around the place for points
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 40.0
#: px to the left of a legend on a phone
LEFT_NARROW = 20.0
#: px of a line of text
ROW = 17.0
#: px between two ticks, at least
APART_X, APART_Y = 70.0, 36.0
#: marks that tell series apart without colour, and the corners of those that have some
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "cross": [(-1, -1), (1, 1), (0, 0), (-1, 1), (1, -1), (0, 0)],
}


#: horizontal lines by their names, such as the losses of baselines
Levels = Mapping[str, float]
#: x and y in px
Place = tuple[float, float]
#: a line of a legend: the class of its series, the shape of its mark, and what it means
Entry = tuple[str, str, str]


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
        return joined([*self._x_axis(), *self._y_axis()])

    def _x_axis(self) -> Iterable[Markup]:
        x, bottom, top = self.x, self.y.begin, self.y.end
        yield line(x.begin, bottom, x.end, bottom, "axis")
        for tick in x.ticks(max(2, int((x.end - x.begin) / APART_X))):
            yield line(x(tick), bottom, x(tick), top, "grid")
            yield tick_name(tick, x(tick), bottom + 15, self.size.width)
        yield text(
            self.x_label, (x.begin + x.end) / 2, bottom + 33, anchor="middle", class_="label"
        )

    def _y_axis(self) -> Iterable[Markup]:
        y, left, right = self.y, self.x.begin, self.x.end
        for tick in y.ticks(max(2, int((y.begin - y.end) / APART_Y))):
            yield line(left, y(tick), right, y(tick), "grid")
            yield text(short(tick), left - 6, y(tick) + 4, anchor="end")
        middle = (y.begin + y.end) / 2
        turned = f"rotate(-90 12 {number(middle)})"
        yield element(
            "text", self.y_label, x=12, y=middle, transform=turned, text_anchor="middle",
            class_="label",
        )  # fmt: skip

    def levels(self, levels: Levels, places: Sequence[Place]) -> tuple[Markup, Markup]:
        """Horizontal lines, and their names, which hide no other and as few `places` as may be.

        A name stands above or below its level, at the right end, at the left or between them.
        """
        drawn, names, taken = list[Markup](), list[Markup](), list[tuple[float, float, float]]()
        for level, value in sorted(levels.items(), key=lambda item: -item[1]):
            if not self.y.low <= value <= self.y.high:
                continue
            name, y = f"{level} {value:.3f}", self.y(value)
            width = len(name) * CHARACTER
            left, right = self.x.begin + 4 + width, self.x.end - 2
            below = (row for row in (y + ROW - 4, y + 2 * ROW - 7) if row <= self.y.begin - 4)
            spots = [
                (right + share * (left - right), row)
                for row in (y - 4, *below)
                for share in (0, 1, 0.5)
            ]

            def hidden(spot: Place, width: float = width) -> tuple[bool, int]:
                end, row = spot
                others = any(
                    end > x0 and x1 > end - width and abs(row - other) < ROW - 3
                    for x0, x1, other in taken
                )
                inside = [end - width <= x <= end and row - ROW <= y <= row + 3 for x, y in places]
                return others, sum(inside)

            end, row = min(spots, key=hidden)
            taken.append((end - width, end, row))
            drawn.append(line(self.x.begin, y, self.x.end, y, "level"))
            names.append(text(name, end, row, anchor="end", class_="halo"))
        return joined(drawn), joined(names)

    def inside(self, *children: Markup) -> Markup:
        """Children of which only what is within the frame is seen."""
        x, y = self.x, self.y
        left, top, width, height = x.begin, y.end, x.end - x.begin, y.begin - y.end
        return element(
            "svg", *children, x=left, y=top, width=width, height=height, overflow="hidden",
            viewBox=" ".join(map(number, (left, top, width, height))),
        )  # fmt: skip


def tick_name(tick: float, x: float, y: float, width: float) -> Markup:
    """A number below an axis, moved so that a drawing of this width has all of it."""
    name = short(tick)
    half = len(name) * CHARACTER / 2 + 1
    return text(name, max(half, min(x, width - half)), y, anchor="middle")


def nearest(levels: Levels) -> list[float]:
    """The two lowest levels, which a frame has to show; a high one would leave the rest flat."""
    return sorted(levels.values())[:2]


def with_room(y: Scale, levels: Levels) -> Scale:
    """A scale of heights that has room for a name below its lowest level."""
    shown = [value for value in levels.values() if y.low <= value <= y.high]
    share = ROW / abs(y.begin - y.end)
    low = (min(shown, default=y.high) - share * y.high) / (1 - share)
    return replace(y, low=low) if math.isfinite(low) and low < y.low else y


def places(size: Size) -> tuple[float, float, float, float]:
    """Begin and end of the scales of a drawing: of x, and of y, which begins below."""
    return LEFT, size.width - RIGHT, size.height - BOTTOM, TOP


def legend(entries: Sequence[Entry], size: Size) -> tuple[Markup, float]:
    """A legend below the frame, and its height in px; two columns where there is room."""
    longest = max((len(meaning) for *_, meaning in entries), default=0) * CHARACTER + 30
    left = LEFT if size.width >= WIDE.width else LEFT_NARROW
    columns = 2 if len(entries) > 1 and longest <= (size.width - left) / 2 else 1
    rows = -(-len(entries) // columns)
    width = (size.width - left) / columns
    parts = list[Markup]()
    for index, (class_, shape, meaning) in enumerate(entries):
        x, y = left + (index // rows) * width, size.height + 10 + (index % rows) * ROW
        parts += [
            line(x - 8, y - 4, x + 8, y - 4, f"stroke {class_}"),
            mark(shape, x, y - 4, class_),
            text(fitted(meaning, width - 18), x + 14, y),
        ]
    return joined(parts), rows * ROW + (6 if rows else 0)


def mark(shape: str, x: float, y: float, class_: str, tip: str = "", r: float = 4) -> Markup:
    """A mark at a point, with a text that a pointer over it shows."""
    title = (element("title", tip),) if tip else ()
    named = f"mark {class_}"
    if shape == "circle":
        return element("circle", *title, cx=x, cy=y, r=r, class_=named)
    d = drawn((x + r * dx, y + r * dy) for dx, dy in CORNERS[shape]) + "Z"
    return element("path", *title, d=d, class_=f"{named} cross" if shape == "cross" else named)
