"""How the MLflow UI shows the list of runs: a shared view state, which is a tag of the experiment.

An address with `viewStateShareKey` opens it (mlflow 3.17, components/experiment-page). Its columns
are `attributes`, `metrics`, `params` and `tags` with a name in backquotes. Which parents are open
cannot be shared; sorted by a metric, MLflow lists the runs of trials beside those of sweeps.
"""

from __future__ import annotations

import json

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
    }
    return {Tag.VIEW_STATE + KEY: json.dumps(state)}
