from __future__ import annotations

import math

import pytest

from lstm_sweep.search.pages.charts import (
    MOST,
    MOST_GREY,
    Axis,
    Band,
    Bar,
    Curve,
    Dot,
    Dots,
    Point,
    Points,
    Seeds,
    bars,
    best_over_time,
    learning_curves,
    parallel,
    scatter,
    seeds,
    thinned,
)
from lstm_sweep.search.pages.svg import CHARACTER, NARROW, WIDE, Box, Level, Size
from tests.unit.search.pages.drawn import HOSTILE, centre, parsed, points, texts, with_class


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


CURVE_SIZES = pytest.mark.parametrize("size", [WIDE, NARROW])


@CURVE_SIZES
def test_points_are_where_the_values_say(size: Size) -> None:
    curve = Curve("s/1: 1.0000", [(1, 3.0), (2, 2.0), (3, 1.0)])
    root = parsed(learning_curves([curve], y_label="loss", size=size))
    marks = [centre(one) for one in with_class(root, "mark", "s0") if one.get("cx")][:3]
    (x1, y1), (x2, y2), (x3, y3) = marks
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and y2 - y1 == pytest.approx(y3 - y2, abs=0.2)
    assert x1 < x2 < x3 and y1 < y2 < y3  # y grows downwards: losses fall
    [path] = [one for one in with_class(root, "stroke", "s0") if one.get("d")]
    assert points(path) == marks
    assert "s/1: 1.0000" in texts(root) and {"1", "2", "3"} <= set(texts(root))


def test_a_level_stands_at_its_loss_and_is_named() -> None:
    curve = Curve("a", [(1, 3.0), (2, 1.0)])
    root = parsed(learning_curves([curve], levels=[Level("markov", 2.0)], y_label="loss"))
    [level] = with_class(root, "level")
    high, low = (centre(one)[1] for one in with_class(root, "mark", "s0")[:2])
    assert float(level.attrib["y1"]) == pytest.approx((high + low) / 2, abs=0.2)
    assert "markov 2.000" in texts(root)


@CURVE_SIZES
@pytest.mark.parametrize(
    "given",
    [
        [],
        [(1, None)],
        [(1, math.nan), (2, math.inf), (math.nan, 1.0)],
        [(1, 2.0)],
        [(1, 1e100), (2, -1e100), (3, 5e-324)],
        [(n, 2.0) for n in range(1, 500)],
    ],
)
def test_any_points_can_be_drawn(given: Points, size: Size) -> None:
    for named, others in (([Curve("a", given)], []), ([], [Curve("a", given)])):
        parsed(learning_curves(named, others, y_label="loss", size=size))
    parsed(best_over_time(given, unit="minutes", y_label="loss", size=size))


def test_hostile_names_are_texts() -> None:
    curves = [Curve(HOSTILE, [(1, 2.0), (2, 1.0)])]
    drawing = learning_curves(curves, levels=[Level(HOSTILE, 1.5)], y_label=HOSTILE)
    parsed(drawing)
    assert "<script" not in drawing


def test_a_thousand_trials_are_drawn_as_some_of_them() -> None:
    curves = [
        Curve(f"s/{n}", [(e, 3 - e / 30 + n / 1000) for e in range(1, 28)]) for n in range(1000)
    ]
    drawing = learning_curves(curves[:5], curves[5:], y_label="loss")
    assert len(with_class(parsed(drawing), "stroke", "other")) <= MOST_GREY + 1
    assert "995 other trials" in drawing and len(drawing) < 150_000


def test_a_curve_far_above_the_others_leaves_the_frame() -> None:
    flat = [Curve(f"s/{n}", [(1, 2.0), (2, 1.0 + n / 10)]) for n in range(5)]
    root = parsed(learning_curves(flat, [Curve("wild", [(1, 2.0), (2, 1e9)])], y_label="loss"))
    [wild] = [one for one in with_class(root, "stroke", "other") if one.get("d")]
    assert points(wild)[1][1] < 0 < points(wild)[0][1]
    [inner] = [one for one in root if one.get("overflow")]
    assert inner.get("overflow") == "hidden"


def test_the_best_loss_goes_down_in_steps() -> None:
    root = parsed(best_over_time([(1, 3.0), (2, 2.0), (4, 2.0)], unit="min", y_label="loss"))
    [path] = [one for one in with_class(root, "stroke", "s0") if one.get("d")]
    (_, y1), (x2, y2), (x3, y3), (x4, y4), (x5, y5) = points(path)
    assert y1 == y2 and x2 == x3 and y2 < y3 and y3 == y4 == y5 and x4 <= x5
    assert len([one for one in with_class(root, "mark", "s0") if one.get("cx")]) == 2


def test_thinned_keeps_both_ends() -> None:
    assert thinned(range(5), 10) == range(5)
    found = thinned(list(range(1000)), 7)
    assert len(found) == 7 and (found[0], found[-1]) == (0, 999)


@CURVE_SIZES
def test_the_name_of_a_level_hides_no_end_of_a_curve(size: Size) -> None:
    curve, level = Curve("a", [(1, 1.1), (2, 1.01), (3, 1.005), (4, 1.005)]), Level("entropy", 1.0)
    root = parsed(learning_curves([curve], levels=[level], y_label="loss", size=size))
    [name] = [one for one in with_class(root, "halo") if one.text == "entropy 1.000"]
    right, base = float(name.attrib["x"]), float(name.attrib["y"])
    left, top = right - 13 * CHARACTER, base - 11
    marks = [centre(one) for one in with_class(root, "mark", "s0") if one.get("cx")][:4]
    assert not [(x, y) for x, y in marks if left <= x <= right and top <= y <= base + 3]


def test_names_of_levels_that_are_close_stand_apart() -> None:
    levels = [Level("markov", 1.5), Level("unigram", 1.501), Level("naive bayes", 1.502)]
    drawing = learning_curves([Curve("a", [(1, 3.0), (2, 1.0)])], levels=levels, y_label="loss")
    names = [one for one in with_class(parsed(drawing), "halo") if one.text]
    boxes = list[Box]()
    for one in names:
        x, y = float(one.attrib["x"]), float(one.attrib["y"])
        boxes.append(Box(x - len(one.text or "") * CHARACTER, y - 11, x, y + 3))
    assert len(boxes) == 3
    assert not [one for n, one in enumerate(boxes) if one.overlaps(boxes[:n])]


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


AXES = [
    Axis("layers", 1, 3, is_whole=True, marks=(1, 2, 3)),
    Axis("learning_rate", 0.001, 0.1, log=True),
    Axis("direction", words=("uni", "bi")),
]


def point(name: str, layers: int, rate: float, direction: str, loss: float) -> Point:
    values: dict[str, int | float | str] = {
        "layers": layers,
        "learning_rate": rate,
        "direction": direction,
    }
    return Point(name, values, loss)


def test_a_line_goes_through_the_values_of_its_trial() -> None:
    trials = [point("s/0", 1, 0.001, "uni", 2.0), point("s/1", 2, 0.01, "bi", 1.0)]
    root = parsed(parallel(AXES, trials, loss_label="loss"))
    low, high = 24, 680 - 24
    middle = (low + high) / 2
    [best] = [one for one in with_class(root, "first") if one.get("d")]
    places = [x for x, _ in points(best)]
    assert places[:3] == pytest.approx([middle, middle, low + 0.75 * (high - low)], abs=0.2)
    worst = next(one for one in with_class(root, "stroke") if one is not best and one.get("d"))
    assert [x for x, _ in points(worst)][:2] == [low, low]
    assert points(worst)[3][0] > points(best)[3][0]  # its loss is higher
    assert {"layers", "1", "2", "3", "0.001", "0.01", "0.1", "uni", "bi"} <= set(texts(root))


def test_the_best_trial_is_drawn_last() -> None:
    trials = [point(f"s/{n}", 1 + n % 3, 0.01, "uni", 5.0 - n) for n in range(5)]
    root = parsed(parallel(AXES, trials, loss_label="loss"))
    lines = [one for one in with_class(root, "stroke") if one.get("d")]
    assert "first" in lines[-1].attrib["class"] and lines[-1][0].text == "s/4: 1.0000"
    assert [one.attrib["class"].split()[1] for one in lines] == ["q4", "q3", "q2", "q1", "q0"]


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_any_trials_can_be_drawn(size: Size) -> None:
    odd = [
        Point(HOSTILE, {"layers": math.nan, "learning_rate": -1, "direction": HOSTILE}, 1.0),
        Point("b", {"layers": 99, "learning_rate": "x"}, 2.0),
        Point("c", {}, math.nan),
    ]
    axes = [
        *AXES,
        Axis(HOSTILE, words=(HOSTILE, *map(str, range(5000)))),
        Axis("same", 1, 1),
        Axis("nan", math.nan),
    ]
    for given in ([], odd, odd[:1], odd[2:]):
        drawing = parallel(axes, given, loss_label=HOSTILE, size=size)
        parsed(drawing)
        assert "<script" not in drawing
    parsed(parallel([], odd, loss_label="loss", size=size))


def test_a_thousand_trials_are_drawn_as_some_of_them_on_parallel_axes() -> None:
    trials = [point(f"s/{n}", 1 + n % 3, 0.01, "uni", 1 + n / 1000) for n in range(1000)]
    drawing = parallel(AXES, trials, loss_label="loss")
    lines = [one for one in with_class(parsed(drawing), "stroke") if one.get("d")]
    assert len(lines) == MOST and len(drawing) < 100_000
