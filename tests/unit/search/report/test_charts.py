from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lstm_sweep.search.report.charts import (
    Axis,
    Band,
    Bar,
    Dot,
    Points,
    bars,
    best_over_time,
    learning_curves,
    parallel,
    scatter,
    seeds,
)
from lstm_sweep.search.report.svg import CHARACTER
from lstm_sweep.search.values.trial import Trial
from lstm_sweep.spaces.template.template import TemplateConfig
from tests.unit.search.report.drawn import (
    HOSTILE,
    SVG,
    centre,
    parsed,
    points,
    texts,
    with_class,
)
from tests.unit.search.report.found import confirmation, trial


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1.7e308, 5e-324])
def test_any_value_can_be_drawn(value: float) -> None:
    drawing = bars([Bar(HOSTILE, value, HOSTILE), Bar("b", 1.0, "")], title=HOSTILE)
    assert len(with_class(parsed(drawing), "bar")) == 2
    parsed(bars([], title="nothing"))
    parsed(bars([Bar("a", value, "")], title="one", limit=value))


def test_points_are_where_the_values_say() -> None:
    curve = {"s/1: 1.0000": [(1, 3.0), (2, 2.0), (3, 1.0)]}
    root = parsed(learning_curves(curve, [], {}, y_label="loss"))
    marks = [centre(one) for one in with_class(root, "mark", "s0") if one.get("cx")][:3]
    (x1, y1), (x2, y2), (x3, y3) = marks
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2) and y2 - y1 == pytest.approx(y3 - y2, abs=0.2)
    assert x1 < x2 < x3 and y1 < y2 < y3  # y grows downwards: losses fall
    [path] = [one for one in with_class(root, "stroke", "s0") if one.get("d")]
    assert points(path) == marks
    assert "s/1: 1.0000" in texts(root) and {"1", "2", "3"} <= set(texts(root))


def test_numbers_at_the_left_stand_off_the_name_of_their_axis() -> None:
    close = {"s/1": [Dot(0.01, 0.67105, ""), Dot(0.1, 0.66955, "")]}
    root = parsed(scatter(close, {}, x_label="rate", y_label="loss"))
    ticks = [one for one in root.iter(f"{SVG}text") if one.get("text-anchor") == "end"]
    assert max(len(one.text or "") for one in ticks) == 6
    ends = [float(one.attrib["x"]) - CHARACTER * len(one.text or "") for one in ticks]
    assert min(ends) > 16


@pytest.mark.parametrize(
    "given",
    [
        [],
        [(1, None)],
        [(1, math.nan), (2, math.inf), (math.nan, 1.0)],
        [(0, 1.0), (-1, 1.0), (math.inf, 2.0)],
        [(1, 2.0)],
        [(1, 1e100), (2, -1e100), (3, 5e-324)],
        [(n, 2.0 + n / 7) for n in range(1, 500)],
    ],
)
def test_any_points_can_be_drawn(given: Points) -> None:
    levels = {HOSTILE: 2.0, "high": 1e9}
    for named, others in (({HOSTILE: given}, []), ({}, [given])):
        parsed(learning_curves(named, others, levels, y_label="loss"))
    parsed(best_over_time(given, levels, unit="minutes", y_label="loss"))
    groups = {HOSTILE: [Dot(x, y, HOSTILE) for x, y in given]}
    for joined in (False, True):
        band = Band(HOSTILE, 1, 10) if joined else None
        drawing = scatter(groups, levels, band, x_label=HOSTILE, y_label=HOSTILE, joined=joined)
        parsed(drawing)
        assert "<script" not in drawing


def test_what_has_no_result_is_a_cross_at_the_upper_edge() -> None:
    dots = [Dot(n, 1.0 + n / 100) for n in range(1, 6)] + [Dot(9, None), Dot(10, math.nan)]
    root = parsed(scatter({"a": [*dots, Dot(11, 1e9)]}, {}, x_label="x", y_label="y"))
    crosses = with_class(root, "cross", "failed")
    assert len(crosses) == 3 + 1  # and one in the legend
    assert "no result, or a loss above the frame" in texts(root)


@pytest.mark.parametrize("losses", [(), (1.0,), (1.0, 1.0, 1e100)])
def test_any_seeds_can_be_drawn(losses: tuple[float, ...]) -> None:
    row = replace(confirmation(0, 1.0, None), trial=HOSTILE, losses=losses), HOSTILE
    parsed(seeds([row], x_label="loss"))
    parsed(seeds([row, (confirmation(1, 2.0, 0.5), "")], x_label="loss"))
    parsed(seeds([], x_label="loss"))


AXES = [
    Axis("layers", 1, 3, is_whole=True, marks=(1, 2, 3)),
    Axis("learning_rate", 0.001, 0.1, log=True),
    Axis("direction", words=("uni", "bi")),
]


def odd(number: int, loss: float, **values: float | str) -> Trial:
    """A trial of a template with these hyperparameters."""
    return trial(number, loss, sweep=HOSTILE, config=TemplateConfig(tuple(values.items())))


def test_any_trials_can_be_drawn() -> None:
    trials = [
        odd(0, 1.0, layers=math.nan, learning_rate=-1, direction=HOSTILE),
        odd(1, 2.0, layers=99, learning_rate="x"),
        odd(2, 3.0),
    ]
    axes = [
        *AXES,
        Axis(HOSTILE, words=(HOSTILE, *map(str, range(5000)))),
        Axis("same", 1, 1),
        Axis("nan", math.nan),
    ]
    for given in ([], trials, trials[:1], trials[2:]):
        drawing = parallel(axes, given, loss_label=HOSTILE)
        parsed(drawing)
        assert "<script" not in drawing
    parsed(parallel([], trials, loss_label="loss"))
