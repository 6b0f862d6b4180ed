from __future__ import annotations

import pytest

from lstm_sweep.search.cli.terminal import ASCII, UNICODE, can_encode
from lstm_sweep.search.cli.trials import HEIGHT, WIDTH, drawn


def marks_of(lines: list[str], mark: str) -> list[tuple[int, int]]:
    """Rows and columns of a mark in a picture, without its axes."""
    found = [(row, line[12:]) for row, line in enumerate(lines[:HEIGHT])]
    return [(row, column) for row, text in found for column, c in enumerate(text) if c == mark]


def test_a_curve_goes_from_corner_to_corner_with_its_ends_as_labels() -> None:
    lines = drawn([[(1, 3.5), (2, 2.5), (3, 1.5)]], UNICODE)
    assert marks_of(lines, UNICODE[0]) == [
        (0, 0), (round((HEIGHT - 1) / 2), round((WIDTH - 1) / 2)), (HEIGHT - 1, WIDTH - 1),
    ]  # fmt: skip
    assert lines[0].split()[0] == "3.5000" and lines[HEIGHT - 1].split()[0] == "1.5000"
    assert lines[-1].split() == ["1", "epoch", "3"]


def test_a_picture_in_ascii_is_ascii() -> None:
    lines = drawn([[(1, 2.0), (2, 1.0)], [(1, 2.0), (2, 1.5)]], ASCII)
    assert "".join(lines).isascii() and len(marks_of(lines, ASCII[2])) == 1


@pytest.mark.parametrize("curve", [[], [(1, 2.0)], [(1, 2.0), (2, None)]])
def test_fewer_than_two_losses_are_no_curve(curve: list[tuple[float, float | None]]) -> None:
    assert drawn([curve], ASCII) == []


@pytest.mark.parametrize(
    "encoding, can",
    [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False), ("?", False)],
)
def test_a_terminal_without_utf8_is_known(encoding: str | None, can: bool) -> None:
    assert can_encode(encoding) is can
