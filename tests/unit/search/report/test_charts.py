from __future__ import annotations

import math

import pytest

from lstm_sweep.search.report.charts import (
    MOST,
    MOST_GREY,
    Axis,
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
)
from lstm_sweep.search.report.svg import NARROW, WIDE, Size
from tests.unit.search.report.drawn import HOSTILE, centre, parsed, points, texts, with_class


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


def test_a_thousand_trials_are_drawn_as_some_of_them() -> None:
    curves = [
        Curve(f"s/{n}", [(e, 3 - e / 30 + n / 1000) for e in range(1, 28)]) for n in range(1000)
    ]
    drawing = learning_curves(curves[:5], curves[5:], y_label="loss")
    assert len(with_class(parsed(drawing), "stroke", "other")) <= MOST_GREY + 1
    assert "995 other trials" in drawing and len(drawing) < 150_000


SIZES = pytest.mark.parametrize("size", [WIDE, NARROW])


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
