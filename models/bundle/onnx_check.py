"""Compares the ONNX files of a bundle with its Keras network: predictions, sizes and speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import clean_process
from lstm_sweep.models.bundle.onnx import STEP, WINDOWS

KERAS = "model.keras"
#: a call is timed again until it has been made so often, or for so many seconds
MOST_CALLS, TIMED_S = 20, 0.5


@dataclass(frozen=True)
class Measured:
    """What was found of one file; times are the shortest of several calls, with one thread."""

    bytes: int
    #: largest difference of a logit to the Keras network; 0 of that itself
    max_difference: float
    #: milliseconds for one window, and for all that were compared; None of a step
    window_ms: float | None
    windows_ms: float | None
    #: milliseconds for one symbol more of one sequence; None of whole windows
    symbol_ms: float | None = None


def check(
    predict: Callable[[NDArray[np.int32]], Any], folder: Path, windows: NDArray[np.int32]
) -> dict[str, Measured]:
    """Compare and time the files of a bundle, in a clean process with ONNX Runtime.

    `predict` is the Keras network. `windows` are `<int32>[windows, length]`.

    Raises:
        RuntimeError: that process could not load the files or predict.
    """
    expected = np.asarray(predict(windows))
    one, every = (shortest(lambda: predict(windows[:count])) for count in (1, len(windows)))  # noqa: B023
    found = {KERAS: Measured(_size(folder / KERAS), 0.0, one, every)}
    whole, times, *step = clean_process.outputs(folder, "onnx", [windows])
    found[WINDOWS] = Measured(
        _size(folder / WINDOWS), _difference(whole, expected), float(times[0]), float(times[1])
    )
    if step:
        found[STEP] = Measured(
            _size(folder / STEP), _difference(step[0], expected), None, None, float(times[2])
        )
    return found


def _size(file: Path) -> int:
    return file.stat().st_size


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max())


def shortest(call: Callable[[], object]) -> float:
    """Milliseconds of the shortest of several calls, after a first one."""
    call()
    times, end = list[float](), time.perf_counter() + TIMED_S
    while not times or (len(times) < MOST_CALLS and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return min(times)


def to_dict(found: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """The comparison as `export --json` prints it; what does not apply is left out."""
    return {
        name: {
            key: round(value, 4) if key.endswith("_ms") else value
            for key, value in asdict(one).items()
            if value is not None
        }
        for name, one in found.items()
    }


def readme(
    found: Mapping[str, Measured], windows: int, past: str, length: int, *, carried: bool
) -> str:
    """The section about ONNX for the README of a bundle; `past` is an example, as Python.

    A network that was `carried` from window to window reads sessions from their heads on.
    """
    rows = "\n".join(_row(name, one) for name, one in found.items())
    step = STEP_TEXT + carried * HEAD_TEXT if STEP in found else BOTH_WAYS_TEXT
    return TEMPLATE.format(
        windows=windows, rows=rows, step=step, past=past, length=length, file=WINDOWS
    )


def _row(name: str, one: Measured) -> str:
    times = [one.window_ms, one.windows_ms, one.symbol_ms]
    cells = ["-" if value is None else f"{value:.3g}" for value in times]
    return f"| `{name}` | {one.bytes:,} | {' | '.join(cells)} | {one.max_difference:.2g} |"


STEP_TEXT = """\
`step.onnx` takes symbols as they come: `symbols`, `int32 [batch, time]`, of any length, and the \
state `h` and `c`, `float32 [layers, batch, size]`, zeros at first. It returns `logits` after each \
symbol, and `h_next` and `c_next`. A window of `model.onnx` begins with zeros, so both predict the \
same for the symbols of one window."""
HEAD_TEXT = """ Feed it each session from its head on: first code 0, `<start>`, then its symbols."""
BOTH_WAYS_TEXT = """\
There is no `step.onnx`: the network reads its windows in both directions, so it needs all symbols \
of each."""
TEMPLATE = """
## ONNX

`{file}` has the input `symbols` and the output `logits` of `model.keras`. {step}

Compared with Keras on {windows} windows of the test data; milliseconds with one thread of the CPU \
that exported it:

| file | bytes | a window | {windows} windows | a symbol more | largest difference of a logit |
| --- | --- | --- | --- | --- | --- |
{rows}

It needs ONNX Runtime and NumPy alone. Run this in this folder:

```python
import json, numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
alphabet = json.load(open("alphabet.json", encoding="utf-8"))
symbols = alphabet["reserved"] + alphabet["symbols"]
past = {past}
window = [symbols.index(s) if s in symbols else 1 for s in past][-{length}:]
window = [0] * ({length} - len(window)) + window
[logits] = session.run(["logits"], {{"symbols": np.array([window], "int32")}})
chances = np.exp(logits[0] - logits[0].max()) / np.exp(logits[0] - logits[0].max()).sum()
for code in chances.argsort()[::-1][:5]: print(repr(symbols[code]), round(float(chances[code]), 4))
```
"""
