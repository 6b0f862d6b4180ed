"""Learning curves drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence

#: columns and rows of a picture
WIDTH, HEIGHT = 60, 12
#: marks of the first and the second curve, of both, and the axes: corner, vertical, horizontal
UNICODE, ASCII = "●○◉└│─", "*o@+|-"


def can_encode(encoding: str | None) -> bool:
    """Whether a terminal with this encoding shows more than ASCII."""
    try:
        UNICODE.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def drawn(
    curves: Sequence[Sequence[tuple[float, float | None]]], *, ascii_only: bool = False
) -> list[str]:
    """The lines of a picture of one curve or two; each is pairs of an epoch and a loss.

    A point without a loss is left out. Nothing is drawn if fewer than two have one.
    """
    known = [[(x, y) for x, y in curve if y is not None] for curve in curves]
    points = [point for curve in known for point in curve]
    if len({x for x, _ in points}) < 2:
        return []
    first_x, last_x = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    marks = ASCII if ascii_only else UNICODE
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    for number, curve in enumerate(known):
        for x, y in curve:
            column = round((x - first_x) / (last_x - first_x) * (WIDTH - 1))
            row = round((high - y) / (high - low or 1.0) * (HEIGHT - 1))
            cells[row][column] |= 1 << number
    lines = list[str]()
    for row, marked in enumerate(cells):
        label = {0: f"{high:.4f}", HEIGHT - 1: f"{low:.4f}"}.get(row, "")
        text = "".join(" " if not mark else marks[mark - 1] for mark in marked)
        lines.append(f"{label:>10} {marks[4]}{text}".rstrip())
    lines.append(f"{'':>10} {marks[3]}{marks[5] * WIDTH}")
    ends = f"{first_x:g}", f"epoch {last_x:g}"
    lines.append(f"{'':>12}{ends[0]}{ends[1]:>{WIDTH - len(ends[0])}}")
    return lines
