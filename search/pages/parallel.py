"""Parallel coordinates: which values of the hyperparameters the good trials have.

Axes are rows, so that the drawing is as readable on a phone as on paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.curves import thinned
from lstm_sweep.search.pages.frame import Entry, legend
from lstm_sweep.search.pages.scales import Scale, scale, short, within
from lstm_sweep.search.pages.svg import WIDE, Markup, Size

Value = int | float | str
#: px of an axis with its name, and beside it
ROW, LEFT, RIGHT = 52.0, 24.0, 24.0
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
    reach = scale(within([one.loss for one in ranked]), LEFT, size.width - RIGHT)
    if not axes or not ranked or reach is None:
        return svg.nothing(size, title)
    lines = list[Markup]()
    shown = thinned(list(enumerate(ranked)), MOST)
    for rank, point in reversed(shown):
        class_ = f"stroke q{CLASSES * rank // len(ranked)}" + " first" * (rank == 0)
        lines.append(_line(axes, point, reach, size.width, class_))
    rows = [_axis(axis.name, axis.ticks(LEFT, size.width - RIGHT), index, size.width)
            for index, axis in enumerate(axes)]  # fmt: skip
    ticks = [(short(tick), reach(tick)) for tick in reach.ticks(max(2, int(size.width / 80)))]
    rows.append(_axis(loss_label, ticks, len(axes), size.width))
    height = ROW * (len(axes) + 1)
    entries = [Entry("q0 first", "circle", f"the best trial of the search, {ranked[0].name}")]
    if len(ranked) > 1:
        entries += [
            Entry("q0", "circle", "the best fifth of the trials"),
            Entry(f"q{CLASSES - 1}", "circle", "the worst fifth"),
        ]
    below, more = legend(entries, Size(size.width, height + 6))
    return svg.picture(Size(size.width, height + 6 + more), title, *lines, *rows, below)


def _line(axes: Sequence[Axis], point: Point, reach: Scale, width: float, class_: str) -> Markup:
    places = [axis.place(point.values.get(axis.name), LEFT, width - RIGHT) for axis in axes]
    rows = enumerate([*places, reach(point.loss)])
    found = [(x, ROW * index + 26) for index, x in rows if x is not None]
    title = svg.element("title", f"{point.name}: {point.loss:.4f}")
    return svg.element("path", title, d=svg.drawn(found), class_=class_)


def _axis(name: str, ticks: Sequence[tuple[str, float]], index: int, width: float) -> Markup:
    y = ROW * index + 26
    parts = [
        svg.line(LEFT, y, width - RIGHT, y, "axis"),
        svg.text(svg.fitted(name, width / 2), 4, y - 10, class_="halo strong"),
    ]
    for word, x in ticks:
        parts += [
            svg.line(x, y - 3, x, y + 3, "axis"),
            svg.text(word, x, y + 16, anchor="middle", class_="halo"),
        ]
    return svg.joined(parts)
