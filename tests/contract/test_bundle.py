"""Bundles from anywhere: what `generate` makes of good ones, and how it refuses the others."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest

from lstm_sweep.models.backend import keras
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle import onnx as writing
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.network import lstm
from lstm_sweep.search.cli import main
from tests.conftest import in_full
from tests.contract.arithmetic import networks_of

CONFIG = TrialConfig(layer_size=6, sequence_length=4, epochs=1)
LETTERS = Alphabet(tuple("abcdefgh"))
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrialConfig, Alphabet], Path]:
    """Writes a bundle of a network that has learned nothing."""

    def write(config: TrialConfig, alphabet: Alphabet) -> Path:
        folder = tmp_path_factory.mktemp("bundles") / "best"
        network = lstm.build(config, len(alphabet)).scored
        bundle.write(network, Bundle("s/3", config, alphabet, METRICS), folder, "keras")
        return folder

    return write


@pytest.fixture(scope="module")
def letters(written: Callable[[TrialConfig, Alphabet], Path]) -> Path:
    return written(CONFIG, LETTERS)


@pytest.fixture
def folder(letters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a good bundle, `best`, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    shutil.copytree(letters, tmp_path / "best")
    yield tmp_path / "best"


def generated(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `generate --json` prints."""
    assert main(["generate", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "config",
    [CONFIG, CONFIG.evolve(direction="bi", layers=1), CONFIG.evolve(embedding_size=3, layers=3)],
    ids=["uni", "bi", "embedding"],
)
def test_the_likeliest_continuation_is_that_of_plain_keras(
    config: TrialConfig,
    written: Callable[[TrialConfig, Alphabet], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = written(config, LETTERS)
    asked = (str(folder), "--prompt", "cab", "--length", "12", "--temperature", "0")
    [text] = generated(capsys, *asked)["sequences"]
    model = keras.models.load_model(folder / "model.keras", safe_mode=True)
    codes = [0, 0, 0, 0, *LETTERS.encode("cab")]
    for _ in range(12):
        logits = model.predict_on_batch(np.array([codes[-4:]], "int32"))[0]
        codes.append(2 + int(np.asarray(logits)[2:].argmax()))
    assert text == "".join(map(str, LETTERS.decode(codes[7:])))


def test_the_seed_repeats_a_text_and_the_text_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = generated(capsys, "best", "--count", "2", "--length", "30")
    assert first == {
        "bundle": "best", "trial": "s/3", "prompt": "", "temperature": 1.0, "seed": 0,
        "sequences": first["sequences"],
    }  # fmt: skip
    assert [len(text) for text in first["sequences"]] == [30, 30]
    assert len(set(first["sequences"])) == 2
    assert generated(capsys, "best", "--count", "2", "--length", "30") == first
    other = generated(capsys, "best", "--count", "2", "--length", "30", "--seed", "1")
    assert other["sequences"] != first["sequences"]
    assert main(["generate", "best", "--prompt", "ab", "--length", "30"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("ab") and len(line) == 32 and set(line) <= set("abcdefgh")


def test_event_ids_stand_apart(
    written: Callable[[TrialConfig, Alphabet], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(written(CONFIG, Alphabet((3, 70, 500))))
    assert main(["generate", folder, "--prompt", "70 3", "--length", "5"]) == 0
    words = capsys.readouterr().out.split()
    assert words[:2] == ["70", "3"] and len(words) == 7
    assert set(words) <= {"3", "70", "500"}
    [ids] = generated(capsys, folder, "--prompt", "70 3", "--length", "5")["sequences"]
    assert [str(number) for number in ids] == words[2:]
    assert main(["generate", folder, "--prompt", "70 3x"]) == 2
    assert "'3x', expected event ids with spaces between them" in capsys.readouterr().err


Change = Callable[[Path], object]


def text(name: str, content: str | bytes) -> Change:
    """Writes another file of a bundle."""
    return lambda at: (at / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def without(name: str) -> Change:
    return lambda at: (at / name).unlink()


def as_folder(name: str) -> Change:
    def change(at: Path) -> None:
        (at / name).unlink()
        (at / name).mkdir()

    return change


def field(file: str, name: str, value: object) -> Change:
    """Sets a value in a file of JSON."""

    def change(at: Path) -> None:
        content = json.loads((at / file).read_text(encoding="utf-8"))
        (at / file).write_text(json.dumps(content | {name: value}), encoding="utf-8")

    return change


def network(config: TrialConfig = CONFIG, codes: int = 10, weight: float | None = None) -> Change:
    """Puts another network into a bundle."""

    def change(at: Path) -> None:
        model = lstm.build(config, codes).scored
        if weight is not None:
            model.set_weights([np.full_like(one, weight) for one in model.get_weights()])
        model.save(at / "model.keras")

    return change


def archive(**files: bytes) -> Change:
    """Puts an archive with other files, and as large, in the place of a network."""

    def change(at: Path) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as opened:
            for name, data in ({"padding": b"0" * 50_000} | files).items():
                opened.writestr(name, data)
        (at / "model.keras").write_bytes(content.getvalue())

    return change


def as_pipe(name: str) -> Change:
    def change(at: Path) -> None:
        (at / name).unlink()
        os.mkfifo(at / name)

    return change


def sparse(at: Path) -> None:
    """As many bytes as a large network has, and nothing of them on disk."""
    field("config.json", "layer_size", 16384)(at)
    with (at / "model.keras").open("r+b") as opened:
        opened.truncate(1 << 34)


def compressed(at: Path) -> None:
    """The same network, its weights in fewer bytes."""
    with zipfile.ZipFile(at / "model.keras") as opened:
        weights = opened.read("model.weights.h5")
    with zipfile.ZipFile(at / "model.keras", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("model.weights.h5", weights)
        opened.writestr("padding", b"0" * 50_000, zipfile.ZIP_STORED)


def hollow(at: Path) -> None:
    """Weights of a gigabyte that were never written."""
    content = io.BytesIO()
    with h5py.File(content, "w") as weights:
        weights.create_dataset("layers/lstm/vars/0", (1 << 28,), "float32", chunks=(1 << 20,))
    archive(**{"model.weights.h5": content.getvalue()})(at)


def foreign(**weights: Any) -> Change:
    """Weights that lie in another file of this machine."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("w", (4,), "float32", **weights) if weights else None
        if not weights:
            file["w"] = h5py.ExternalLink("/etc/passwd", "/")
    return archive(**{"model.weights.h5": content.getvalue()})


BAD: list[tuple[str, Change, list[str]]] = [
    ("no config", without("config.json"), ["config.json: No such file", "a file to read"]),
    ("no alphabet", without("alphabet.json"), ["no alphabet.json", "template"]),
    ("no metrics", without("metrics.json"), ["metrics.json: No such file"]),
    ("no network", without("model.keras"), ["model.keras: No such file"]),
    ("a folder", as_folder("config.json"), ["config.json: Is a directory"]),
    ("a list", text("config.json", "[1]"), ["config.json holds a list", "an object"]),
    ("deep", text("alphabet.json", "[" * 100_000), ["alphabet.json", "expected JSON"]),
    ("a long number", text("config.json", "9" * 5_000), ["config.json", "expected JSON"]),
    ("enormous", text("metrics.json", b" " * ((1 << 26) + 1)), ["metrics.json", "fewer"]),
    ("an unknown field", field("config.json", "layer_sise", 3), ["did you mean 'layer_size'?"]),
    ("a wrong type", field("config.json", "layers", "two"), ["layers is 'two'", "an integer"]),
    ("out of range", field("config.json", "layers", 99), ["layers is 99", "from 1 to 16"]),
    ("too large", field("config.json", "layer_size", 16384), ["model.keras has", "at least"]),
    ("another kind", field("alphabet.json", "kind", "notes"), ["kind is 'notes'", "ids or lines"]),
    ("reserved", field("alphabet.json", "reserved", ["<pad>"]), ["reserved is ['<pad>']"]),
    ("twice", field("alphabet.json", "symbols", ["a", "a"]), ["after 'a' follows 'a'", "rising"]),
    ("not rising", field("alphabet.json", "symbols", ["b", "a"]), ["'b' follows 'a'"]),
    ("a word", field("alphabet.json", "symbols", ["ab"]), ["follows 'ab'", "chars"]),
    ("half a letter", field("alphabet.json", "symbols", ["\ud800"]), ["chars in rising"]),
    ("more symbols", field("alphabet.json", "symbols", list("abcdefghij")), ["weights"]),
    ("cut", text("model.keras", b"PK\3\4"), ["model.keras has 4 bytes", "at least"]),
    ("noise", text("model.keras", b"\7" * 50_000), ["model.keras", "expected the weights"]),
    ("an archive", archive(), ["model.keras", "expected the weights"]),
    ("an archive that climbs", archive(**{"../x": b"1"}), ["model.keras", "the weights"]),
    ("weights of noise", archive(**{"model.weights.h5": b"\7" * 9}), ["model.keras", "weights"]),
    ("another network", network(CONFIG.evolve(layer_size=9)), ["model.keras", "the weights"]),
    ("fewer layers", network(CONFIG.evolve(layers=1)), ["model.keras", "the weights"]),
    ("a pipe", as_pipe("config.json"), ["config.json is a pipe", "expected a file"]),
    ("a network as a pipe", as_pipe("model.keras"), ["model.keras is a pipe", "expected a file"]),
    ("holes", sparse, ["model.keras has", "expected at least"]),
    ("compressed", compressed, ["model.weights.h5 is compressed", "expected the weights"]),
    ("hollow", hollow, ["layers/lstm/vars/0 of model.weights.h5 is not stored in full"]),
    ("a foreign file", foreign(external=[("/etc/passwd", 0, 16)]), ["w of", "other places"]),
    ("a foreign link", foreign(), ["/ of model.weights.h5 leads to other places"]),
    ("no numbers", network(weight=float("nan")), ["no finite numbers"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "named"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_a_wrong_bundle_gets_one_clear_line(
    change: Change, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder)
    before = sorted(folder.parent.rglob("*"))
    assert main(["generate", "best"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("lstm-sweep: ") and "best" in line and len(line) < 1_100
    for part in named:
        assert part in line
    assert sorted(folder.parent.rglob("*")) == before


def test_a_bundle_that_others_keep_to_themselves_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(InputError, match=r"bundle .*: alphabet.json: Permission denied, expected"):
        bundle.read(str(folder))


def test_a_bundle_cannot_run_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a network is made of is not read from its file: it may name what it likes."""
    with zipfile.ZipFile(folder / "model.keras") as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    files["config.json"] = json.dumps(
        {"module": "os", "class_name": "system", "config": {"command": "touch ran"}}
    ).encode()
    with zipfile.ZipFile(folder / "model.keras", "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    assert main(["generate", "best", "--length", "5"]) == 0
    assert len(capsys.readouterr().out) == 6
    assert not Path("ran").exists()


# ONNX files compute what a Keras network with the same weights does, by standard operators


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


def onnx_files(config: TrialConfig, folder: Path) -> tuple[Any, list[str]]:
    network = networks_of(config, ALPHABET, 1).scored
    return network, writing.write(network, [config], ALPHABET, folder)


@pytest.mark.parametrize(
    "config", [CONFIGS[0], CONFIGS[5], *in_full(*CONFIGS[1:5], *CONFIGS[6:])], ids=str
)
def test_files_predict_what_the_network_does(config: TrialConfig, tmp_path: Path) -> None:
    network, names = onnx_files(config, tmp_path)
    expected = ["model.onnx", "step.onnx"] if config.direction == "uni" else ["model.onnx"]
    assert names == sorted(path.name for path in tmp_path.iterdir()) == expected
    for name in names:
        model = onnx.load(tmp_path / name)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", writing.OPSET)]
        assert {node.domain for node in model.graph.node} == {""}
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("LSTM") == config.layers
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


def test_weights_that_no_file_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="an ONNX file at most 100"):
        onnx_files(CONFIGS[0], tmp_path)
    assert [*tmp_path.iterdir()] == []
