from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from lstm_sweep.search.pages import svg
from tests.unit.search.pages.drawn import HOSTILE


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
