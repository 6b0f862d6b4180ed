"""Runs an exported network in a new Python process, which has none of this program's code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle.readme import STEP
from lstm_sweep.models.errors import InputError

#: before each program: whatever this package is installed as, it cannot be imported
WITHOUT_US = 'import sys; sys.modules["lstm_sweep"] = None\n'
#: source of the programs, by format, and of one that keeps the state of a network
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
    # logits of whole windows, and logits of the step that is fed symbol by symbol
    "onnx": """
import os, sys, numpy as np, onnxruntime
given = list(np.load(sys.argv[2]).values())
def opened(name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(sys.argv[1] + "/" + name, options, ["CPUExecutionProvider"])
whole = opened("model.onnx")
names = [one.name for one in whole.get_inputs()]
made = whole.run(["logits"], dict(zip(names, given)))
if os.path.exists(sys.argv[1] + "/step.onnx"):
    step = opened("step.onnx")
    [windows] = given
    layers, _, size = step.get_inputs()[1].shape
    h = c = np.zeros((layers, len(windows), size), "float32")
    for symbols in windows.T[:, :, None]:
        logits, h, c = step.run(None, {"symbols": symbols, "h": h, "c": c})
    made.append(logits[:, -1])
np.savez(sys.argv[3], *made)
""",
    # logits after the last of codes `[rows, time]`, which are read one by one as the README says
    "by_symbol": f"""
import sys, keras, numpy as np
model = keras.models.load_model(sys.argv[1] + "/model.keras", safe_mode=True)
[codes] = np.load(sys.argv[2]).values()
{STEP}
states = None
for column in codes.T:
    logits, states = step(column, states)
np.savez(sys.argv[3], np.asarray(logits))
""",
}


def outputs(folder: Path, program: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Outputs of an exported network for its inputs, an array each, by one of `PROGRAMS`.

    It runs in a new process, which finds packages where this one does, also by PYTHONPATH and in
    the user's own folder, but not in its working folder.
    """
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
        given, returned = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(given, *inputs, allow_pickle=False)
        command = [sys.executable, "-P", "-c", WITHOUT_US + PROGRAMS[program]]
        done = subprocess.run(
            [*command, str(folder), str(given), str(returned)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
            env=_environment(),
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise InputError(
                f"the bundle cannot be checked: {said[-1]}; expected {sys.executable} to load it"
            )
        with np.load(returned, allow_pickle=False) as arrays:
            return list(arrays.values())


def _environment() -> dict[str, str]:
    """The environment, with folders of packages that hold in any working folder."""
    packages = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    absolute = os.pathsep.join(str(Path(folder).absolute()) for folder in packages if folder)
    return {**os.environ, "PYTHONPATH": absolute}
