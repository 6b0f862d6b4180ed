"""Networks whose state is carried: as they are scored, exported, served and used."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.scoring import log_softmax
from lstm_sweep.search.cli import main
from tests.conftest import write_text
from tests.contract.carried_networks import CARRIED, LETTERS, networks_of
from tests.unit.models.data.splits import split_of


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()


def by_plain_keras(file: Path, codes: list[int]) -> Any:
    """Logits after each of `codes`, read one by one from a state of zero, `[codes, alphabet]`."""
    import keras

    model = keras.models.load_model(file, safe_mode=True)
    cells = [layer.cell for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    embeddings = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    states = [cell.get_initial_state(1) for cell in cells]
    found = []
    for code in codes:
        one = np.array([code], "int32")
        x = embeddings[0](one) if embeddings else keras.ops.one_hot(one, model.output_shape[-1])
        for number, cell in enumerate(cells):
            x, states[number] = cell(x, states[number])
        found.append(np.asarray(model.get_layer("logits")(x))[0])
    return np.array(found, np.float64)


@pytest.fixture
def bundled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A bundle `best` in the working folder; a parameter has fields of its config."""
    from lstm_sweep.models.bundle import bundle

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    metrics = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
    config = CARRIED.evolve(**getattr(request, "param", {}))
    content = bundle.Bundle("s/3", config, LETTERS, metrics)
    bundle.write(networks_of(config).scored, content, tmp_path / "best", "keras")
    return tmp_path / "best"


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_text_is_continued_from_all_that_was_before(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "cabfeddabgh"  # longer than a window
    asked = ("generate", "best", "--prompt", prompt, "--length", "9", "--temperature", "0")
    [text] = output_of(capsys, *asked)["sequences"]
    codes = [START, *LETTERS.encode(prompt + text[:-1])]
    likeliest = by_plain_keras(bundled / "model.keras", codes)[-9:, 2:].argmax(axis=1) + 2
    assert text == "".join(map(str, LETTERS.decode(likeliest)))


def test_each_symbol_is_judged_after_all_of_its_session(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = {"a.txt": "abcadbcahhgcf", "b.txt": "hg"}
    Path("new").mkdir()
    for name, text in sessions.items():
        (Path("new") / name).write_text(text, encoding="utf-8")
    found = output_of(capsys, "detect", "best", "--data", "new", "--below", "0.999999")
    assert found["unexpected"] == 15
    for finding in found["findings"]:
        text, at = sessions[finding["session"]], finding["place"] - 1
        logits = by_plain_keras(bundled / "model.keras", [START, *LETTERS.encode(text[:at])])[-1]
        chances = np.exp(logits) / np.exp(logits).sum()
        own = chances[LETTERS.encode(text[at])[0]]
        assert finding["probability"] == pytest.approx(own, rel=1e-4)
        best = np.argsort(-chances[2:])[:3] + 2
        assert [one["symbol"] for one in finding["expected"]] == LETTERS.decode(best)


@pytest.mark.full
@pytest.mark.parametrize(
    "bundled", [{}, {"embedding_size": 5}], ids=["one-hot", "embedding"], indirect=True
)
def test_a_served_model_reads_sessions_from_their_heads(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    texts = ["cabfeddabgh", "", "hg", "abcdef"]  # more than a window, none, part of one, and one
    asked = pd.DataFrame({"text": texts * 40})  # more than one call has rows for
    model: Any = served_model._load_pyfunc(str(bundled))
    found = model.predict(asked, {"length": 9, "temperature": 0.0, "top": 3})
    assert found[: len(texts)] == found[-len(texts) :]
    for text, one in zip(texts, found, strict=False):
        codes = LETTERS.encode(text)
        logs = log_softmax(by_plain_keras(bundled / "model.keras", [START, *codes]))
        assert one["surprise"] == pytest.approx(
            (-logs[np.arange(len(codes)), codes]).tolist(), 1e-4
        )
        best = np.argsort(-logs[-1, 2:])[:3] + 2
        assert [each["symbol"] for each in one["next"]] == LETTERS.decode(best)
        prompt = ("--prompt", text) if text else ()
        asked_here = ("generate", "best", *prompt, "--length", "9", "--temperature", "0")
        [continuation] = output_of(capsys, *asked_here)["sequences"]
        assert one["continuation"] == continuation


@pytest.mark.full
@pytest.mark.parametrize(
    "bundled", [{}, {"embedding_size": 5}], ids=["one-hot", "embedding"], indirect=True
)
def test_the_programs_of_the_readme_run_with_plain_keras(bundled: Path) -> None:
    from lstm_sweep.models.bundle import clean_process

    text = (bundled / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    with contextlib.chdir(bundled), contextlib.redirect_stdout(io.StringIO()) as printed:
        known: dict[str, Any] = {}
        for program in programs:
            exec(program, known)
    past = LETTERS.encode(known["past"])
    logits = by_plain_keras(bundled / "model.keras", [START, *past])[-1]
    chances = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1][:5]
    shown = [float(line.split()[-1]) for line in printed.getvalue().splitlines()]
    assert shown[5:] == pytest.approx(chances.tolist(), abs=1e-4)
    codes = np.array([[START, *past]], np.int32)
    theirs = clean_process.predict_by_symbol(bundled, codes)
    np.testing.assert_allclose(theirs[0], logits, atol=1e-5)


def test_the_same_targets_are_scored_whatever_the_state() -> None:
    """All of them, each once, and after all symbols of its session."""
    from lstm_sweep.models.network.evaluation import predictions
    from lstm_sweep.models.network.program import predictor_of, program_of

    split = split_of([30, 4, 1, 19])
    split = type(split)(split.codes % 8 + 2, split.starts)
    targets = np.array([2, 3, 29, 30, 33, 34, 40, 53])
    networks = networks_of(CARRIED)
    program: Any = program_of(networks, CARRIED, 0)
    found = np.empty((len(targets), 10))
    for logs, true, numbers in predictions(
        predictor_of(program, CARRIED), CARRIED, 10, split, targets
    ):
        assert (true == split.codes[targets[numbers]]).all()
        found[numbers] = logs
    for number, target in enumerate(targets):
        head = split.starts[split.starts <= target].max()
        codes = np.array([[START, *split.codes[head:target]]], np.int32)
        logits, _ = program.stream(codes, np.array([codes.shape[1] - 1]), None)
        np.testing.assert_allclose(found[number], log_softmax(logits)[0], atol=1e-5)


@pytest.mark.full
def test_a_sweep_ends_in_a_bundle_that_was_compared_in_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "words.txt")
    fields = ("direction=uni", "state=carried", "layer_size=8", "layers=1", "sequence_length=10")
    settings = [word for field in (*fields, "epochs=1") for word in ("--set", field)]
    few = ("--trials", "1", "--ladder", "off", "--size-rule", "off", "--on", "inline")
    swept = output_of(capsys, "launch", "--data", "words.txt", "--name", "s", *few, *settings)
    assert swept["best"]["config"]["state"] == "carried"
    exported = output_of(capsys, "export", "s", "--to", "best")
    assert exported["by_symbol"] == 10
    assert exported["parity"]["max_difference"] < 1e-4
    assert exported["test_loss"] == pytest.approx(swept["best"]["val_loss"], rel=0.2)
