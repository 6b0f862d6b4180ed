from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models import classes
from lstm_sweep.models.classes import Evidence
from lstm_sweep.search.report import charts, class_figures, report_page
from lstm_sweep.search.report.charts import (
    CHARACTER,
    TICKS,
    Band,
    Bar,
    Dot,
    Points,
    bars,
    best_over_time,
    learning_curves,
    scale,
    scatter,
)
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.store import reader
from tests.unit.search.report.found import (
    HOSTILE,
    SVG,
    centre,
    findings,
    parsed,
    points,
    texts,
    trial,
    with_class,
)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1.7e308, 5e-324])
def test_any_value_can_be_drawn(value: float) -> None:
    drawing = bars([Bar(HOSTILE, value, HOSTILE), Bar("b", 1.0, "")], title=HOSTILE)
    assert len(with_class(parsed(drawing), "bar")) == 2
    parsed(bars([], title="nothing"))
    parsed(bars([Bar("a", value, "")], title="one"))


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


finite = st.floats(min_value=-1e100, max_value=1e100)


@given(st.lists(finite, min_size=1), st.booleans())
def test_every_scale_has_finite_places_and_ticks(values: list[float], log: bool) -> None:
    found = scale(values, 10, 500, log=log)
    if found is None:
        assert log and all(value < 1e-100 for value in values)
        return
    ticks = found.ticks()
    assert all(math.isfinite(tick) for tick in ticks) and len(ticks) <= TICKS + 2
    for value in [*values, *ticks]:
        assert 10 <= found(value) <= 500 or (log and value < 1e-100)


def test_what_comes_from_outside_is_escaped_and_stays_well_formed() -> None:
    made = charts.element("text", HOSTILE, aria_label=HOSTILE, class_="a b")
    found = ElementTree.fromstring(made)
    assert "<script>" not in made and len(found) == 0
    assert found.text == "</svg><script>alert('1')</script> & \"x\" \ufffd\ufffd[31m\ufffd"
    assert found.get("aria-label") == found.text and found.get("class") == "a b"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_there_is_no_place_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        charts.element("circle", cx=value)


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "REPLICATES", 100)


def told(count: int = 3, noise: float = 1.0, name: str = "class", scale: float = 1.0) -> Findings:
    """A sweep whose best trial has 300 sequences mostly right, beside a baseline with noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % count
    best = rng.normal(size=(300, count)) + 2.5 * np.eye(count)[labels]
    other = scale * best + noise * rng.normal(size=best.shape)
    names = [f"{name} {k}" for k in range(count)]
    texts_of = lambda wrong: [HOSTILE] * len(wrong)  # noqa: E731
    found = Evidence.of("s/0", best, labels, names, {"naive_bayes": other}, texts_of)
    return findings(trial(0, 0.5), objective=reader.CLASSES.objective, classes=found)


@pytest.mark.parametrize("count", [2, 12, 40])
def test_each_cell_is_a_true_class_and_what_it_was_taken_for(count: int) -> None:
    found = told(count, name=HOSTILE if count == 12 else "class")
    [figure] = class_figures.confusion(found)
    root = parsed(figure.picture)
    shown = min(count, 30)
    assert len(with_class(root, "cell")) == shown**2
    assert len(with_class(root, "cell", "right")) == shown
    assert found.classes
    if count == 2:
        matrix = found.classes.scores.confusion
        names, counts = matrix.classes, matrix.counts
        assert {*map(str, itertools.chain(*counts)), *names} == {*texts(root)}
    assert ("rarest classes" in figure.caption) == (count == 40)


@pytest.mark.parametrize(
    ("noise", "scale", "said"),
    [
        (0.01, 1.0, "Naive bayes is as good: its log loss is 0.000"),
        (0.01, 0.05, "Naive bayes is right as often ("),
        (0.01, 2.5, "Naive bayes is better: its log loss is 0."),
        (4.0, 1.0, None),
    ],
)
def test_a_baseline_that_is_as_good_is_named(noise: float, scale: float, said: str | None) -> None:
    first, *others = class_figures.class_sentences(told(noise=noise, scale=scale))
    assert "of 300 validation sequences; the most frequent class is 33.3 %" in first
    assert [one[: len(said or "")] for one in others] == ([said] if said else [])


def test_the_page_has_scores_baselines_classes_and_what_is_wrong() -> None:
    found = told()
    page = report_page.report_page(found, "now")
    titles = [title for title, _ in class_figures.class_tables(found)]
    assert len(titles) == 4 and all(title in page for title in titles)
    assert "confusion matrix" in page and "<script>alert" not in page
    scores = dict(class_figures.class_tables(found))[titles[0]].rows
    assert found.classes and ["accuracy", str(found.classes.scores.measures["accuracy"])] in [
        [*row] for row in scores
    ]
    plain = report_page.report_page(findings(trial(0, 0.5)), "now")
    assert "How well classes are told" not in plain
