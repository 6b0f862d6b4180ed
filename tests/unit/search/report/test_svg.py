from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.report import svg
from lstm_sweep.search.report.svg import scale
from tests.unit.search.report.drawn import HOSTILE

finite = st.floats(min_value=-1e100, max_value=1e100)


@given(st.lists(finite, min_size=1), st.booleans(), st.integers(2, 12))
def test_every_scale_has_finite_places_and_ticks(values: list[float], log: bool, most: int) -> None:
    found = scale(values, 10, 500, log=log)
    if found is None:
        assert log and all(value < 1e-100 for value in values)
        return
    ticks = found.ticks(most)
    assert all(math.isfinite(tick) for tick in ticks) and len(ticks) <= 3 * most + 2
    for value in [*values, *ticks]:
        assert 10 <= found(value) <= 500 or (log and value < 1e-100)


def test_what_comes_from_outside_is_escaped_and_stays_well_formed() -> None:
    made = svg.element("text", HOSTILE, aria_label=HOSTILE, class_="a b")
    found = ElementTree.fromstring(made)
    assert "<script>" not in made and len(found) == 0
    assert found.text == "</svg><script>alert('1')</script> & \"x\" \ufffd\ufffd[31m\ufffd"
    assert found.get("aria-label") == found.text and found.get("class") == "a b"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_there_is_no_place_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        svg.element("circle", cx=value)
