"""Bundles of classifiers: what `classify` makes of good ones, and how it refuses the others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import lstm_sweep as ls
from lstm_sweep.models.backend import keras
from lstm_sweep.models.bundle import bundle, clean_process, onnx, served_model
from lstm_sweep.models.bundle.bundle import Bundle, Classes
from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet, Words
from lstm_sweep.models.network import lstm
from lstm_sweep.models.network.classifier import averaged, build_classifier
from lstm_sweep.models.scoring import log_softmax
from lstm_sweep.search.cli import main
from lstm_sweep.search.store import registry
from lstm_sweep.search.store.settings import load as load_settings
from tests.conftest import in_full
from tests.contract.test_bundle import Change, field, text, without

pytestmark = pytest.mark.usefixtures("prepared")

LETTERS, EVENTS = Alphabet(tuple("abcdefgh")), Alphabet((3, 70, 500))
WORDS = Alphabet(("hh", ",", "isn’t", "bad"), words=Words(lower_case=True))
CONFIG = ClassConfig(layer_size=5, layers=2, sequence_length=6, direction="bi", keep="both")
NAMES = ("good", "bad", "odd")
METRICS = {"trial": "s/3", "val_loss": 0.5, "test_loss": 0.75}
TEXTS = ["abcabc", "hh", "abcdefghabcdefgh", "bXa"]


def known(sequences: int = 300) -> Classes:
    """A classifier that is right with most of its validation sequences."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, len(NAMES), sequences)
    logits = draw.normal(0, 1, (sequences, len(NAMES)))
    logits[np.arange(sequences), labels] += 2
    return Classes.of(NAMES, 1.5, logits, labels)


#: how the second network of an average differs
OTHER = {"layers": 1, "layer_size": 3, "pooling": "max", "direction": "uni"}


def network(configs: Sequence[ClassConfig] = (CONFIG,), alphabet: Alphabet = LETTERS) -> Any:
    keras.utils.set_random_seed(3)
    plain = [one.evolve(averaging="off") for one in configs]
    sizes = len(alphabet), len(NAMES)
    return averaged([(build_classifier(one, *sizes), one) for one in plain]).scored


def write(
    folder: Path,
    config: ClassConfig = CONFIG,
    alphabet: Alphabet = LETTERS,
    format: str = "keras",
    count: int = 1,
) -> tuple[Any, Bundle]:
    configs = [config, *[config.evolve(**OTHER)] * (count - 1)]
    model = network(configs, alphabet)
    trials = {f"s/{number}": one for number, one in enumerate(configs)} if count > 1 else {}
    classes = replace(known(), averaged=trials)
    content = Bundle("s/3", config, alphabet, METRICS, classes=classes)
    bundle.write(model, content, folder, format)
    return model, content


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "best"
    write(folder)
    return folder


@pytest.fixture
def place(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a copy of a good bundle, `best`, and data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    shutil.copytree(good, tmp_path / "best")
    (tmp_path / "new.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    rows = ["kind,said", "good,abc", "bad,hg", "bad,aaaa", ",ccc"]
    (tmp_path / "new.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def classified(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `classify --json` prints."""
    assert main(["classify", "best", *arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def by_hand(folder: Path, texts: list[str]) -> NDArray[np.float64]:
    """Probabilities by plain Keras, of the symbols that are kept."""
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    found = []
    for one in texts:
        codes = LETTERS.encode(one)
        codes = codes if len(codes) <= 6 else np.concatenate([codes[:3], codes[-3:]])
        logits = model.predict([codes[None], np.array([len(codes)], np.int32)], verbose=0)
        found.append(np.exp(log_softmax(logits / 1.5))[0])
    return np.array(found)


def test_each_sequence_gets_the_probabilities_of_plain_keras(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = classified(capsys, "--data", "new.txt")
    assert (found["bundle"], found["classes"], found["scores"]) == ("s/3", [*NAMES], None)
    right = by_hand(place / "best", TEXTS)
    assert [one["class"] for one in found["sequences"]] == [NAMES[k] for k in right.argmax(axis=1)]
    for one, row in zip(found["sequences"], right, strict=True):
        assert [*one["probabilities"].values()] == pytest.approx(row, abs=1e-5)
        assert one["probability"] == max(one["probabilities"].values())
    frame = ls.load("best").classify(TEXTS)
    assert frame["class"].tolist() == [one["class"] for one in found["sequences"]]
    assert frame["probability"].to_numpy() == pytest.approx(right.max(axis=1), abs=1e-5)
    assert main(["classify", "best", "--data", "new.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(TEXTS)
    assert lines[0].split()[:2] == [f"{right[0].max():.4f}", NAMES[right[0].argmax()]]


def test_sets_thresholds_and_labels(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = ("--data", "new.csv", "--text", "said", "--label", "kind")
    wish = ("--error", "0.1", "--class", "bad", "--recall", "0.8")
    found = classified(capsys, *table, *wish)
    assert [one["label"] for one in found["sequences"]] == ["good", "bad", "bad", None]
    assert found["scores"]["sequences"] == 3
    assert found["promise"].endswith("from 300 sequences")
    threshold = found["threshold"]
    assert threshold["class"] == "bad" and threshold["recall"] >= 0.8
    for one in found["sequences"]:
        assert one["class"] in one["set"]
        assert one["decided"] == (one["probabilities"]["bad"] >= threshold["value"])
    labelled = classified(capsys, *table, "--class", "bad", "--precision", "0.9")["threshold"]
    assert labelled["precision"] >= 0.9 and labelled["value"] > threshold["value"]
    frame = ls.load("best").classify("new.csv", text="said", label="kind", error=0.1)
    assert frame["set"].tolist() == [one["set"] for one in found["sequences"]]
    assert main(["classify", "best", *table, *wish]) == 0
    out = capsys.readouterr().out
    assert "3 labelled sequences: accuracy " in out and "from a probability of" in out
    # `odd` is rare, and so is said from a lower probability on
    decided = classified(capsys, *table, "--decide", "macro_f1", "--error", "0.5")
    by = decided["decision"]
    assert by["macro_f1"]["macro_f1"] > by["probability"]["macro_f1"]
    assert all(one["class"] in one["set"] for one in decided["sequences"])
    frame = ls.load("best").classify("new.csv", text="said", label="kind", decide="macro_f1")
    assert frame["class"].tolist() == [one["class"] for one in decided["sequences"]]
    assert [one["probability"] for one in decided["sequences"]] == [
        one["probabilities"][one["class"]] for one in decided["sequences"]
    ]
    assert main(["classify", "best", *table, "--decide", "macro_f1"]) == 0
    assert "decided for macro F1, on validation data 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--error", "0.001"], ["--error is 0.001", "999 sequences, found 300"]),
        (["--error", "2"], ["--error is 2.0", "0 to 1"]),
        (["--class", "worse", "--recall", "1"], ["--class is 'worse'", "good, bad, odd"]),
        (["--class", "bad"], ["--class", "found it alone"]),
        (["--recall", "0.5"], ["--class", "found none"]),
        (["--class", "bad", "--recall", "1", "--precision", "1"], ["expected one of them"]),
        (["--class", "bad", "--precision", "1"], ["--precision is 1", "the most"]),
        (["--decide", "macro-f1"], ["--decide is 'macro-f1'", "probability, macro_f1"]),
        (["--data", "none.txt"], ["none.txt", "no such file"]),
        (["--data", "other.txt"], ["other.txt", "knows none of their symbols"]),
        (["--label", "sort", "--data", "new.csv", "--text", "said"], ["sort", "kind"]),
    ],
)  # fmt: skip
def test_what_cannot_be_classified_gets_one_clear_line(
    arguments: list[str], named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "other.txt").write_text("XYZ\n", encoding="utf-8")
    classes = known().to_dict()
    # no threshold of `bad` is always right
    worst = [[0.0, 99.0, 0.0], *classes["validation"]["logits"]]
    classes["validation"] = {"labels": [0, *classes["validation"]["labels"][:]], "logits": worst}
    classes["validation"] = {name: rows[:300] for name, rows in classes["validation"].items()}
    (place / "best" / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    data = [] if "--data" in arguments else ["--data", "new.txt"]
    assert main(["classify", "best", *data, *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert out == "" and all(word in line for word in named), line


def rows(**changed: object) -> Change:
    """Changes what the classifier says of validation sequences."""
    given = {"labels": [0, 1], "logits": [[1, 2, 3], [1, 2, 3]]}
    return field("classes.json", "validation", given | changed)


def of_members(*configs: ClassConfig) -> Change:
    members = {f"s/{number}": one.to_dict() for number, one in enumerate(configs)}
    return field("classes.json", "averaged", members)


BAD: list[tuple[str, Change, list[str]]] = [
    ("no classes", without("classes.json"), ["classes.json: No such file"]),
    ("no object", text("classes.json", "[]"), ["classes.json holds a list"]),
    ("one class", field("classes.json", "names", ["a"]), ["names are ['a']", "2 or more"]),
    ("twice", field("classes.json", "names", ["a", "b", "a"]), ["each once"]),
    ("numbers", field("classes.json", "names", [1, 2, 3]), ["a list of texts"]),
    ("fewer", field("classes.json", "names", ["a", "b"]), ["2 numbers up to"]),
    ("cold", field("classes.json", "temperature", 0), ["temperature is 0", "0.01 to 100"]),
    ("no number", field("classes.json", "temperature", "1"), ["temperature is '1'"]),
    ("no rows", field("classes.json", "validation", 7), ["validation: ", "labels and logits"]),
    ("other rows", rows(labels=[0]), ["3 numbers up to 1e+06 for each of 1"]),
    ("a strange label", rows(labels=[0, 3]), ["labels are not all from 0 to 2"]),
    ("enormous", rows(logits=[[1, 2, 1e300], [1, 2, 3]]), ["3 numbers up to 1e+06"]),
    ("ragged", rows(logits=[[1, 2, 3], [1]]), ["validation: ", "labels and logits"]),
    ("no configs", field("classes.json", "averaged", ["s/1"]), ["averaged is", "10 trials"]),
    ("other networks", of_members(CONFIG, CONFIG), ["weights of the net"]),
    ("another part", of_members(CONFIG, CONFIG.evolve(keep="head")), ["reads", "the same"]),
    ("an odd config", field("config.json", "pooling", "sum"), ["pooling is 'sum'"]),
    ("other weights", field("config.json", "pooling", "attention"), ["expected the weights"]),
    ("too large", field("config.json", "layer_size", 16384), ["model.keras has", "at least"]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_a_wrong_bundle_gets_one_clear_line(
    change: Change, named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(place / "best")
    assert main(["classify", "best", "--data", "new.txt"]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert out == "" and "best" in line and all(word in line for word in named), line


def test_each_command_names_the_bundles_that_it_takes(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrialConfig(layer_size=6, sequence_length=4)
    model = lstm.build(config, len(LETTERS)).scored
    bundle.write(model, Bundle("s/4", config, LETTERS, METRICS), place / "next", "keras")
    for words, why in (
        (["generate", "best"], "it is that of a classifier, which `classify` takes"),
        (["detect", "best", "--data", "new.txt"], "it is that of a classifier"),
        (["score", "best", "--data", "new.txt"], "it is that of a classifier"),
        (["classify", "next", "--data", "new.txt"], "its network predicts symbols, which"),
    ):
        assert main(words) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(ls.InputError, match="expected a classifier"):
        ls.load("next").classify(["abc"])
    write(place / "events", alphabet=EVENTS)
    with pytest.raises(ls.InputError, match="sequence 2: found 'a', expected event ids"):
        ls.load("events").classify([[3], "a"])


FORMS = [
    ClassConfig(
        layer_size=5, layers=layers, direction=direction, pooling=pooling,
        embedding_size=embedding, sequence_length=6,
    )
    for pooling, direction, layers, embedding in (
        ("last", "bi", 2, 3), ("mean", "uni", 1, 0), ("max", "bi", 1, 0), ("attention", "bi", 2, 3),
    )
]  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("config", FORMS, ids=lambda one: one.pooling)
def test_onnx_and_kernels_predict_what_the_networks_do(
    config: ClassConfig, count: int, tmp_path: Path
) -> None:
    import onnxruntime

    model, _ = write(tmp_path / "best", config, count=count)
    members = [model.get_layer(f"classifier_{k + 1}") for k in range(count)] if count > 1 else []
    folder, content = bundle.read_any(str(tmp_path / "best"))
    assert isinstance(content, Bundle)
    program = bundle.predictor(folder, content)
    assert onnx.write(model, content.network[0], len(LETTERS), tmp_path / "best") == ["model.onnx"]
    session = onnxruntime.InferenceSession(
        tmp_path / "best" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    draw = np.random.default_rng(1)
    for length in (6, 12):  # kernels take an even number of steps
        codes = draw.integers(0, len(LETTERS), (20, length)).astype(np.int32)
        lengths = draw.integers(1, length + 1, 20).astype(np.int32)
        right = np.asarray(model.predict_on_batch([codes, lengths]))
        if members:
            said = [log_softmax(one.predict_on_batch([codes, lengths])) for one in members]
            assert np.exp(right) == pytest.approx(np.exp(said).mean(axis=0), abs=1e-6)
        assert program.logits(codes, lengths) == pytest.approx(right, abs=1e-5)
        [found] = session.run(["logits"], {"symbols": codes, "lengths": lengths})
        assert found == pytest.approx(right, abs=1e-5)


@pytest.mark.parametrize("format", ["onnx", *in_full("savedmodel")])
def test_a_bundle_says_the_same_in_a_clean_process_and_its_readme_runs(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "best"
    model, content = write(folder, format=format)
    codes = np.array([[2, 3, 4, 0], [5, 5, 0, 0]], np.int32)
    inputs = [codes, np.array([3, 2], np.int32)]
    if format == "onnx":
        found = onnx.add(model, content, inputs, folder)
        assert found["model.onnx"]["max_difference"] < 1e-5
    else:
        [theirs] = clean_process.outputs(folder, format, inputs)
        assert theirs == pytest.approx(np.asarray(model.predict_on_batch(inputs)), abs=1e-5)
    *_, program, _ = (folder / "README.md").read_text(encoding="utf-8").split("```")
    (folder / "program.py").write_text(program.removeprefix("python\n"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    printed = dict(line.split() for line in done.stdout.splitlines())
    [right] = by_hand(folder, [eval_example(folder)])
    assert {name: float(share) for name, share in printed.items()} == pytest.approx(
        dict(zip(NAMES, right, strict=True)), abs=2e-4
    )


def eval_example(folder: Path) -> str:
    """The example of a README."""
    [line] = {
        line for line in (folder / "README.md").read_text().splitlines()
        if line.startswith("sequence = ")
    }  # fmt: skip
    return line.split("'")[1]


@pytest.mark.parametrize("alphabet", [LETTERS, EVENTS, WORDS], ids=lambda one: one.kind)
def test_a_model_that_mlflow_serves_says_the_same(
    alphabet: Alphabet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.models import Model

    write(tmp_path / "best", alphabet=alphabet, count=2 if alphabet is WORDS else 1)
    settings = load_settings(tmp_path, {})
    registry.write_symbols_model(
        settings, tmp_path / "best", tmp_path / "served", alphabet, Model(), classes=True
    )
    model = mlflow.pyfunc.load_model(str(tmp_path / "served"))
    column = served_model.COLUMNS[alphabet.kind]
    given: list[Any] = [[3, 70], [500] * 20, [3, 9]] if alphabet is EVENTS else [*TEXTS]
    given += ["HH, it isn’t bad", "a hh-hh"] if alphabet is WORDS else []
    found = model.predict(pd.DataFrame({column: given}))
    frame = ls.load(tmp_path / "best").classify(given)
    assert [one["class"] for one in found] == frame["class"].tolist()
    assert [one["probability"] for one in found] == pytest.approx(frame["probability"].tolist())
    json.dumps(found)
