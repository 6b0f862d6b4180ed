"""ONNX files compute what a Keras network with the same weights does, here by NumPy's arithmetic.

`tests/acceptance/test_sweep.py` compares those of trained networks with Keras itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from lstm_sweep.models.bundle import onnx as writing
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import parameters

ALPHABET, LENGTH = 7, 9
CONFIGS = [
    TrialConfig(
        direction=direction,
        embedding_size=embedding,
        layers=layers,
        layer_size=5,
        sequence_length=LENGTH,
    )
    for direction in ("uni", "bi")
    for embedding in (0, 3)
    for layers in (1, 2, 3)
]
Floats = NDArray[np.float32]


def weights_of(config: TrialConfig) -> list[Floats]:
    """Random weights in Keras's order: each layer's kernel, recurrent kernel and bias."""
    rng = np.random.default_rng(1)
    features, size = config.embedding_size or ALPHABET, config.layer_size
    both = 2 if config.direction == "bi" else 1
    shapes: list[tuple[int, ...]] = [(ALPHABET, features)] if config.embedding_size else []
    for _ in range(config.layers):
        shapes += [(features, 4 * size), (size, 4 * size), (4 * size,)] * both
        features = both * size
    shapes += [(features, ALPHABET), (ALPHABET,)]
    return [rng.normal(0, 0.7, shape).astype(np.float32) for shape in shapes]


def sigmoid(x: Floats) -> Floats:
    one = np.float32(1)
    return one / (one + np.exp(-x))


def layer(x: Floats, kernel: Floats, recurrent: Floats, bias: Floats) -> Floats:
    """Keras's LSTM: gates i, f, c, o; `[batch, time, features]` -> `[batch, time, size]`."""
    h = c = np.zeros((len(x), recurrent.shape[0]), np.float32)
    states = []
    for time in range(x.shape[1]):
        gates = x[:, time] @ kernel + h @ recurrent + bias
        i, f, new, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, axis=1)


def logits_of(weights: list[Floats], config: TrialConfig, windows: NDArray[np.int32]) -> Floats:
    rest = iter(weights)
    table = next(rest) if config.embedding_size else np.eye(ALPHABET, dtype=np.float32)
    x = table[windows]
    for number in range(1, config.layers + 1):
        forward = layer(x, next(rest), next(rest), next(rest))
        if config.direction == "uni":
            x = forward
            continue
        backward = layer(x[:, ::-1], next(rest), next(rest), next(rest))[:, ::-1]
        ends = np.concatenate([forward[:, -1:], backward[:, :1]], axis=2)
        x = ends if number == config.layers else np.concatenate([forward, backward], axis=2)
    return x[:, -1] @ next(rest) + next(rest)


def opened(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.label())
def test_files_predict_what_the_network_does(config: TrialConfig, tmp_path: Path) -> None:
    weights = weights_of(config)
    assert sum(array.size for array in weights) == parameters(config, ALPHABET)
    names = writing.write(weights, config, ALPHABET, tmp_path)
    expected = ["model.onnx", "step.onnx"] if config.direction == "uni" else ["model.onnx"]
    assert names == sorted(path.name for path in tmp_path.iterdir()) == expected
    windows = np.random.default_rng(2).integers(0, ALPHABET, (4, LENGTH)).astype(np.int32)
    right = logits_of(weights, config, windows)
    [found] = opened(tmp_path / "model.onnx").run(["logits"], {"symbols": windows})
    assert found == pytest.approx(right, abs=1e-5)
    if config.direction == "bi":
        return
    step = opened(tmp_path / "step.onnx")
    h = c = np.zeros((config.layers, len(windows), config.layer_size), np.float32)
    for part in np.split(windows, [1, 2, 6], axis=1):  # one by one, and several at once
        after, h, c = step.run(None, {"symbols": part, "h": h, "c": c})
        assert after.shape == (*part.shape, ALPHABET)
    assert after[:, -1] == pytest.approx(right, abs=1e-5)


def test_any_number_of_windows_goes_in_at_once(tmp_path: Path) -> None:
    config = CONFIGS[0]
    writing.write(weights_of(config), config, ALPHABET, tmp_path)
    session = opened(tmp_path / "model.onnx")
    for rows in (1, 130):
        windows = np.zeros((rows, LENGTH), np.int32)
        assert session.run(None, {"symbols": windows})[0].shape == (rows, ALPHABET)
    [given] = session.get_inputs()
    assert (given.name, given.type, given.shape[1]) == ("symbols", "tensor(int32)", LENGTH)


def test_the_files_are_of_standard_operators(tmp_path: Path) -> None:
    config = CONFIGS[0]
    for name in writing.write(weights_of(config), config, ALPHABET, tmp_path):
        model = onnx.load(tmp_path / name)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", writing.OPSET)]
        assert {node.domain for node in model.graph.node} == {""}
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("LSTM") == config.layers


def test_weights_that_no_file_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="an ONNX file at most 100"):
        writing.write(weights_of(CONFIGS[0]), CONFIGS[0], ALPHABET, tmp_path)
    assert [*tmp_path.iterdir()] == []
