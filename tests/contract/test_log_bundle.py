"""The bundle of a network that was trained on a log: it reads raw lines, and continues them."""

from __future__ import annotations

import io
import json
import shutil
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
from lstm_sweep.models.data import log_lines
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.service_log import HEADER, SESSION_BY, service_log
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.network import evaluation, training
from lstm_sweep.models.network.program import program_of
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
    networks = bundle.networks_of(folder / "m.keras", CONFIG, len(corpus.alphabet))
    normal = evaluation.calibrate(program_of(networks, CONFIG, seed=0), CONFIG, corpus)
    content = Bundle("s/3", CONFIG, corpus.alphabet, METRICS, normal)
    bundle.write(network, content, folder / "best", "keras")
    faults = dict[str, str]()
    (folder / "faulty.log").write_text("\n".join(service_log(400, 7, 0.2, faults)) + "\n")
    labels = [f"{name},{int(fault != '')}" for name, fault in faults.items()]
    (folder / "labels.csv").write_text("\n".join([*labels, "req-0,0", "req-1,1"]) + "\n")
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


def test_labels_say_what_is_found_at_each_promise_and_strange_ones_are_counted(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    asked = ("detect", "best", "--data", "faulty.log", "--labels", "labels.csv")
    found = printed(capsys, *asked, "--false-alarms", "0.05")["verdicts"]
    over, quality = found["over_rates"], found["quality"]["verdict"]
    assert (found["unlabelled"], found["strange_labels"]) == (0, 2)
    assert over["rates"] == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert over["normal"] + over["abnormal"] == 400
    assert over["found"]["verdict"][3] == quality["found"] > 0.8 * over["abnormal"]
    assert over["false_alarms"]["verdict"][3] == quality["false_alarms"]
    assert main([*asked, "--top", "0"]) == 0
    text = capsys.readouterr().out
    assert "; 2 labels name no session" in text and "the verdict at other rates" in text
    assert main([*asked[:4], "--calibrate", "nowhere.log"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("lstm-sweep: data 'nowhere.log': no such file or folder")


def test_whole_sessions_are_scored_and_generated_up_to_their_ends(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    rows = printed(capsys, "score", "best", "--data", "new.log")
    found = printed(capsys, "detect", "best", "--data", "new.log", "--top", "0")
    assert len(rows) == 60 and {one["session"][:4] for one in rows} == {"req-"}
    assert sum(one["symbols"] for one in rows) == found["symbols"]
    ended = sum(one["loss"] * (one["symbols"] + 1) for one in rows) / (found["symbols"] + 60)
    assert ended == pytest.approx(found["loss"])
    made = printed(capsys, "generate", "best", "--count", "20", "--length", "60")["sequences"]
    assert max(map(len, made)) < 60
    assert sum("answered" in str(one[-1]) for one in made) > 10


def test_a_bundle_of_a_stranger_cannot_hang_or_lie_unseen(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "best", place / "bad")
    monkeypatch.chdir(place)
    written = json.loads(Path("bad/calibration.json").read_text())
    names = written["scores"]
    zeros = {name: [0.0] * len(values) for name, values in names.items()}
    Path("bad/calibration.json").write_text(json.dumps(written | {"scores": zeros}))
    drift = printed(capsys, "detect", "bad", "--data", "new.log")["verdicts"]["drift"]
    assert drift.endswith("then the promise is void")
    for change, named in (
        ({"scores": {name: [] for name in names}}, "found 0 of calibration"),
        (
            {"scores": names | {"end": [0.0]}},
            "calibration.json: scores: expected equally many numbers",
        ),
        ({"ngrams": [[1 << 60]] * 4}, "calibration.json: ngrams: expected a list of whole numbers"),
    ):
        Path("bad/calibration.json").write_text(json.dumps(written | change))
        assert main(["detect", "bad", "--data", "new.log", "--false-alarms", "0.1"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert named in line
    (place / "long.log").write_text("x" * 60 + "\n")
    alphabet = json.loads(Path("bad/alphabet.json").read_text())
    alphabet["lines"]["header"] = "(x+x+)+y"
    Path("bad/alphabet.json").write_text(json.dumps(alphabet))
    Path("bad/calibration.json").write_text(json.dumps(written))
    monkeypatch.setattr(log_lines, "SPARE_SECONDS", 0.2)
    monkeypatch.setattr(log_lines, "BLOCK_SECONDS", 0.1)
    assert main(["detect", "bad", "--data", "long.log"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "the expressions of header, session_by and masking take over" in line


def test_onnx_files_of_a_bundle_of_lines_predict_the_same(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    import keras

    from lstm_sweep.models.bundle import onnx

    _, content = bundle.read(str(place / "best"))
    shutil.copytree(place / "best", place / "onnx")
    windows = np.full((3, CONFIG.sequence_length), 4, np.int32)
    found = onnx.add(keras.models.load_model(place / "m.keras"), content, [windows], place / "onnx")
    assert found and all(one["max_difference"] < 1e-4 for one in found.values())
    assert "committed transaction" in (place / "onnx" / "alphabet.json").read_text()


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
