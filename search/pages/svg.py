"""SVG and HTML elements as texts; all that comes from outside is escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Size:
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
        f' {name.strip("_").replace("_", "-")}="{_value(value)}"'
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
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """A line through points; empty without any."""
    return Markup("") if not (d := drawn(points)) else element("path", d=d, class_=class_)


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


def _value(value: str | float) -> str:
    return escaped(value) if isinstance(value, str) else number(value)
