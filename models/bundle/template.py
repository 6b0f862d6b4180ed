"""Writes bundles of templates: networks of which only Keras knows what they compute."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle.bundle import CONFIG, METRICS, MODEL, SAVED_MODEL, write_json

TEMPLATE_LOAD = """\
import keras
model = keras.models.load_model("model.keras", safe_mode=True)
model.summary()
"""
TEMPLATE_README = """# The model of trial {trial}

The template returned it with loss {loss:.4f}.

- `model.keras`: the network.
- `config.json`: the template's hyperparameters, `argument:line`. `metrics.json`: how good it is.

It needs Keras alone, and your own layers if it has some. Run this in this folder:

```python
{load}```
"""


def inputs_of(model: Any, file: Path) -> list[NDArray[Any]]:
    """Read training inputs that were kept in a file: an array for each input of the model."""
    with np.load(file, allow_pickle=False) as given:
        arrays = {name.removeprefix("in/"): rows for name, rows in given.items()}
    wanted = list(getattr(model, "inputs", None) or [])
    if len(wanted) != len(arrays):
        return list(arrays.values())
    in_order = all(name.isdecimal() for name in arrays)
    names = list(arrays) if in_order else [tensor.name for tensor in wanted]
    if not arrays.keys() >= set(names):  # the names of its layers are others
        return list(arrays.values())
    return [arrays[name].astype(tensor.dtype) for name, tensor in zip(names, wanted, strict=True)]


def write_template_bundle(
    model: Any | None,
    weights: Path,
    config: dict[str, Any],
    metrics: dict[str, Any],
    folder: Path,
    format: str,
) -> None:
    """Write the network of a template: its file, and with `savedmodel` a SavedModel, too."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / MODEL)
    if format == "savedmodel" and model:
        model.export(folder / SAVED_MODEL, format="tf_saved_model", verbose=False)
    write_json(folder / CONFIG, config)
    write_json(folder / METRICS, metrics)
    text = TEMPLATE_README.format(**metrics, load=TEMPLATE_LOAD)
    (folder / "README.md").write_text(text, encoding="utf-8")
