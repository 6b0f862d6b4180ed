"""Runs an exported network in a new Python process, which has none of this program's code."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: source of the programs, by format; `-I` keeps them from importing this package
PROGRAMS = {
    "keras": """
import sys, keras, numpy as np
model = keras.models.load_model(sys.argv[1] + "/model.keras", safe_mode=True)
given = list(np.load(sys.argv[2]).values())
made = model.predict_on_batch(given if len(given) > 1 else given[0])
np.savez(sys.argv[3], *keras.tree.flatten(made))
""",
    "savedmodel": """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1] + "/saved_model")
given = list(np.load(sys.argv[2]).values())
made = model.serve(given if len(given) > 1 else given[0])
np.savez(sys.argv[3], *[part.numpy() for part in tf.nest.flatten(made)])
""",
}


def predict(folder: Path, format: str, windows: NDArray[np.int32]) -> NDArray[np.float32]:
    """Logits `<float32>[rows, alphabet]` of `windows` by the network of a bundle.

    Raises:
        RuntimeError: the process could not load the network or predict.
    """
    [logits] = outputs(folder, format, [windows])
    return logits


def outputs(folder: Path, format: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of an exported network for its inputs, an array each.

    Raises:
        RuntimeError: the process could not load the network or predict.
    """
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        given, returned = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(given, *inputs, allow_pickle=False)
        command = [sys.executable, "-I", "-c", PROGRAMS[format]]
        done = subprocess.run(
            [*command, str(folder), str(given), str(returned)],
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
        )
        if done.returncode:
            raise RuntimeError(f"a clean process cannot use {folder}: {done.stderr.strip()[-500:]}")
        with np.load(returned, allow_pickle=False) as arrays:
            return list(arrays.values())
