"""Bad input gets one line that says what was given, what is expected and where; exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import main

TEXT = "the sun under the moon and the river of stone " * 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of every kind, good and bad."""
    monkeypatch.chdir(tmp_path)
    files: dict[str, bytes] = {
        "good.txt": TEXT.encode(),
        "empty.txt": b"",
        "latin.txt": TEXT.encode() + b"\ncaf\xe9\n",
        "negative.log": b"1\n2\n-3\n4\n",
        "float.log": b"1\n2\n3.5\n",
        "mixed.log": b"1 2 3\n4 ERROR 6\n7 8 9\n",
        "long.log": b"1\n" + b"9" * 19 + b"\n3\n",
        "short.txt": b"ab" * 30,
        "one.txt": b"a" * 5000,
        "split/train/a.txt": TEXT.encode(),
        "broken.yaml": b"trials: [1,\n",
        "unknown.yaml": b"trails: 3\n",
        "list.yaml": b"- 1\n",
        "space.yaml": b"layer_sise: [8]\n",
        "range.yaml": b"dropout: {low: 0.5, high: 0.1}\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "hollow").mkdir()
    return tmp_path


LAUNCH = ["launch", "--data"]
GOOD = ["launch", "--data", "good.txt"]

CASES: list[tuple[list[str], list[str]]] = [
    # what is typed, and what the line must name
    ([*LAUNCH, "nowhere"], ["nowhere", "no such file", "python-docs", "workflow-log"]),
    ([*LAUNCH, "empty.txt"], ["empty.txt", "empty file", "expected"]),
    ([*LAUNCH, "hollow"], ["hollow", "no files", "expected"]),
    ([*LAUNCH, "latin.txt"], ["latin.txt:2", "0xe9", "UTF-8"]),
    ([*LAUNCH, "negative.log"], ["negative.log:3", "'-3'", "integer"]),
    ([*LAUNCH, "float.log"], ["float.log:3", "'3.5'", "integer"]),
    ([*LAUNCH, "mixed.log"], ["mixed.log:2", "'ERROR'", "integer"]),
    ([*LAUNCH, "long.log"], ["long.log:2", "at most 18 digits"]),
    ([*LAUNCH, "good.txt", "--symbols", "ids"], ["good.txt:1", "'the'", "integer"]),
    ([*LAUNCH, "good.txt", "--symbols", "words"], ["words", "auto, chars, ids"]),
    ([*LAUNCH, "short.txt"], ["short.txt", "train split has 48", "160"]),
    ([*LAUNCH, "one.txt"], ["one.txt", "1 distinct symbol", "at least 2"]),
    ([*LAUNCH, "split"], ["split", "train/", "validation/", "test/"]),
    ([*GOOD, "--set", "layer_sise=8"], ["--set layer_sise=8", "did you mean 'layer_size'"]),
    ([*GOOD, "--set", "layer_size="], ["--set layer_size=", "no values", "1 to 16384"]),
    ([*GOOD, "--set", "layer_size"], ["--set layer_size", "FIELD=VALUES"]),
    ([*GOOD, "--set", "dropout=0.5..0.1"], ["from 0.5 to 0.1 is empty", "0 to 0.99"]),
    ([*GOOD, "--set", "dropout=2"], ["dropout is 2.0", "0 to 0.99"]),
    ([*GOOD, "--set", "direction=both"], ["direction is 'both'", "uni, bi"]),
    ([*GOOD, "--set", "batch_size=64.5"], ["batch_size is 64.5", "an integer"]),
    ([*GOOD, "--set", "learning_rate=nan"], ["learning_rate is 'nan'", "a number"]),
    ([*GOOD, "--space", "nowhere.yaml"], ["nowhere.yaml", "default, quick"]),
    ([*GOOD, "--space", "space.yaml"], ["space.yaml", "did you mean 'layer_size'"]),
    ([*GOOD, "--space", "range.yaml"], ["range.yaml", "from 0.5 to 0.1 is empty"]),
    ([*GOOD, "--space", "broken.yaml"], ["broken.yaml:2", "expected a YAML file"]),
    (["launch", "unknown.yaml"], ["unknown.yaml", "'trails'", "did you mean 'trials'"]),
    (["launch", "broken.yaml"], ["broken.yaml:2", "expected a YAML file"]),
    (["launch", "list.yaml"], ["list.yaml", "expected a mapping"]),
    (["launch", "absent.yaml"], ["absent.yaml", "No such file"]),
    ([*GOOD, "--trials", "0"], ["trials is 0", "from 1"]),
    ([*GOOD, "--epochs", "0"], ["epochs is 0", "from 1"]),
    ([*GOOD, "--workers", "0"], ["workers is 0", "from 1"]),
    ([*GOOD, "--minutes", "-1"], ["minutes is -1", "from 0"]),
    ([*GOOD, "--algo", "grid"], ["algo is 'grid'", "tpe, hyperopt, random, anneal"]),
    ([*GOOD, "--on", "moon"], ["on is 'moon'", "local, inline"]),
    ([*GOOD, "--size-rule", "maybe"], ["size_rule is 'maybe'", "reject, warn, off"]),
    ([*GOOD, "--name", "a/b"], ["name is 'a/b'", "letters"]),
    ([*GOOD, "--set", "layer_size=512"], ["size rule", "draws pass", "training symbols admit"]),
    (["size", "--data", "nowhere"], ["nowhere", "no such file"]),
    (["rerun", "x/1", "--set", "layers=2,3"], ["--set layers=2,3", "expected one"]),
]


@pytest.mark.parametrize(("typed", "named"), CASES, ids=lambda part: " ".join(part)[-40:])
def test_bad_input_gets_one_clear_line(
    typed: list[str], named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in folder.iterdir()}
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("lstm-sweep: ")
    for part in named:
        assert part in err
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("tracking_url: x", ["mlflow.yaml", "did you mean 'tracking_uri'"]),
        ("tracking_uri: ftp://x", ["ftp://x", "sqlite://"]),
        ("tracking_uri: 3", ["mlflow.yaml", "tracking_uri is 3", "expected text"]),
        ("- a", ["mlflow.yaml", "expected a mapping"]),
    ],
)
def test_a_wrong_settings_file_gets_one_clear_line(
    content: str, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mlflow.yaml").write_text(content, encoding="utf-8")
    assert main(["sweeps"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    for part in named:
        assert part in err
