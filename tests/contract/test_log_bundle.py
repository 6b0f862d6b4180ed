"""The bundle of a network that was trained on a log: it reads raw lines, and continues them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_sweep as ls
from lstm_sweep.models import backend
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY, service_log
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.network import training
from lstm_sweep.search.cli import main
from lstm_sweep.search.store import registry
from lstm_sweep.search.store.settings import load as load_settings

CONFIG = TrialConfig(
    layers=1, layer_size=32, sequence_length=10, batch_size=16, learning_rate=0.01,
    optimizer="adam", epochs=2, state="carried",
)  # fmt: skip
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
CHARGED = "charged <NUM> cents to card <NUM>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle `best`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "a.log").write_text("\n".join(service_log(1_200)) + "\n")
    how: dict[str, Any] = {"symbols": "lines", "header": HEADER, "session_by": SESSION_BY}
    corpus = load(Source(data=str(folder / "a.log"), **how))
    backend.prepare(gpu=False, seed=1)
    targets = np.arange(len(corpus.validation))
    for _ in training.Training(CONFIG, corpus, targets, 1, folder / "m.keras").events():
        pass
    import keras

    network = keras.models.load_model(folder / "m.keras")
    bundle.write(network, Bundle("s/3", CONFIG, corpus.alphabet, METRICS), folder / "best", "keras")
    lines = list(service_log(60, seed=5))
    odd = lines[40].split("]")[0] + "] the bank is on fire"
    (folder / "new.log").write_text("\n".join([*lines[:41], odd, *lines[41:]]) + "\n")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_raw_lines_are_judged_from_a_file_and_from_standard_input(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found = printed(capsys, "detect", "best", "--data", "new.log", "--top", "1000")
    assert (found["sessions"], found["ends"]) == (60, True)
    [odd] = [one for one in found["findings"] if not one["known"]]
    assert odd["symbol"] == "<unk>"
    assert odd["session"].startswith("req-")
    assert odd["text"].splitlines()[0] in Path("new.log").read_text().splitlines()
    assert found["noted"].startswith("1 records match no template")
    content = io.TextIOWrapper(io.BytesIO(Path("new.log").read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    assert printed(capsys, "detect", "best", "--data", "-", "--top", "1000") == found
    assert main(["detect", "best", "--data", "new.log", "--top", "1"]) == 0
    printed_lines = capsys.readouterr().out
    assert f"{odd['session']}: {odd['text'].splitlines()[0]}" in printed_lines
    assert "note: 1 records match no template" in printed_lines


def test_a_prompt_is_a_raw_line_or_a_template(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    line = next(one for one in service_log(60) if "charged" in one)
    rows = [
        printed(capsys, "generate", "best", "--prompt", prompt, "--temperature", "0")["sequences"]
        for prompt in (line, CHARGED)
    ]
    assert rows[0] == rows[1]
    assert len(ls.load("best").generate([CHARGED, CHARGED], length=1)) <= 1
    assert "committed transaction <HEX> in <NUM> ms" in rows[0][0]


def test_a_model_that_mlflow_serves_takes_templates(place: Path) -> None:
    import mlflow
    import pandas as pd
    from mlflow.models import Model

    alphabet = bundle.read(str(place / "best"))[1].alphabet
    folder, settings = place / "served", load_settings(place, {})
    registry.write_symbols_model(settings, place / "best", folder, alphabet, Model())
    model = mlflow.pyfunc.load_model(str(folder))
    [found] = model.predict(pd.DataFrame({"templates": [[CHARGED, "never seen"]]}), {"length": 3})
    assert len(found["surprise"]) == 2
    assert {one["symbol"] for one in found["next"]} <= {"<end>", *alphabet.symbols}
