"""How the MLflow UI shows the runs of an experiment: a shared view, and a text that leads there.

Both are tags of the experiment. An address with `viewStateShareKey` opens the view (mlflow 3.17,
components/experiment-page), the description is at the top of the experiment's pages. Columns
are `attributes`, `metrics`, `params` and `tags` with a name in backquotes. Which parents are open
cannot be shared; sorted by a metric, MLflow lists the runs of trials beside those of sweeps.
"""

from __future__ import annotations

import json

from lstm_sweep.search.store.run_charts import charts
from lstm_sweep.search.store.tags import Tag

#: key of the view in addresses
KEY = "lstm-sweep"
#: metrics, fields of a config and tags that are columns, in order
METRICS = ("best_val_loss", "bits_per_symbol", "best_epoch")
PARAMS = (
    "parameters", "direction", "layers", "layer_size", "learning_rate", "dropout",
    "sequence_length", "batch_size",
)  # fmt: skip
TAGS = (Tag.PHASE, Tag.OUTCOME)


def view_tag() -> dict[str, str]:
    """The tag with the view: runs by their loss, the lowest first, with what a search is about."""
    named = {"tags": TAGS, "metrics": METRICS, "params": PARAMS}
    columns = [f"{kind}.`{name}`" for kind, names in named.items() for name in names]
    state = {
        "orderByKey": f"metrics.`{METRICS[0]}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        **charts(),
    }
    return {Tag.VIEW_STATE + KEY: json.dumps(state, separators=(",", ":"))}


def page_of(experiment_id: str, *, curves: bool = False) -> str:
    """Address of the list of runs in this view, below that of the server; `curves` opens charts."""
    mode = "&compareRunsMode=CHART" if curves else ""
    path = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{path}&viewStateShareKey={KEY}{mode}"


def description(experiment_id: str) -> str:
    """What an experiment is, in Markdown; its list shows the beginning as plain text."""
    return (
        f"Sweeps of lstm-sweep: [runs, lowest loss first]({page_of(experiment_id)}), "
        f"[learning curves]({page_of(experiment_id, curves=True)}). A sweep is a run, and its "
        f"trials are the children of that."
    )
