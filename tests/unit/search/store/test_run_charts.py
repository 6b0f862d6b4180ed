from __future__ import annotations

import json
from typing import Any

import pytest

from lstm_sweep.models.config import FIELDS
from lstm_sweep.search.store.experiment import CONFIGS, CURVES, KEY, charts, view_tag
from lstm_sweep.search.store.tags import Tag


@pytest.fixture
def view() -> Any:
    return json.loads(view_tag()[Tag.VIEW_STATE + KEY])


def test_charts_and_sections_are_in_the_view(view: Any) -> None:
    assert view.items() >= charts().items()
    sections = {one["uuid"]: one["name"] for one in view["compareRunSections"]}
    assert list(sections.values()) == [CURVES, CONFIGS, "Model metrics", "System metrics"]
    # MLflow sorts those before its own by their names
    assert sorted([CURVES, CONFIGS], key=str.lower) == [CURVES, CONFIGS]
    cards = view["compareRunCharts"]
    assert len({one["uuid"] for one in cards} | set(sections)) == len(cards) + len(sections)
    assert {sections[one["metricSectionId"]] for one in cards} == {CURVES, CONFIGS}


def test_learning_curves_come_first(view: Any) -> None:
    first, second, *_ = view["compareRunCharts"]
    assert (first["type"], first["metricKey"], first["xAxisKey"]) == ("LINE", "val_loss", "step")
    drawn_over = second["xAxisKey"], second["selectedXAxisMetricKey"]
    assert (second["metricKey"], *drawn_over) == ("val_loss", "metric", "epochs_done")


def test_parallel_axes_are_fields_of_a_config(view: Any) -> None:
    [parallel] = [one for one in view["compareRunCharts"] if one["type"] == "PARALLEL"]
    assert set(parallel["selectedParams"]) <= set(FIELDS)
    assert parallel["selectedMetrics"] == ["best_val_loss"]
