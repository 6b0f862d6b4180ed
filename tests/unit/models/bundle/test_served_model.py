"""What a served model answers; its network is a stand-in.

`tests/acceptance/test_serving.py` has a real one.
"""

from __future__ import annotations

import ast
import itertools
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.bundle.served_model import NextSymbolModel, _load_pyfunc
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Codes, Networks
from lstm_sweep.models.cpu.programs import StepwiseProgram
from lstm_sweep.models.data.alphabet import END, Alphabet
from lstm_sweep.models.network.evaluation import continued, draw, until_ended
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


Logits = NDArray[np.float32]

LOGITS = np.log(np.array([0.3, 0.2, 0.05, 0.15, 0.3]))


def shares(temperature: float, draws: int = 40_000) -> list[float]:
    """How often each code is drawn."""
    drawn = draw(np.tile(LOGITS, (draws, 1)), temperature, np.random.default_rng(0))
    return [float(share) for share in np.bincount(drawn, minlength=5) / draws]


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, [0, 0, 0.1, 0.3, 0.6]),
        (0.5, [0, 0, 1 / 46, 9 / 46, 36 / 46]),
        (1e-300, [0, 0, 0, 0, 1]),
        (0.0, [0, 0, 0, 0, 1]),
        (100.0, [0, 0, 0.329, 0.333, 0.335]),
    ],
)
def test_chances_are_the_softmax_at_a_temperature(
    temperature: float, expected: list[float]
) -> None:
    assert shares(temperature) == pytest.approx(expected, abs=0.01)


@given(
    shapes.arrays(
        np.float32, (3, 7), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    ),
    st.floats(0, 100),
)
def test_whatever_the_logits_a_symbol_is_drawn(logits: Logits, temperature: float) -> None:
    drawn = draw(logits, temperature, np.random.default_rng(1))
    assert ((drawn >= 2) & (drawn < 7)).all()


def after(past: list[int], *, window: int) -> list[int]:
    """What a network that always expects the successor of the last code makes of a past."""

    class Successor(StepwiseProgram):
        def logits(self, *inputs: Codes) -> Logits:
            [windows] = inputs
            assert windows.shape == (2, window)
            return np.eye(10, dtype=np.float32)[(windows[:, -1] + 1) % 10] * 3

    config, program = TrialConfig(sequence_length=window), object.__new__(Successor)
    turns = continued(program, config, np.array(past, np.int32), rows=2, temperature=0.0, seed=0)
    return [int(codes[1]) for codes in islice(turns, 6)]


def test_what_is_drawn_is_seen_in_the_next_turn() -> None:
    assert after([7, 3], window=4) == [4, 5, 6, 7, 8, 9]
    assert after([7, 3, 2, 2, 5], window=1) == [6, 7, 8, 9, 2, 3]


def test_a_sequence_ends_with_its_first_end_and_all_of_them_when_the_last_has_ended() -> None:
    turns = [[5, 2, 4], [2, 7, 4], [3, 3, 4], [3, 3, 2], [9, 9, 9]]
    found = until_ended(np.array(turn, np.int32) for turn in turns)
    assert [turn.tolist() for turn in found] == [[5, 2, 4], [2, 2, 4], [2, 2, 4], [2, 2, 2]]
