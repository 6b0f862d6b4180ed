"""Writes networks of ours as ONNX files, straight from their weights.

`model.onnx` computes what the Keras network does, on whole windows. `step.onnx`, of a
unidirectional network, takes symbols as they come, and its state with them. Both are standard
operators of ONNX, so that any runtime computes them; neither TensorFlow nor a converter is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import clean_process
from lstm_sweep.models.bundle.bundle import MODEL, Bundle
from lstm_sweep.models.bundle.readme import program_of
from lstm_sweep.models.config import ClassConfig, TrialConfig
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
#: name, kind and shape of an input or output
Value = tuple[str, str, Sequence[object]]


def write(model: Any, configs: Sequence[TrialConfig], alphabet: int, folder: Path) -> list[str]:
    """Write the ONNX files of a Keras network to a folder; return their names."""
    import onnx

    if (size := sum(array.nbytes for array in model.get_weights())) > MOST_BYTES:
        raise InputError(f"its weights have {size:,} bytes, an ONNX file at most {MOST_BYTES:,}")
    members = [one for one in model.layers if hasattr(one, "get_layer")] or [model]
    graphs = [
        _Graph(_arrays(one, config), config, alphabet).whole()
        for one, config in zip(members, configs, strict=True)
    ]
    onnx.save(_model(_averaged(graphs) if len(graphs) > 1 else graphs[0]), folder / WINDOWS)
    config = configs[0]
    if isinstance(config, ClassConfig) or config.direction == "bi":
        return [WINDOWS]
    onnx.save(_model(_Graph(_arrays(model, config), config, alphabet).by_step()), folder / STEP)
    return [WINDOWS, STEP]


def _averaged(graphs: Sequence[Any]) -> Any:
    """Graphs of classifiers as one; its logits are those of the mean of their probabilities."""
    from onnx import compose, helper, numpy_helper

    given = {
        "axis": np.array([0], np.int64),
        "log_count": np.array(np.log(len(graphs)), np.float32),
    }
    constants = [numpy_helper.from_array(array, name) for name, array in given.items()]
    nodes, rows = list[Any](), [f"{number}_row" for number in range(len(graphs))]
    for number, (graph, row) in enumerate(zip(graphs, rows, strict=True)):
        part = compose.add_prefix_graph(graph, f"{number}_", rename_inputs=False)
        constants += part.initializer
        nodes += [
            *part.node,
            helper.make_node("LogSoftmax", [f"{number}_logits"], [f"{number}_logs"]),
        ]
        nodes.append(helper.make_node("Unsqueeze", [f"{number}_logs", "axis"], [row]))
    nodes += [
        helper.make_node("Concat", rows, ["rows"], axis=0),
        helper.make_node("ReduceLogSumExp", ["rows"], ["sum"], axes=[0], keepdims=0),
        helper.make_node("Sub", ["sum", "log_count"], ["logits"]),
    ]
    first = graphs[0]
    return helper.make_graph(nodes, first.name, first.input, first.output, constants)


def _arrays(model: Any, config: TrialConfig) -> list[Floats]:
    """All weights, in the order in which they are used."""
    if not isinstance(config, ClassConfig):
        return list(model.get_weights())
    halves = ("forward", "backward") if config.direction == "bi" else ("forward",)
    names = [f"{half}_{number + 1}" for number in range(config.layers) for half in halves]
    names = [*(["embedding"] if config.embedding_size else []), *names]
    names += [*(["attention"] if config.pooling == "attention" else []), "logits"]
    return [array for name in names for array in model.get_layer(name).get_weights()]


def _model(graph: Any) -> Any:
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

    def __init__(self, arrays: Sequence[Floats], config: TrialConfig, alphabet: int) -> None:
        self._arrays, self._config, self._alphabet = iter(arrays), config, alphabet
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def whole(self) -> Any:
        """`symbols` of windows, `<int32>[batch, length]` -> `logits`, `[batch, alphabet]`.

        Of classes: of sequences, `[batch, time]`, with their number `lengths`, `[batch]`.
        """
        features, layers, config = self._features(), self._config.layers, self._config
        given: list[Value] = [("symbols", "INT32", ["batch", config.sequence_length])]
        name, pooling, lengths = "next_symbol", "last", ""
        if isinstance(config, ClassConfig):
            given = [("symbols", "INT32", ["batch", "time"]), ("lengths", "INT32", ["batch"])]
            name, pooling, lengths = "classifier", config.pooling, "lengths"
        for number in range(1, layers + 1):
            self._lstm(number, features, lengths=lengths)
            if number < layers or pooling != "last":  # [time, directions, batch, size] -> in time
                features = self._reordered(f"Y{number}", [0, 2, 1, 3], [0, 0, -1])
            else:  # [directions, batch, size] -> [batch, features]
                features = self._reordered(f"h{number}_next", [1, 0, 2], [0, -1])
        if pooling != "last":
            features = self._pooled(features, pooling)
        return self._made(name, given, [("logits", "FLOAT", ["batch", self._dense(features)])])

    def _pooled(self, features: str, pooling: str) -> str:
        """`[time, batch, features]` -> `[batch, features]`, without what is behind the ends."""
        number = self._constant("zero", np.array(0, np.int64))
        one = self._constant("one", np.array(1, np.int64))
        self._add("Gather", [self._add("Shape", ["in_time"], ["shape"]), number], ["time"])
        places = self._add("Range", [number, "time", one], ["places"])
        last = self._constant("last", np.array([1], np.int64))
        column = self._add("Unsqueeze", [places, last], ["place"])
        wide = self._add("Cast", ["lengths"], ["wide_lengths"], to=7)  # int64
        third = self._constant("third", np.array([2], np.int64))
        before = self._add("Less", [column, wide], ["before"])
        inside = self._add("Unsqueeze", [before, third], ["inside"])
        if pooling == "max":
            low = self._constant("low", np.array(-2, np.float32))
            self._add("Where", [inside, features, low], ["kept"])
            return self._add("ReduceMax", ["kept"], ["pooled"], axes=[0], keepdims=0)
        if pooling == "attention":
            kernel = self._constant("attention", next(self._arrays))
            scores = self._add("MatMul", [features, kernel], ["scores"])
            low = self._constant("low", np.array(-1e9, np.float32))
            self._add("Where", [inside, scores, low], ["kept"])
            self._add("Softmax", ["kept"], ["shares"], axis=0)
        else:
            counted = self._add("Cast", [inside], ["counted"], to=1)  # float32
            floats = self._add("Cast", ["lengths"], ["float_lengths"], to=1)
            divisor = self._add("Unsqueeze", [floats, last], ["divisor"])
            self._add("Div", [counted, divisor], ["shares"])
        self._add("Mul", [features, "shares"], ["weighted"])
        first = self._constant("first", np.array([0], np.int64))
        return self._add("ReduceSum", ["weighted", first], ["pooled"], keepdims=0)

    def by_step(self) -> Any:
        """Symbols and a state -> logits after each symbol and the state after the last.

        `symbols` are `<int32>[batch, time]`, of any length, such as 1. The state is `h` and `c`,
        `[layers, batch, size]`, zeros at first. `logits` are `[batch, time, alphabet]`.
        """
        features, numbers = self._features(), range(1, self._config.layers + 1)
        for name in "hc":
            self._add("Split", [name], [f"{name}{number}" for number in numbers], axis=0)
        for number in numbers:
            self._lstm(number, features, [f"h{number}", f"c{number}"])
            features = self._reordered(f"Y{number}", [0, 2, 1, 3], [0, 0, -1])
        self._dense(self._add("Transpose", [features], ["read"], perm=[1, 0, 2]))
        for name in "hc":
            ends = [f"{name}{number}_next" for number in numbers]
            self._add("Concat", ends, [f"{name}_next"], axis=0)
        shape = [self._config.layers, "batch", self._config.layer_size]
        given: list[Value] = [("symbols", "INT32", ["batch", "time"])]
        given += [(name, "FLOAT", shape) for name in "hc"]
        made: list[Value] = [("logits", "FLOAT", ["batch", "time", self._alphabet])]
        made += [(f"{name}_next", "FLOAT", shape) for name in "hc"]
        return self._made("next_symbol_step", given, made)

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        """An array that is stored in the file; its name."""
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _add(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any
    ) -> str:
        """A node; the name of its first output."""
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, outputs, **more))
        return outputs[0]

    def _made(self, name: str, given: Sequence[Value], made: Sequence[Value]) -> Any:
        from onnx import TensorProto, helper

        values = [
            [
                helper.make_tensor_value_info(one, getattr(TensorProto, kind), shape)
                for one, kind, shape in side
            ]
            for side in (given, made)
        ]
        return helper.make_graph(self._nodes, name, *values, self._constants)

    def _features(self) -> str:
        """Vectors of the symbols `symbols`, `[batch, time]` -> `[time, batch, features]`."""
        turned = self._add("Transpose", ["symbols"], ["in_time"], perm=[1, 0])
        if self._config.embedding_size:
            table = self._constant("embedding", next(self._arrays))
            return self._add("Gather", [table, turned], ["features"])
        wide = self._add("Cast", [turned], ["wide"], to=7)  # int64
        depth = self._constant("alphabet", np.array([self._alphabet], np.int64))
        values = self._constant("off_and_on", np.array([0, 1], np.float32))
        return self._add("OneHot", [wide, depth, values], ["features"], axis=-1)

    def _lstm(
        self, number: int, features: str, state: Sequence[str] = (), lengths: str = ""
    ) -> None:
        """A layer; its outputs are its states at all times, and the last of `h` and of `c`."""
        count = 2 if self._config.direction == "bi" else 1
        directions = [[next(self._arrays) for _ in range(3)] for _ in range(count)]
        parts = [
            (_ordered(kernel), _ordered(recurrent), np.concatenate([_ordered(bias), 0 * bias]))
            for kernel, recurrent, bias in directions  # Keras has no bias of the recurrence
        ]
        weights = [
            self._constant(f"{name}{number}", np.stack(one))
            for name, one in zip("WRB", zip(*parts, strict=True), strict=True)
        ]
        self._add(
            "LSTM",
            [features, *weights, lengths, *state],
            [f"Y{number}", f"h{number}_next", f"c{number}_next"],
            hidden_size=self._config.layer_size,
            direction="bidirectional" if count == 2 else "forward",
        )

    def _reordered(self, name: str, order: Sequence[int], shape: Sequence[int]) -> str:
        turned = self._add("Transpose", [name], [f"{name}_turned"], perm=order)
        wanted = self._constant(f"{name}_shape", np.array(shape, np.int64))
        return self._add("Reshape", [turned, wanted], [f"{name}_features"])

    def _dense(self, features: str) -> int:
        """The logits; their number."""
        kernel, bias = next(self._arrays), next(self._arrays)
        product = self._add("MatMul", [features, self._constant("kernel", kernel)], ["product"])
        self._add("Add", [product, self._constant("bias", bias)], ["logits"])
        return len(bias)


def _ordered(kernel: Floats) -> Floats:
    """A kernel or bias `[..., 4 * size]` as ONNX has it: `[4 * size, ...]`, other gates first."""
    gates = np.split(kernel, 4, axis=-1)
    return np.concatenate([gates[gate].T for gate in GATES])


#: of one file: `bytes`, and `max_difference`, the largest of a logit to the Keras network
Measured = dict[str, Any]


def add(
    model: Any, content: Bundle, inputs: Sequence[NDArray[Any]], folder: Path
) -> dict[str, Measured]:
    """Write the ONNX files of a bundle, compare them in a clean process, and say it in its README.

    `model` is the Keras network, `inputs` has an array for each of its inputs. What is returned is
    what `export --json` prints.
    """
    try:
        write(model, content.network[0], len(content.alphabet), folder)
    except InputError as error:
        raise InputError(f"trial {content.trial}: {error}; expected --format savedmodel") from None
    expected = np.asarray(model.predict_on_batch([*inputs] if len(inputs) > 1 else inputs[0]))
    made = clean_process.outputs(folder, "onnx", inputs)
    found = {
        name: {
            "bytes": (folder / name).stat().st_size,
            "max_difference": float(np.abs(logits - expected).max()),
        }
        for name, logits in zip((MODEL, WINDOWS, STEP), (expected, *made), strict=False)
    }
    with (folder / "README.md").open("a", encoding="utf-8") as file:
        file.write(_readme(found, len(inputs[0]), content))
    return found


def _readme(found: Mapping[str, Measured], compared: int, content: Bundle) -> str:
    """The section about ONNX; a network whose state is carried reads sessions from their heads."""
    config = content.config
    load = f"import json, numpy as np, onnxruntime\n{SESSION}"
    if isinstance(config, ClassConfig):
        rows, given, step = "sequences", "inputs `symbols` and `lengths`", ""
        named = 'dict(zip(("symbols", "lengths"), inputs))'
    else:
        rows, given, named = "windows", "input `symbols`", '{"symbols": inputs}'
        step = STEP_TEXT + config.carried * HEAD_TEXT if STEP in found else BOTH_WAYS_TEXT
    predict = f'session.run(["logits"], {named})[0]'
    program = program_of(config, content.alphabet, load, predict)
    table = "\n".join(
        f"| `{name}` | {one['bytes']:,} | {one['max_difference']:.2g} |"
        for name, one in found.items()
    )
    return TEMPLATE.format(
        compared=compared, rows=rows, given=given, step=step, table=table,
        program=program, file=WINDOWS,
    )  # fmt: skip


STEP_TEXT = """\
`step.onnx` takes symbols as they come: `symbols`, `int32 [batch, time]`, of any length, and the \
state `h` and `c`, `float32 [layers, batch, size]`, zeros at first. It returns `logits` after each \
symbol, and `h_next` and `c_next`. A window of `model.onnx` begins with zeros, so both predict the \
same for the symbols of one window."""
HEAD_TEXT = """ Feed it each session from its head on: first code 0, `<start>`, then its symbols."""
BOTH_WAYS_TEXT = """\
There is no `step.onnx`: the network reads its windows in both directions, so it needs all symbols \
of each."""
SESSION = 'session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])'
TEMPLATE = """
## ONNX

`{file}` has the {given} and the output `logits` of `model.keras`. {step}

Compared with Keras on {compared} {rows} of the test data:

| file | bytes | largest difference of a logit |
| --- | --- | --- |
{table}

It needs ONNX Runtime and NumPy alone. Run this in this folder:
{program}"""
