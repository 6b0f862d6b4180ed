"""`detect`: new data judged by an exported network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.backend import keras
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.network import lstm
from lstm_sweep.search.cli import main

CONFIG = TrialConfig(layer_size=6, sequence_length=4, epochs=1)
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
LETTERS, EVENTS = Alphabet(tuple("abcd")), Alphabet((3, 70, 500))


pytestmark = pytest.mark.usefixtures("prepared")


def write(folder: Path, alphabet: Alphabet, favourite: int | None = None) -> None:
    """Write a bundle; a network that has a favourite expects that code everywhere."""
    network = lstm.build(CONFIG, len(alphabet)).scored
    if favourite is not None:
        *others, bias = network.get_weights()
        chances = np.full_like(bias, 0.0)
        chances[favourite] = 10.0
        network.set_weights([*map(np.zeros_like, others), chances])
    bundle.write(network, Bundle("s/3", CONFIG, alphabet, METRICS), folder, "keras")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return tmp_path


def detected(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `detect --json` prints."""
    assert main(["detect", "best", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_symbol_is_judged_as_plain_keras_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", LETTERS)
    text = "abcadbca"
    (place / "new.txt").write_text(text, encoding="utf-8")
    found = detected(capsys, "--data", "new.txt", "--below", "0.999999")
    assert (found["symbols"], found["sessions"], found["unexpected"]) == (8, 1, 8)
    network = keras.models.load_model(place / "best" / "model.keras")
    codes = LETTERS.encode(text)
    padded = np.concatenate([np.zeros(4, np.int32), codes])
    windows = np.stack([padded[at : at + 4] for at in range(len(text))])
    logits = network.predict(windows, verbose=0).astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = chances[np.arange(len(text)), codes]
    assert found["loss"] == pytest.approx(-np.log(own).mean(), abs=1e-5)
    for finding in found["findings"]:
        at = finding["place"] - 1
        assert (finding["session"], finding["symbol"]) == ("new.txt", text[at])
        assert "".join(finding["before"]) == text[:at]
        assert finding["probability"] == pytest.approx(own[at], rel=1e-4)
        assert finding["likelier"] == (chances[at, 2:] > own[at]).sum()
        best = np.argsort(-chances[at, 2:])[:3] + 2
        assert [one["symbol"] for one in finding["expected"]] == LETTERS.decode(best)
    surprises = [-math.log(finding["probability"]) for finding in found["findings"]]
    assert surprises == sorted(surprises, reverse=True)


def test_what_is_not_expected_is_found_where_it_stands(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS, favourite=3)  # 70
    (place / "logs").mkdir()
    (place / "logs" / "a.txt").write_text("70 70\n70 3 70\n", encoding="utf-8")
    (place / "logs" / "b.txt").write_text("70 70\n\n70 70 9\n", encoding="utf-8")
    found = detected(capsys, "--data", "logs")
    assert found["in_sessions"] == {"a.txt, session 2": 1, "b.txt, session 2": 1}
    places = [(f["session"], f["place"], f["symbol"], f["known"]) for f in found["findings"]]
    assert sorted(places) == [
        ("a.txt, session 2", 2, 3, True),
        ("b.txt, session 2", 3, 9, False),
    ]
    assert found["findings"][0]["expected"][0]["symbol"] == 70
    assert main(["detect", "best", "--data", "logs", "--top", "1"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("2 unknown or less likely than 0.001, in 2 sessions")
    assert ", symbol " in second and "; expected 70 (1), " in second
    assert third == "... and 1 less surprising (--top N)"


def test_candidates_are_counted_in_place_of_probabilities(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS, favourite=3)
    (place / "log.txt").write_text("70\n3\n70\n500\n8\n", encoding="utf-8")
    assert detected(capsys, "--data", "log.txt", "--candidates", "1")["unexpected"] == 3
    # of two that are equally likely none is likelier, so both are second
    found = detected(capsys, "--data", "log.txt", "--candidates", "2")
    assert [finding["symbol"] for finding in found["findings"]] == [8]
    assert found["findings"][0]["likelier"] == 3
    # what was never seen is not among the likeliest, however many these are
    found = detected(capsys, "--data", "log.txt", "--candidates", "9")
    assert [finding["symbol"] for finding in found["findings"]] == [8]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "none.txt"], ["data 'none.txt'", "no such file"]),
        (["--data", "words.txt"], ["words.txt:1", "expected an event id"]),
        (["--data", "other.txt"], ["data 'other.txt'", "'best' knows none of their symbols"]),
        (["--data", "blank.txt"], ["data 'blank.txt'", "found no symbols"]),
        (["--data", "python-docs"], ["sample python-docs has chars", "expects event ids"]),
        (["--data", "log.txt", "--below", "0"], ["--below is 0.0", "0 to 1"]),
        (["--data", "log.txt", "--below", "nan"], ["--below is nan", "0 to 1"]),
        (["--data", "log.txt", "--candidates", "0"], ["--candidates is 0", "1 or more"]),
        (["--data", "log.txt", "--top", "-1"], ["--top is -1", "expected 0 to 1,000,000"]),
        (["--data", "log.txt", "--below", "few"], ["--below is 'few': expected a number"]),
        ([], ["found no --data and no --follow"]),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_gets_one_clear_line(
    arguments: list[str], named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS)
    texts = {"log": "3\n", "words": "three\n", "other": "4 5\n", "blank": " \n\n"}
    for name, text in texts.items():
        (place / f"{name}.txt").write_text(text, encoding="utf-8")
    before = sorted(place.rglob("*"))
    assert main(["detect", "best", *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert out == "" and line.startswith("lstm-sweep: ") and all(word in line for word in named)
    assert sorted(place.rglob("*")) == before
