"""Times as people read them."""

from __future__ import annotations

import pytest

from lstm_sweep.search.times import time_left_text


@pytest.mark.parametrize(
    "seconds, span, text",
    [
        (None, None, "about ? left"),
        (7.4, None, "about 7 s left"),
        (43.0, (40.0, 47.0), "about 45 s left"),
        (751.0, (700.0, 800.0), "about 13 min left"),
        (751.0, (490.0, 800.0), "8 to 13 min left"),
        (751.0, (740.0, 1200.0), "12 to 20 min left"),
        (50.0, (40.0, 95.0), "40 s to 1 min 30 s left"),
        (4_000.0, (3_000.0, 5_000.0), "50 min to 1 h 25 min left"),
        (8_000.0, (7_300.0, 11_000.0), "2 to 3 h left"),
        (8_000.0, (7_300.0, 13_000.0), "2 h to 3 h 30 min left"),
        (1.0, (0.6, 1.4), "about 1 s left"),
        (0.0, (0.0, 0.0), "about 0 s left"),
    ],
)
def test_a_time_that_is_estimated_has_a_range_if_it_is_rough(
    seconds: float | None, span: tuple[float, float] | None, text: str
) -> None:
    assert time_left_text(seconds, span) == text
