"""ONNX files compute what a Keras network with the same weights does, by standard operators.

`tests/acceptance/test_sweep.py` compares those of trained networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lstm_sweep.models.bundle import onnx as writing
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from tests.conftest import in_full
from tests.contract.arithmetic import networks_of

pytestmark = pytest.mark.usefixtures("prepared")

ALPHABET, LENGTH = 7, 9
CONFIGS = [
    TrialConfig(
        direction=direction, embedding_size=embedding, layers=layers, layer_size=5,
        sequence_length=LENGTH, averaging="off",
    )
    for direction in ("uni", "bi")
    for embedding, layers in ((0, 2), (3, 1), (0, 1), (3, 3))
]  # fmt: skip


def opened(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def written(config: TrialConfig, folder: Path) -> tuple[Any, list[str]]:
    network = networks_of(config, ALPHABET, 1).scored
    return network, writing.write(network, config, ALPHABET, folder)


@pytest.mark.parametrize(
    "config", [CONFIGS[0], CONFIGS[5], *in_full(*CONFIGS[1:5], *CONFIGS[6:])], ids=str
)
def test_files_predict_what_the_network_does(config: TrialConfig, tmp_path: Path) -> None:
    network, names = written(config, tmp_path)
    expected = ["model.onnx", "step.onnx"] if config.direction == "uni" else ["model.onnx"]
    assert names == sorted(path.name for path in tmp_path.iterdir()) == expected
    for rows in (4, 130):
        windows = np.random.default_rng(2).integers(0, ALPHABET, (rows, LENGTH)).astype(np.int32)
        right = np.asarray(network.predict_on_batch(windows))
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


def test_the_files_are_of_standard_operators(tmp_path: Path) -> None:
    _, names = written(CONFIGS[0], tmp_path)
    for name in names:
        model = onnx.load(tmp_path / name)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", writing.OPSET)]
        assert {node.domain for node in model.graph.node} == {""}
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("LSTM") == CONFIGS[0].layers


def test_weights_that_no_file_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="an ONNX file at most 100"):
        written(CONFIGS[0], tmp_path)
    assert [*tmp_path.iterdir()] == []
