from __future__ import annotations

import math

import pytest

from lstm_sweep.search.pages.charts import Band, Dot, Dots, Seeds, scatter, seeds
from lstm_sweep.search.pages.svg import CHARACTER, NARROW, WIDE, Level, Size
from tests.unit.search.pages.drawn import HOSTILE, centre, parsed, points, texts, with_class

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW])


def test_rates_stand_at_equal_distances_and_are_joined() -> None:
    dots = [Dot(0.1, 2.0), Dot(0.001, 3.0), Dot(0.01, 1.0)]
    drawing = scatter([Dots("ladder", dots, joined=True)], x_label="rate", y_label="loss")
    root = parsed(drawing)
    line = next(one for one in with_class(root, "stroke", "s0") if one.get("d"))
    (x1, y1), (x2, y2), (x3, y3) = points(line)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 < y3 < y2 and y3 == pytest.approx((y1 + y2) / 2, abs=0.2)


def test_the_band_covers_what_the_rule_allows() -> None:
    dots = [Dot(100, 2.0), Dot(1000, 1.5), Dot(10_000, 1.0)]
    drawing = scatter(
        [Dots("search", dots)], [Level("markov", 1.2)], Band("rule", 1000, 10_000),
        x_label="parameters", y_label="loss",
    )  # fmt: skip
    root = parsed(drawing)
    band = next(one for one in with_class(root, "band") if "mark" not in one.attrib["class"])
    places = sorted(centre(one)[0] for one in with_class(root, "mark", "s0") if one.get("cx"))[1:]
    left, width = float(band.attrib["x"]), float(band.attrib["width"])
    assert left == pytest.approx(places[-2], abs=0.2)
    assert left + width == pytest.approx(places[-1], abs=0.2)
    assert "rule" in texts(root)


def test_what_has_no_result_is_a_cross_at_the_upper_edge() -> None:
    dots = [Dot(n, 1.0 + n / 100) for n in range(1, 6)] + [Dot(9, None), Dot(10, math.nan)]
    root = parsed(scatter([Dots("a", [*dots, Dot(11, 1e9)])], x_label="x", y_label="y"))
    crosses = with_class(root, "cross", "failed")
    assert len(crosses) == 3 + 1  # and one in the legend
    assert "no result, or a loss above the frame" in texts(root)


@SIZES
@pytest.mark.parametrize(
    "dots",
    [
        [],
        [Dot(1, None)],
        [Dot(0, 1.0), Dot(-1, 1.0), Dot(math.nan, 1.0), Dot(math.inf, 2.0)],
        [Dot(5, 1.0, HOSTILE)],
        [Dot(n + 1, n / 7, HOSTILE) for n in range(1000)],
    ],
)
def test_any_dots_can_be_drawn(dots: list[Dot], size: Size) -> None:
    for joined in (False, True):
        group = Dots(HOSTILE, dots, joined=joined)
        drawing = scatter([group], x_label=HOSTILE, y_label=HOSTILE, size=size)
        parsed(drawing)
        assert "<script" not in drawing


def test_seeds_show_mean_and_standard_deviation() -> None:
    root = parsed(seeds([Seeds("s/3", 1.0, [1.2, 1.4], "the best")], x_label="loss"))
    [spread], [mean] = with_class(root, "spread"), with_class(root, "mean")
    dots = [centre(one) for one in with_class(root, "mark", "s0") if one.get("cx")][:2]
    assert float(mean.attrib["x1"]) == pytest.approx((dots[0][0] + dots[1][0]) / 2, abs=0.2)
    a_tenth = (dots[1][0] - dots[0][0]) / 2
    assert float(spread.attrib["width"]) == pytest.approx(2 * 2**0.5 * a_tenth, abs=0.5)
    assert {"s/3", "the best"} <= set(texts(root))


@SIZES
@pytest.mark.parametrize(
    "row",
    [
        Seeds("a", None, []),
        Seeds("a", math.nan, [math.inf]),
        Seeds("a", 1.0, []),
        Seeds(HOSTILE, 1.0, [1.0, 1.0, 1e100], HOSTILE),
    ],
)
def test_any_seeds_can_be_drawn(row: Seeds, size: Size) -> None:
    parsed(seeds([row], x_label="loss", size=size))
    parsed(seeds([row, Seeds("b", 2.0, [1.9])], x_label="loss", size=size))
    parsed(seeds([], x_label="loss", size=size))


@SIZES
def test_all_of_each_number_at_the_axis_is_in_the_drawing(size: Size) -> None:
    root = parsed(seeds([Seeds("s/1", 0.98841, [0.98895])], x_label="loss", size=size))
    found = [one for one in root.iter() if one.get("x") and (one.text or "").startswith("0.98")]
    assert len(found) >= 2
    for one in found:
        half = len(one.text or "") * CHARACTER / 2
        assert half <= float(one.attrib["x"]) <= size.width - half
