from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.pages import svg
from lstm_sweep.search.pages.svg import Scale, scale, short, within
from tests.unit.search.pages.drawn import HOSTILE


def test_values_have_places_in_proportion() -> None:
    linear = Scale(0, 10, 100, 200)
    assert [linear(x) for x in (0, 2.5, 10)] == [100, 125, 200]
    log = Scale(0.001, 1, 300, 0, log=True)
    assert [round(log(x)) for x in (0.001, 0.01, 0.1, 1)] == [300, 200, 100, 0]
    assert linear(-5) == 100 and linear(1e9) == 200


def test_ticks_are_round_and_within() -> None:
    assert Scale(0, 10, 0, 1).ticks(6) == [0, 2, 4, 6, 8, 10]
    assert Scale(1.31, 1.44, 0, 1).ticks(4) == [1.35, 1.4]
    assert Scale(0.001, 1, 0, 1, log=True).ticks(4) == pytest.approx([0.001, 0.01, 0.1, 1])
    assert Scale(1, 3, 0, 1, whole_ticks=True).ticks(8) == [1, 2, 3]


def test_values_that_are_all_the_same_have_a_scale() -> None:
    for value in (0.0, 1.0, -2.5, 1e-30, 1e90):
        found = scale([value], 0, 100)
        assert found and 0 < found(value) < 100
        assert found.low < value < found.high


def test_without_a_finite_value_there_is_no_scale() -> None:
    assert scale([], 0, 1) is None
    assert scale([math.nan, math.inf], 0, 1) is None
    assert scale([0.0, -1.0], 0, 1, log=True) is None


finite = st.floats(min_value=-1e100, max_value=1e100)


@given(st.lists(finite, min_size=1), st.booleans(), st.integers(2, 12))
def test_every_scale_has_finite_places_and_ticks(values: list[float], log: bool, most: int) -> None:
    found = scale(values, 10, 500, log=log)
    if found is None:
        assert log and all(value < 1e-300 for value in values)
        return
    ticks = found.ticks(most)
    assert all(math.isfinite(tick) for tick in ticks) and len(ticks) <= 3 * most + 2
    for value in [*values, *ticks]:
        assert 10 <= found(value) <= 500 or (log and value < 1e-300)


def test_a_scale_is_not_stretched_by_what_is_far_above() -> None:
    losses = [1.0, 1.1, 1.2, 1.3, 1e6]
    assert within(losses) == [1.0, 1.1, 1.2, 1.3]
    assert max(within(losses, always=[3.2])) == 3.2
    assert within([1.0, math.nan, 9.0]) == [1.0, 9.0]


def test_numbers_are_short() -> None:
    found = [short(x) for x in (0.001, 1e-5, 1.285, 25000, 1.5e6, 800, 1e30, math.nan)]
    assert found == ["0.001", "1e-5", "1.285", "25k", "1.5M", "800", "1e30", "nan"]


def test_what_comes_from_outside_is_escaped_and_stays_well_formed() -> None:
    made = svg.element("text", HOSTILE, aria_label=HOSTILE, class_="a b")
    found = ElementTree.fromstring(made)
    assert "<script>" not in made and len(found) == 0
    assert found.text == "</svg><script>alert('1')</script> & \"x\" \ufffd\ufffd[31m\ufffd"
    assert found.get("aria-label") == found.text and found.get("class") == "a b"


def test_markup_is_not_escaped_again() -> None:
    inner = svg.element("title", "a & b")
    assert svg.element("g", inner, "<") == "<g><title>a &amp; b</title>&lt;</g>"
    assert svg.element("rect", x=1.04, y=None) == '<rect x="1"/>'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_there_is_no_place_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        svg.element("circle", cx=value)


def test_numbers_are_written_to_a_tenth() -> None:
    assert [svg.number(x) for x in (0.0, -0.0, 2.0, 1.26, -3.5)] == ["0", "0", "2", "1.3", "-3.5"]


def test_a_text_is_cut_to_its_place() -> None:
    assert svg.fitted("abc", 100) == "abc"
    cut = svg.fitted("a" * 50, 64)
    assert cut.endswith("\u2026") and len(cut) == 10
