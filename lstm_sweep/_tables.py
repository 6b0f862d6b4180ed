"""What was found, as data frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: columns of `Sweep.trials()` before those of the config, with their types
TRIAL = {
    "run_id": "string",
    "status": "string",
    "outcome": "string",
    "phase": "string",
    "attempt": "Int64",
    "val_loss": "Float64",
    "best_epoch": "Int64",
    "epochs": "Int64",
    "parameters": "Int64",
    "seed": "Int64",
}
#: columns in epochs, which are fractions if an epoch has several rounds
IN_EPOCHS = ("best_epoch", "epochs")
SWEEP = {
    "run_id": "string",
    "state": "string",
    "trials_done": "Int64",
    "best_val_loss": "Float64",
    "data": "string",
}
PRUNED = {
    "runs": "Int64",
    "bytes": "Int64",
    "keeps_best": "boolean",
    "kept": "object",
}
FINDING = {
    "session": "string",
    "place": "Int64",
    "symbol": "object",
    "known": "boolean",
    "probability": "Float64",
    "likelier": "Int64",
    "expected": "object",
    "before": "object",
    "text": "string",
}
SCORE = {"session": "string", "symbols": "Int64", "loss": "Float64"}
CLASSIFIED = {
    "sequence": "string",
    "class": "string",
    "text": "string",
    "probability": "Float64",
    "probabilities": "object",
    "set": "object",
    "decided": "boolean",
    "label": "string",
}
VERDICT = {
    "session": "string",
    "p": "Float64",
    "by": "string",
    "why": "string",
    "symbols": "Int64",
    "at": "object",
}
#: before the name of a config's field that is the name of another column too
OF_CONFIG = "config_"


def trials(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Trials as `trials --json` lists them: a row for each, by its ID, in their order.

    Each field of the config has a column of its own.
    """
    configs = [
        {f"{OF_CONFIG}{name}" if name in TRIAL else name: value for name, value in config.items()}
        for config in (row["config"] for row in rows)
    ]
    whole = all(row.get("rounds_per_epoch", 1) == 1 for row in rows)
    own = TRIAL if whole else TRIAL | dict.fromkeys(IN_EPOCHS, "Float64")
    names = dict.fromkeys(name for config in configs for name in config)
    fields = {name: _type_of([config.get(name) for config in configs]) for name in names}
    merged = [{**row, **config} for row, config in zip(rows, configs, strict=True)]
    return frame(merged, own | fields, index="trial")


def curve(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], rounds_per_epoch: int
) -> pd.DataFrame:
    """These metrics of a trial by epoch, as `show --json` has them; NaN where there is none."""
    import pandas as pd

    kind = "int64" if rounds_per_epoch == 1 else "float64"
    index = pd.Index([row["epoch"] for row in rows], name="epoch", dtype=kind)
    columns = {name: [row.get(name) for row in rows] for name in metrics}
    return pd.DataFrame(columns, index=index, dtype="float64")


def rest_in_attrs(found: Mapping[str, Any], rows: str, types: Mapping[str, str]) -> pd.DataFrame:
    """The `rows` of what a command prints as JSON, with columns of these types."""
    table = frame(found[rows], types)
    table.attrs = {name: value for name, value in found.items() if name != rows}
    return table


def frame(
    rows: Sequence[Mapping[str, Any]], types: Mapping[str, str], index: str = ""
) -> pd.DataFrame:
    """Rows with columns of these types, by the values of `index` if it is given."""
    import pandas as pd

    named = pd.Index([row[index] for row in rows], name=index, dtype="str") if index else None
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=kind, index=named)
        for name, kind in types.items()
    }
    return pd.DataFrame(columns, index=named)


def _type_of(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return "Int64"
    if kinds and kinds <= {int, float}:
        return "Float64"
    known = {bool: "boolean", str: "string"}
    return known.get(kinds.pop(), "object") if len(kinds) == 1 else "object"
