"""Drawings of losses over epochs and over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.frame import (
    SHAPES,
    Entry,
    Frame,
    Level,
    Line,
    legend,
    mark,
    nearest,
    places,
    with_room,
)  # fmt: skip
from lstm_sweep.search.pages.scales import scale, within
from lstm_sweep.search.pages.svg import WIDE, Markup, Size

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
