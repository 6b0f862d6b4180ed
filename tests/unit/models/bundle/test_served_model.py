"""What a served model answers; its network is a stand-in.

`tests/acceptance/test_serving.py` has a real one.
"""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.bundle.served_model import NextSymbolModel, _load_pyfunc
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Networks
from lstm_sweep.models.data.alphabet import END, Alphabet
from lstm_sweep.models.network.evaluation import continued, until_ended
from lstm_sweep.models.network.program import StepwiseProgram
from lstm_sweep.models.scoring import log_softmax

LENGTH = 4


class Network:
    """Logits that depend on each symbol of the window and its place."""

    input_shape = (None, LENGTH)

    def __init__(self, alphabet: int) -> None:
        self.output_shape = (None, alphabet)
        self._table = np.random.default_rng(3).normal(0, 2, (LENGTH, alphabet, alphabet))
        self.rows = list[int]()

    def predict_on_batch(self, windows: NDArray[np.int32]) -> NDArray[np.float32]:
        """The sum of what each place says."""
        self.rows.append(len(windows))
        logits: NDArray[np.float32] = sum(
            table[windows[:, place]] for place, table in enumerate(self._table)
        ).astype(np.float32)
        return logits


TEXT, IDS = Alphabet(tuple("abcdef")), Alphabet((3, 7, 20))


def model_of(alphabet: Alphabet, folder: Path, monkeypatch: pytest.MonkeyPatch) -> NextSymbolModel:
    text = json.dumps(alphabet.to_dict())
    (folder / "alphabet.json").write_text(text, encoding="utf-8")
    network = Network(len(alphabet))
    monkeypatch.setattr(served_model, "_network", lambda folder: network)
    found = _load_pyfunc(str(folder))
    assert isinstance(found, NextSymbolModel)
    return found


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextSymbolModel:
    return model_of(TEXT, tmp_path, monkeypatch)


def windows_of(text: str) -> NDArray[np.int32]:
    """The window before each symbol, and after the last."""
    codes = [0] * LENGTH + TEXT.encode(text).tolist()
    return np.array([codes[at : at + LENGTH] for at in range(len(text) + 1)], np.int32)


def test_each_session_gets_the_likeliest_symbols_and_the_surprise_of_its_own(
    model: NextSymbolModel,
) -> None:
    texts = ["abcdefabc", "", "aXb"]
    found = model.predict(pd.DataFrame({"text": texts}), {"top": 3})
    for text, one in zip(texts, found, strict=True):
        logs = log_softmax(Network(8).predict_on_batch(windows_of(text)))
        true = TEXT.encode(text)
        assert one["surprise"] == pytest.approx(-logs[np.arange(len(text)), true])
        best = sorted(range(2, 8), key=lambda code: -logs[-1, code])[:3]
        assert [next["symbol"] for next in one["next"]] == TEXT.decode(best)
        chances = [next["probability"] for next in one["next"]]
        assert chances == pytest.approx(np.exp(logs[-1, best]))
        assert "continuation" not in one
    json.dumps(found)  # a server has to


def test_a_request_for_too_many_symbols_is_refused(
    model: NextSymbolModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(served_model.MOST_SYMBOLS_VARIABLE, "50")
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        (["abc" * 17], {}, "its sessions have 51 symbols, expected at most 50"),
        ([""] * 51, {"top": 1}, "its sessions have 51 symbols"),
        (["a", "b"], {"length": 26}, "to be continued by 52 symbols"),
        (["", ""] * 4, {"top": 8}, "it wants the likeliest 64 symbols"),
    ]
    for texts, params, why in cases:
        with pytest.raises(MlflowException, match=why):
            model.predict(pd.DataFrame({"text": texts}), params)
    assert model._reader._network.rows == []
    assert model.predict(pd.DataFrame({"text": ["a" * 49]}), {"length": 50})


def test_sessions_of_a_network_with_ends_may_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alphabet = Alphabet((3, 7, 20), ends=True)
    model = model_of(alphabet, tmp_path, monkeypatch)
    sessions = [[3, 7, 99], [], [20]]
    found = model.predict(pd.DataFrame({"ids": sessions}), {"top": 9, "length": 30, "seed": 2})
    network = Network(len(alphabet))
    for session, one in zip(sessions, found, strict=True):
        codes = [0] * LENGTH + alphabet.encode(session).tolist()
        logs = log_softmax(network.predict_on_batch(np.array([codes[-LENGTH:]], np.int32)))[0]
        assert {next["symbol"] for next in one["next"]} == {"<end>", 3, 7, 20}
        chances = {next["symbol"]: next["probability"] for next in one["next"]}
        assert chances["<end>"] == pytest.approx(np.exp(logs[END]))
        assert one["end_surprise"] == pytest.approx(-logs[END])
        drawn = until_ended(
            continued(
                StepwiseProgram(Networks(network, network), TrialConfig(sequence_length=LENGTH)),
                TrialConfig(sequence_length=LENGTH),
                alphabet.encode(session),
                rows=1,
                temperature=1.0,
                seed=2,
            )
        )
        own = [int(row[0]) for row in itertools.islice(drawn, 30)]
        assert one["continuation"] == alphabet.decode(own[:-1] if own[-1] == END else own)
    assert len({len(one["continuation"]) for one in found}) > 1
    assert "end_surprise" not in model.predict(pd.DataFrame({"ids": [[3]]}), {"surprise": False})[0]
    json.dumps(found)


@pytest.mark.parametrize(
    ("given", "params", "why"),
    [
        ({"words": ["a"]}, {}, "found columns words, expected 'text'"),
        ({"text": [3]}, {}, "found '3', expected a text or a list of event ids"),
        ({"text": ["a"]}, {"top": 0}, "top is 0, expected 1 to"),
        ({"text": ["a"]}, {"length": -1}, "length is -1, expected 0 to"),
        ({"text": ["a"]}, {"temperature": float("nan")}, "temperature is nan"),
        ({"text": ["a"]}, {"seed": -1}, "seed is -1"),
    ],
)
def test_a_wrong_request_is_refused(
    model: NextSymbolModel, given: dict[str, Any], params: dict[str, Any], why: str
) -> None:
    with pytest.raises(MlflowException, match=why) as refused:
        model.predict(pd.DataFrame(given), params)
    assert refused.value.get_http_status_code() == 400


def test_its_code_needs_nothing_of_this_program() -> None:
    tree = ast.parse(Path(served_model.__file__).read_text(encoding="utf-8"))
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    libraries = {"numpy", "keras", "mlflow"}
    standard = {"__future__", "collections", "json", "os", "pathlib", "re", "threading", "typing"}
    assert libraries < found
    assert found - libraries == standard
