from __future__ import annotations

import math

import pytest

from lstm_sweep.search.pages.charts import (
    MOST_GREY,
    Curve,
    Points,
    best_over_time,
    learning_curves,
    thinned,
)
from lstm_sweep.search.pages.svg import CHARACTER, NARROW, WIDE, Box, Level, Size
from tests.unit.search.pages.drawn import HOSTILE, centre, parsed, points, texts, with_class

SIZES = pytest.mark.parametrize("size", [WIDE, NARROW])


@SIZES
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


@SIZES
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


@SIZES
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
