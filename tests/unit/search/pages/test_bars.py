from __future__ import annotations

import math

import pytest

from lstm_sweep.search.pages.charts import Bar, bars
from lstm_sweep.search.pages.svg import NARROW, WIDE, Size
from tests.unit.search.pages.drawn import HOSTILE, parsed, texts, with_class


def test_bars_are_as_long_as_their_values() -> None:
    rows = [Bar("a", 2.0, "2.0"), Bar("b", 1.0, "1.0", strong=True)]
    root = parsed(bars(rows, title="losses", limit=1.5))
    long, short = (float(one.attrib["width"]) for one in with_class(root, "bar"))
    assert long == pytest.approx(2 * short, abs=0.2) and long > 500
    [level] = with_class(root, "level")
    assert float(level.attrib["x1"]) == pytest.approx(4 + 0.75 * long, abs=0.2)
    assert texts(root) == ["a", "2.0", "b", "1.0"]


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e300, 5e-324])
def test_any_value_can_be_drawn(value: float, size: Size) -> None:
    drawing = bars([Bar(HOSTILE, value, HOSTILE), Bar("b", 1.0, "")], title=HOSTILE, size=size)
    assert len(with_class(parsed(drawing), "bar")) == 2
    parsed(bars([], title="nothing", size=size))
    parsed(bars([Bar("a", value, "")], title="one", limit=value, size=size))
