"""SVG elements as texts, and scales; all that comes from outside is escaped."""

from __future__ import annotations

import html
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lstm_sweep.search.values import documents

#: steps between two ticks, times a power of ten
STEPS = (1, 2, 5, 10)
#: share of its length that a linear scale has to spare at both ends
SPARE = 0.04
#: numbers beyond it have no place, and those nearer to 0 than its inverse no logarithm
LARGEST = 1e100


@dataclass(frozen=True)
class Scale:
    """Places in px from `begin` to `end` for values from `low` to `high`."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    #: whether only whole numbers are written at its axis
    whole_ticks: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; of one outside, the nearer end."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self, most: int) -> list[float]:
        """Round values within the scale, `most` at most, and at least 2 where that can be."""
        found = self._log_ticks(most) if self.log else self._linear_ticks(most)
        whole = [one for one in found if one == round(one)]
        return whole if self.whole_ticks and len(whole) > 1 else found

    def _linear_ticks(self, most: int) -> list[float]:
        span = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(span))
        step = next(one * power for one in STEPS if one * power >= span * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
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
    values: Iterable[float], begin: float, end: float, *, log: bool = False, whole: bool = False
) -> Scale | None:
    """A scale that all values fit into that have a place; None if there are none.

    `whole` leaves nothing to spare at the ends.
    """
    known = [v for v in values if abs(v) <= LARGEST and (not log or v >= 1 / LARGEST)]
    if not known:
        return None
    low, high = min(known), max(known)
    if log:
        spare = 1.0 if whole else (high / low) ** SPARE
        low, high = (low / spare, high * spare) if high >= 1.001 * low else (low / 2, high * 2)
        return Scale(low, high, begin, end, log=True)
    spare, largest = 0.0 if whole else SPARE * (high - low), max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, 1 / LARGEST):
        spare = largest * 0.05 if largest > 1 / LARGEST else 0.5
    return Scale(low - spare, high + spare, begin, end)


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
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if least <= abs(value) < 1e12:
            return f"{value / unit:.4g}{letter}"
    return re.sub(r"e([-+])0*", lambda sign: f"e{sign[1].strip('+')}", f"{value:.6g}")


#: characters that XML 1.0 does not allow, not even escaped
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: width of a character of the text in drawings, px, on average
CHARACTER = 6.4


NOTHING = Markup("")


#: px of a drawing, of its own coordinates
WIDTH = 680.0


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


def picture(height: float, title: str, *children: Markup) -> Markup:
    """An `<svg>` that scales with its place; `title` is what a screen reader says of it."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(WIDTH)} {number(height)}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=title,
        class_="drawing",
    )


def nothing(title: str) -> Markup:
    """A drawing for which there are no numbers yet."""
    says = text("nothing to show yet", WIDTH / 2, 30, anchor="middle", class_="faint")
    return picture(60, title, says)


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
    return "".join(
        f"{'L' if index else 'M'}{number(x)} {number(y)}" for index, (x, y) in enumerate(points)
    )


def fitted(content: str, width: float) -> str:
    """A text cut to what fits into a width in px."""
    most = max(1, int(width / CHARACTER))
    return content if len(content) <= most else content[: most - 1] + "\u2026"


def number(value: float) -> str:
    """A coordinate to a tenth of a px."""
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
    """A picture, or `NOTHING`, what it shows in words, and its numbers."""

    title: str
    picture: Markup
    caption: str
    table: Table


def duration(seconds: float) -> str:
    """A time for people, which no line break divides: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    text = f"{seconds:.1f} s" if seconds < 10 else documents.duration(seconds)
    return text.replace(" ", "\u00a0")
