from __future__ import annotations

import numpy as np
import pytest

from lstm_sweep.models import classes
from lstm_sweep.models.classes import Evidence
from lstm_sweep.search.report import class_figures, report_page
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.store import reader
from tests.unit.search.report.drawn import HOSTILE, parsed, texts, with_class
from tests.unit.search.report.found import findings, trial


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
        names, counts = found.classes.scores.confusion
        assert {*map(str, counts.ravel()), *names} == {*texts(root)}
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
