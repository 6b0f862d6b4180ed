"""`Figure`: a picture with its caption and its numbers, and `Table`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstm_sweep.search.pages.svg import NARROW, WIDE, Markup, Size


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
    """A time for people, which no line break divides: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        text = f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    elif whole < 3600:
        text = f"{whole // 60} min {whole % 60:02d} s"
    else:
        text = f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return text.replace(" ", "\u00a0")


def figure(title: str, draw: Callable[[Size], Markup], caption: str, table: Table) -> Figure:
    """A figure whose picture is drawn for both sizes."""
    return Figure(title, draw(WIDE), draw(NARROW), caption, table)
