"""Times as people read them."""

from __future__ import annotations

import pytest

from lstm_sweep.search.values.texts import time_left_text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (None, "about ? left"),
        (0.0, "about 0 s left"),
        (7.4, "about 7 s left"),
        (43.0, "about 45 s left"),
        (751.0, "about 13 min left"),
        (4_000.0, "about 1 h 05 min left"),
    ],
)
def test_an_estimate_has_no_more_figures_than_it_is_worth(seconds: float | None, text: str) -> None:
    assert time_left_text(seconds) == text
