"""Writes networks of ours as ONNX files, straight from their weights.

`model.onnx` computes what the Keras network does, on whole windows. `step.onnx`, of a
unidirectional network, takes symbols as they come, and its state with them. Both are standard
operators of ONNX, so that any runtime computes them; neither TensorFlow nor a converter is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import clean_process
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError

#: names of the files
WINDOWS, STEP = "model.onnx", "step.onnx"
#: version of the standard operators, which runtimes have had since 2022, and of the file's layout
OPSET, IR_VERSION = 17, 8
#: bytes of the largest file
MOST_BYTES = 2**31 - 2**20
#: ONNX's order of an LSTM's gates (input, output, forget, cell) among Keras's (i, f, c, o)
GATES = (0, 3, 1, 2)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Direction:
    """Weights of one LSTM layer in one direction, as Keras has them."""

    #: `[features, 4 * size]`, `[size, 4 * size]` and `[4 * size]`
    kernel: Floats
    recurrent: Floats
    bias: Floats


@dataclass(frozen=True)
class Weights:
    """Weights of a network."""

    alphabet: int
    #: `[alphabet, embedding_size]`; None: symbols are one-hot vectors
    embedding: Floats | None
    #: of each layer its directions, forward first
    layers: tuple[tuple[Direction, ...], ...]
    #: `[features, alphabet]` and `[alphabet]`
    kernel: Floats
    bias: Floats


def weights_of(arrays: Sequence[Floats], config: TrialConfig, alphabet: int) -> Weights:
    """The weights of a network from a list of them in the order of Keras's `get_weights`."""
    rest = iter(arrays)
    embedding = next(rest) if config.embedding_size else None
    directions = 2 if config.direction == "bi" else 1
    layers = tuple(
        tuple(Direction(next(rest), next(rest), next(rest)) for _ in range(directions))
        for _ in range(config.layers)
    )
    return Weights(alphabet, embedding, layers, next(rest), next(rest))


def write(arrays: Sequence[Floats], config: TrialConfig, alphabet: int, folder: Path) -> list[str]:
    """Write the ONNX files of a network to a folder; return their names.

    `arrays` are all weights, in the order of Keras's `get_weights`.

    Raises:
        InputError: they are too large for such a file.
    """
    import onnx

    if (size := sum(array.nbytes for array in arrays)) > MOST_BYTES:
        raise InputError(f"its weights have {size:,} bytes, an ONNX file at most {MOST_BYTES:,}")
    weights = weights_of(arrays, config, alphabet)
    onnx.save(_model(_windows(weights, config.sequence_length)), folder / WINDOWS)
    if config.direction == "bi":
        return [WINDOWS]
    onnx.save(_model(_step(weights)), folder / STEP)
    return [WINDOWS, STEP]


def _model(graph: Any) -> Any:
    """A checked model of a graph."""
    from onnx import checker, helper

    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lstm-sweep",
    )
    checker.check_model(model, full_check=True)
    return model


class _Graph:
    """A graph as it is built, node by node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An array that is stored in the file; its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> str:
        """A node; the name of its first output that has one."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, **more))
        return next(name for name in outputs if name)


def _features(graph: _Graph, weights: Weights) -> str:
    """Vectors of the symbols `symbols`, `[batch, time]` -> `[time, batch, features]`."""
    turned = graph.add("Transpose", ["symbols"], ["in_time"], perm=[1, 0])
    if weights.embedding is not None:
        table = graph.constant("embedding", weights.embedding)
        return graph.add("Gather", [table, turned], ["features"])
    wide = graph.add("Cast", [turned], ["wide"], to=7)  # int64
    depth = graph.constant("alphabet", np.array([weights.alphabet], np.int64))
    values = graph.constant("off_and_on", np.array([0, 1], np.float32))
    return graph.add("OneHot", [wide, depth, values], ["features"], axis=-1)


def _lstm(
    graph: _Graph,
    number: int,
    features: str,
    layer: tuple[Direction, ...],
    outputs: Sequence[str],
    state: Sequence[str] = (),
) -> str:
    """An LSTM layer; `outputs` are the names of its states at all times, and of its last two."""
    size = layer[0].recurrent.shape[0]
    given = [
        graph.constant(f"W{number}", np.stack([_ordered(one.kernel) for one in layer])),
        graph.constant(f"R{number}", np.stack([_ordered(one.recurrent) for one in layer])),
        graph.constant(f"B{number}", np.stack([_biases(one.bias) for one in layer])),
    ]
    if state:
        given += ["", *state]
    direction = "bidirectional" if len(layer) == 2 else "forward"
    return graph.add("LSTM", [features, *given], outputs, hidden_size=size, direction=direction)


def _ordered(kernel: Floats) -> Floats:
    """A kernel `[inputs, 4 * size]` as ONNX has it, `[4 * size, inputs]`, in its order of gates."""
    gates = np.split(kernel, 4, axis=1)
    return np.concatenate([gates[gate].T for gate in GATES])


def _biases(bias: Floats) -> Floats:
    """Both biases that ONNX has, `[8 * size]`; Keras has no bias of the recurrence."""
    gates = np.split(bias, 4)
    return np.concatenate([*(gates[gate] for gate in GATES), np.zeros_like(bias)])


def _windows(weights: Weights, length: int) -> Any:
    """Windows `symbols`, `<int32>[batch, length]` -> `logits`, `[batch, alphabet]`."""
    from onnx import TensorProto, helper

    graph = _Graph()
    features = _features(graph, weights)
    last = len(weights.layers)
    for number, layer in enumerate(weights.layers, start=1):
        if number < last:  # [time, directions, batch, size] -> [time, batch, features]
            states = _lstm(graph, number, features, layer, [f"Y{number}"])
            turned = graph.add("Transpose", [states], [f"turned{number}"], perm=[0, 2, 1, 3])
            shape = graph.constant(f"shape{number}", np.array([0, 0, -1], np.int64))
            features = graph.add("Reshape", [turned, shape], [f"features{number}"])
        else:  # the last state of each direction, [directions, batch, size] -> [batch, features]
            ends = _lstm(graph, number, features, layer, ["", f"ends{number}"])
            turned = graph.add("Transpose", [ends], [f"turned{number}"], perm=[1, 0, 2])
            width = len(layer) * layer[0].recurrent.shape[0]
            shape = graph.constant("flat", np.array([-1, width], np.int64))
            features = graph.add("Reshape", [turned, shape], ["read"])
    _dense(graph, weights, features)
    given = helper.make_tensor_value_info("symbols", TensorProto.INT32, ["batch", length])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights.alphabet])
    return helper.make_graph(graph.nodes, "next_symbol", [given], [logits], graph.constants)


def _step(weights: Weights) -> Any:
    """Symbols and a state -> logits after each symbol and the state after the last.

    `symbols` are `<int32>[batch, time]`, of any length, such as 1. The state is `h` and `c`,
    `[layers, batch, size]`, zeros at first. `logits` are `[batch, time, alphabet]`.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    features = _features(graph, weights)
    count, size = len(weights.layers), weights.layers[0][0].recurrent.shape[0]
    own = [f"{name}{number}" for name in "hc" for number in range(1, count + 1)]
    for name in "hc":
        parts = [one for one in own if one.startswith(name)]
        graph.add("Split", [name], parts, axis=0)
    axis = graph.constant("directions", np.array([1], np.int64))
    for number, layer in enumerate(weights.layers, start=1):
        outputs = [f"Y{number}", f"h_end{number}", f"c_end{number}"]
        state = [f"h{number}", f"c{number}"]
        states = _lstm(graph, number, features, layer, outputs, state)
        features = graph.add("Squeeze", [states, axis], [f"features{number}"])
    turned = graph.add("Transpose", [features], ["read"], perm=[1, 0, 2])
    _dense(graph, weights, turned)
    for name in "hc":
        ends = [f"{name}_end{number}" for number in range(1, count + 1)]
        graph.add("Concat", ends, [f"{name}_next"], axis=0)
    kind = TensorProto.FLOAT
    given = [helper.make_tensor_value_info("symbols", TensorProto.INT32, ["batch", "time"])]
    given += [helper.make_tensor_value_info(name, kind, [count, "batch", size]) for name in "hc"]
    made = [helper.make_tensor_value_info("logits", kind, ["batch", "time", weights.alphabet])]
    made += [
        helper.make_tensor_value_info(f"{name}_next", kind, [count, "batch", size]) for name in "hc"
    ]
    return helper.make_graph(graph.nodes, "next_symbol_step", given, made, graph.constants)


def _dense(graph: _Graph, weights: Weights, features: str) -> None:
    kernel = graph.constant("kernel", weights.kernel)
    bias = graph.constant("bias", weights.bias)
    graph.add("Add", [graph.add("MatMul", [features, kernel], ["product"]), bias], ["logits"])


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
