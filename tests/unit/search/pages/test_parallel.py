from __future__ import annotations

import math

import pytest

from lstm_sweep.search.pages.charts import MOST, Axis, Point, parallel
from lstm_sweep.search.pages.svg import NARROW, WIDE, Size
from tests.unit.search.pages.drawn import HOSTILE, parsed, points, texts, with_class

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


def test_a_thousand_trials_are_drawn_as_some_of_them() -> None:
    trials = [point(f"s/{n}", 1 + n % 3, 0.01, "uni", 1 + n / 1000) for n in range(1000)]
    drawing = parallel(AXES, trials, loss_label="loss")
    lines = [one for one in with_class(parsed(drawing), "stroke") if one.get("d")]
    assert len(lines) == MOST and len(drawing) < 100_000
