"""Times and losses as people read them."""

from __future__ import annotations

import pytest

from lstm_sweep.search.values.texts import duration, loss_text, time_left_text


@pytest.mark.parametrize(
    "seconds, exact, estimate",
    [
        (None, "?", "?"),
        (0.0, "0 s", "0 s"),
        (7.4, "7 s", "7 s"),
        (43.0, "43 s", "45 s"),
        (59.6, "1 min 00 s", "1 min"),  # not 60 s
        (751.0, "12 min 31 s", "13 min"),
        (3_599.6, "1 h 00 min", "1 h"),  # not 60 min
        (4_000.0, "1 h 06 min", "1 h 05 min"),
        (360_000.0, "100 h 00 min", "100 h"),
    ],
)
def test_a_time_is_written_for_people_and_an_estimate_has_no_more_figures_than_it_is_worth(
    seconds: float | None, exact: str, estimate: str
) -> None:
    assert (duration(seconds), time_left_text(seconds)) == (exact, f"about {estimate} left")


def test_a_loss_is_written_to_four_places() -> None:
    assert [loss_text(loss) for loss in (None, 0.0, 1.23456)] == ["-", "0.0000", "1.2346"]
