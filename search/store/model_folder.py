"""Writes networks as folders of MLflow models: flavour `python_function`, without pickles.

Nothing of the network is loaded for that, so TensorFlow is not imported. What MLflow will run when
it serves the model is a copy of `models/bundle/served_model.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.search.store import mlflow_setup
from lstm_sweep.search.store.settings import Settings

#: what a served model needs, in the versions that are installed here
REQUIREMENTS = ("mlflow", "keras", "tensorflow", "numpy")
#: MLflow's types of the parameters of a request
PARAMETERS = {
    "top": "long",
    "surprise": "boolean",
    "length": "long",
    "temperature": "double",
    "seed": "long",
}


def write_symbols_model(
    settings: Settings, data: Path, folder: Path, alphabet: Alphabet, about: Any
) -> None:
    """Write the model of a network that predicts symbols; `about` is MLflow's `Model`.

    Folder `data` has its `model.keras` and `alphabet.json`, and whatever is to be kept with them.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import schema

    types = schema.DataType
    symbol: Any = types.string if alphabet.is_text else types.long
    if alphabet.ends:
        symbol = schema.AnyType()  # an id, or the text `<end>`
    sessions = types.string if alphabet.is_text else schema.Array(types.long)
    ranked = schema.Object(
        [schema.Property("symbol", symbol), schema.Property("probability", types.double)]
    )
    signature = ModelSignature(
        schema.Schema([schema.ColSpec(sessions, column_of(alphabet))]),
        schema.Schema(
            [
                schema.ColSpec(schema.Array(ranked), "next"),
                schema.ColSpec(schema.Array(types.double), "surprise", required=False),
                *(
                    [schema.ColSpec(types.double, "end_surprise", required=False)]
                    if alphabet.ends
                    else []
                ),
                schema.ColSpec(sessions, "continuation", required=False),
            ]
        ),
        schema.ParamSchema(
            [
                schema.ParamSpec(name, kind, served_model.DEFAULTS[name])
                for name, kind in PARAMETERS.items()
            ]
        ),
    )
    example = pd.DataFrame({column_of(alphabet): [example_session(alphabet)]})
    _write(settings, data, folder, about, signature, example)


def write_arrays_model(
    settings: Settings,
    data: Path,
    folder: Path,
    inputs: Mapping[str, NDArray[Any]],
    outputs: list[NDArray[Any]],
    about: Any,
) -> None:
    """Write the model of any Keras network; `inputs` are a batch by the names of its inputs.

    Folder `data` has its `model.keras`. `outputs` are what it makes of this batch.
    """
    from mlflow.models import ModelSignature

    named = {f"output_{number}": array for number, array in enumerate(outputs)}
    signature = ModelSignature(_arrays(inputs), _arrays(named))
    rows = {name: array[:1] for name, array in inputs.items()}
    example: Any = rows if len(rows) > 1 else next(iter(rows.values()))
    _write(settings, data, folder, about, signature, example)


def _arrays(named: Mapping[str, NDArray[Any]]) -> Any:
    """A schema of arrays, whose names are left out if there is one alone."""
    from mlflow.types.schema import Schema, TensorSpec

    return Schema(
        [
            TensorSpec(
                np.dtype(array.dtype), (-1, *array.shape[1:]), name if len(named) > 1 else None
            )
            for name, array in named.items()
        ]
    )


def _write(
    settings: Settings, data: Path, folder: Path, about: Any, signature: Any, example: Any
) -> None:
    mlflow = mlflow_setup.load()
    with mlflow_setup.applied(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's use of pandas
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module=Path(served_model.__file__).stem,
            data_path=str(data),
            code_paths=[served_model.__file__],
            mlflow_model=about,
            signature=signature,
            input_example=example,
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
        )


def column_of(alphabet: Alphabet) -> str:
    """Name of the column of a request that has the sessions."""
    return "text" if alphabet.is_text else "ids"


def example_session(alphabet: Alphabet) -> str | list[int]:
    """A few known symbols as a session; what they are in is not said of the training data."""
    middle = len(alphabet.symbols) // 3
    symbols = alphabet.symbols[middle : middle + 3]
    return "".join(map(str, symbols)) if alphabet.is_text else [int(one) for one in symbols]
