"""How the MLflow UI compares runs: the charts of the view that `run_list` keeps.

The form of sections and charts is that of mlflow 3.17 (components/runs-charts/runs-charts.types).
MLflow titles a chart by its metric, adds one of each further metric to its own sections, and shows
none whose metrics or fields no run has, as for runs of templates.
"""

from __future__ import annotations

from typing import Any

#: sections of ours, which MLflow sorts by their names, with the charts in a row
CURVES, CONFIGS = "Learning curves", "Trials by config"
COLUMNS = {CURVES: 2, CONFIGS: 1}
#: pixels of a chart in them
HEIGHT = 360
#: MLflow's own sections, below ours, the last one closed; it loses one that a view does not name
OTHERS = ("Model metrics", "System metrics")
#: metrics, and over what they are drawn: "" is the step, which is the number of a round
LINES = (
    ("val_loss", ""), ("val_loss", "epochs_done"),
    ("train_loss", "epochs_done"), ("val_accuracy", "epochs_done"),
)  # fmt: skip
#: fields of a config as parallel axes, and the loss that gives a trial its colour
AXES = (
    "direction", "layers", "layer_size", "learning_rate", "dropout", "sequence_length",
    "batch_size",
)  # fmt: skip
LOSS = "best_val_loss"


def charts() -> dict[str, Any]:
    """The part of a view with the charts: learning curves come first."""
    sections = [
        {"uuid": _id(name), "name": name, "display": name != OTHERS[-1], "isReordered": False}
        | ({"columns": COLUMNS[name], "cardHeight": HEIGHT} if name in COLUMNS else {})
        for name in (*COLUMNS, *OTHERS)
    ]
    cards = [_line(metric, over) for metric, over in LINES] + [_parallel()]
    return {
        "compareRunSections": sections,
        "compareRunCharts": [
            {"uuid": f"{_id('chart')}-{number}", "deleted": False, "isGenerated": False} | card
            for number, card in enumerate(cards, start=1)
        ],
    }


def _line(metric: str, over: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricSectionId": _id(CURVES),
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "metric" if over else "step",
        "selectedXAxisMetricKey": over,
        "useGlobalXaxisKey": False,  # the page has one choice of an axis for all charts
        "xAxisScaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "scaleType": "linear",
        "range": {},
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": True,
        "ignoreOutliers": False,
    }


def _parallel() -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "metricSectionId": _id(CONFIGS),
        "selectedParams": list(AXES),
        "selectedMetrics": [LOSS],
        "showAllRuns": True,
    }


def _id(name: str) -> str:
    return f"lstm-sweep-{name.lower().replace(' ', '-')}"
