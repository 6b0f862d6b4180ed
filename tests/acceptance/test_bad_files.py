"""A sweep, a space, a template or settings that are wrong get one line and exit code 2."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.config import DIRECTIONS, OPTIMIZERS
from tests.acceptance.bad_input import DATA, GOOD, MODEL, OVER, TEXT, refuse


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text(TEXT)
    (tmp_path / "ring").symlink_to("ring")
    return tmp_path


def model(returned: bytes) -> bytes:
    """A template that returns an expression, in line 4."""
    return DATA + b"def create_model(x, y):\n    return " + returned + b"\n"


WHOLE = "expected a whole number from"
#: content of SWEEP.yaml, and what the line must name beside the file
SWEEPS: list[tuple[bytes, list[str]]] = [
    (b"trials: 20\ntrials: 30\n", [":2", "found 'trials' twice", "line 1", "each field once"]),
    (b"space: {layers: 2, layers: 3}\n", [":1", "found 'layers' twice", "each field once"]),
    (b"trials: 20\nspace:\n  layers: [2, 3, 2]\n", ["layers lists 2 twice"]),
    (b"trials: {a: 1}\n", ["trials is {'a': 1}", WHOLE]),
    (b"trials: 2024-01-01\n", ["trials is datetime.date", WHOLE]),
    (b"trials: 010\n", ["trials is '010'", WHOLE]),
    (b"trials: " + b"9" * 5000, [":1", "'9999", "expected a value of", "int"]),
    (b"trials: 0x" + b"f" * 9000, ["trials is", "too large", WHOLE]),
    (b"minutes: 1:30\n", ["minutes is '1:30'", "expected a number above"]),
    (b"ladder: no\n", ["ladder is 'no'", "true or false"]),
    (b"split: 80/10/10\n", ["split is '80/10/10'", "three shares above 0"]),
    (b"split: [0x" + b"f" * 300 + b", 0.5, 0.5]\n", ["split is [", "three shares above 0"]),
    (b'data: "a\\0b"\n', [r"'a\x00b'", "null byte"]),
    (b"data: ring\n", ["ring", "expected a file or folder"]),
    (b"space: [layers]\n", ["space: found a list", "expected a mapping"]),
    (b"space: {layer_sise: 8}\n", ["space: 'layer_sise'", "did you mean 'layer_size'?"]),
    (b"1: 2\n", ["1 is no field", "possible: data"]),
    (b"? [a]\n: 1\n", [":1", "unhashable key", "expected a YAML file"]),
    (b"<<: {trials: 3}\n", ["'<<' is no field", "possible: data"]),
    (b"x" * 900 + b": 1\n", ["'xxx", "is no field", "possible: data"]),
    (b"trials: " + b"x" * 60_000, ["trials is 'xxx", "xx...'", WHOLE]),
    (b"trials: 1\n---\ntrials: 2\n", [":2", "another document", "expected a YAML file"]),
    (b"trials:\n\t- 1\n", [":2", "cannot start any token", "expected a YAML file"]),
    (b"trials: 3\nseed: \0\n", [":2", "U+0000", "expected a YAML file"]),
    (b"trials: \xff\n", ["not UTF-8", "expected a YAML file"]),
    ("trials: 20\n".encode("utf-16"), ["not UTF-8", "expected a YAML file"]),
    (b"trials: !!python/name:os.system\n", [":1", "python/name", "expected a YAML file"]),
    (b"trials: !!binary AAAA\n", [":1", "binary", "expected a YAML file"]),
    (b"trials: !!int few\n", [":1", "'few'", "expected a value of", "int"]),
    (b"a: &a [x, x]\nb: &b [*a, *a]\n", [":2", "the alias '*a'", "expected its values"]),
    (b"trials: &a [*a]\n", [":1", "the alias '*a'", "expected its values"]),
    (b"space: " + b"[" * 60_000, [":1", "nested too deeply", "at most 20 levels"]),
    (b"{a: " * 15_000, [":1", "nested too deeply", "at most 20 levels"]),
    (b"- " * 30_000, [":1", "nested too deeply", "at most 20 levels"]),
    (b"#" * 10_000_000, ["too long", "at most 65,536 bytes"]),
    (b"trials: 'a\n", [":2", "end of stream", "expected a YAML file"]),
    (b"", ["found no fields", "expected a mapping"]),
    (b"~\n", ["found no fields", "expected a mapping"]),
]
#: content of a space file, and what the line must name beside the file
SPACES: list[tuple[bytes, list[str]]] = [
    (b"", ["found nothing", "expected a mapping"]),
    (b"7\n", ["found a int", "expected a mapping"]),
    (b"layers: 2\nlayers: 3\n", [":2", "found 'layers' twice", "each field once"]),
    (b"dropout: {low: 0, low: 0.1, high: 0.5}\n", [":1", "found 'low' twice", "each field once"]),
    (b"layers: []\n", ["layers has no values", "1 to 16"]),
    (b"layers: null\n", ["layers is None", "1 to 16"]),
    (b"layers: [2, [3]]\n", ["layers is [3]", "1 to 16"]),
    (b"layers: [2, true]\n", ["layers is True", "1 to 16"]),
    (b"layers: [0x" + b"f" * 9000 + b"]\n", ["layers is", "too large", "1 to 16"]),
    (b"layers: 2024-01-01\n", ["layers is datetime.date", "1 to 16"]),
    (b"direction: [uni, uni]\n", ["direction lists 'uni' twice", "each value once"]),
    (b"direction: [uni, []]\n", ["direction is []", ", ".join(DIRECTIONS)]),
    (b"optimizer: sdg\n", ["optimizer is 'sdg'", ", ".join(OPTIMIZERS)]),
    (b"dropout: {low: 0}\n", ["dropout has no 'high'", "low and high"]),
    (b"dropout: {}\n", ["dropout has no 'low'", "low and high"]),
    (b"dropout: {low: 0, hihg: 1}\n", ["dropout has 'hihg'", "did you mean 'high'?"]),
    (b"dropout: {low: 0, high: {}}\n", ["dropout is '{}'", "0 to 0.99"]),
    (b"dropout: {low: 0, high: 0.5, scale: 3}\n", ["scale 3", "linear or log"]),
    (b"dropout: {low: 0, high: 0.5, scale: log}\n", ["log scale", "low above 0"]),
    (b"dropout: {low: 0, high: 0.5, step: -1}\n", ["step -1", "leads from the low end"]),
    (b"dropout: {low: 0, high: 0.5, step: 0}\n", ["step 0", "leads from the low end"]),
    (b"dropout: {low: 0, high: 0.5, step: 0.3}\n", ["step 0.3", "leads from the low end"]),
    (b"dropout: {low: 0, high: 0.5, step: 5.0e-12}\n", ["step 5e-12", "at most 100,000 steps"]),
    (b"dropout: {low: 0, high: 0.5, step: 5.0e-324}\n", ["step", "leads from the low end"]),
    (b"layers: {low: 2, high: 3, step: 0.5}\n", ["step 0.5", "leads from the low end"]),
    (b"epochs: " + b"z" * 60_000, ["epochs is 'zzz", "zz...'", "1 to 100000"]),
    (b"a: &a [x, x]\nb: &b [*a, *a]\n", [":2", "the alias '*a'", "expected its values"]),
]
#: content of a template, and what the line must name beside the file
TEMPLATES: list[tuple[bytes, list[str]]] = [
    (b"", ["an empty file", "expected a Python file with {{...}} in it"]),
    (b" \n\n", ["an empty file"]),
    (b"#" * 2_000_000, ["too long", "at most 1,048,576 bytes"]),
    (b"x = 1\ny = '\xff'\n", [":2", "not UTF-8"]),
    ("x = 1\n".encode("utf-16"), [":1", "not UTF-8"]),
    (b"x = \0\n", [":1", "null bytes", "expected Python 3"]),
    (b"x = 1\nprint 'x'\n", [":2", "Missing parentheses", "expected Python 3"]),
    (b"def f():\nreturn 1\n", [":2", "indented block", "expected Python 3"]),
    (b"x = {{choice([1, 2)}}\n", [":1", "does not match", "expected Python 3"]),
    (b"x = " + b"(" * 5_000, [":1", "too many nested", "expected Python 3"]),
    (b"x = " + b"-" * 60_000 + b"1\n", [":1", "expected"]),
    (b"trials: 20\n", [":1", "no function data", "data() and create_model(...)"]),
    (DATA, ["no function create_model", "data() and create_model(...)"]),
    (DATA + b"def create_modle(x):\n    pass\n", ["did you mean 'create_modle'?"]),
    (MODEL, ["no function data", "data() and create_model(...)"]),
    (DATA + b"class A:\n    def create_model(x):\n        pass\n", ["at the top level"]),
    (DATA + b"def create_model(x):\n    return 1\n", ["no hyperparameter", "{{choice([16, 32])}}"]),
    (DATA + b"def create_model(x):\n    return '{{choice([1, 2])}}'\n", ["no hyperparameter"]),
    (MODEL + b"def data(path):\n    return path\n", [":3", "data takes arguments", "none"]),
    (MODEL + b"def data():\n    x = 1\n", [":3", "data returns nothing"]),
    (DATA + b"def create_model(a, b, c):\n    return a + {{choice([1, 2])}}\n",
     [":3", "takes a, b, c, but data returns x, y", "as many, or the same names"]),
    (model(b" + ".join([b"{{uniform(0, 1)}}"] * 400)), [":1", "400 hyperparameters", "fewer"]),
    (model(b"{{unifrom(0, 1)}}"), [":4", "'unifrom'", "did you mean 'uniform'?"]),
    (model(b"{{uniform(0)}}"), [":4", "found uniform(0)", "expected uniform(low, high)"]),
    (model(b"{{uniform(0, top)}}"), [":4", "high of uniform is 'top'", "a number"]),
    (model(b"{{choice(16, 32)}}"), [":4", "expected choice(options)"]),
    (model(b"{{choice(f())}}"), [":4", "options of choice are 'f()'"]),
    (model(b"{{quniform(5, 6, 4)}}"), [":4", "no multiple of 4"]),
    (model(b"{{loguniform(1, 1000)}}"), [":4", "takes logarithms"]),
    (model(b"{{x, y}}"), [":4", "found", "expected a distribution"]),
    (model(b"{{choice([1, {{uniform(0, 1)}}])}}"), [":4", "within a {{...}}", "on its own"]),
    (model(b"f(**{{choice([{}, {}])}})"), [":4", "**{{...}} names no argument", "units={{...}}"]),
    (model(b"{**{{choice([{}, {}])}}}"), [":4", "**{{...}} names no key"]),
    (model(b"f(*{{choice([1, 2])}})"), [":4", "*{{...}} names no argument"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "named"), SWEEPS, ids=lambda part: str(part[:30]))
def test_a_wrong_file_of_a_sweep_gets_one_clear_line(
    content: bytes, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sweep.yaml").write_bytes(content)
    refuse(["launch", "sweep.yaml"], ["sweep.yaml", *named], folder, capsys)


@pytest.mark.parametrize(("content", "named"), SPACES, ids=lambda part: str(part[:30]))
def test_a_wrong_file_of_a_space_gets_one_clear_line(
    content: bytes, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "space.yaml").write_bytes(content)
    refuse([*GOOD, "--space", "space.yaml"], ["space.yaml", *named], folder, capsys)


@pytest.mark.parametrize(("content", "named"), TEMPLATES, ids=lambda part: str(part[-30:]))
def test_a_wrong_template_gets_one_clear_line(
    content: bytes, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.py").write_bytes(content)
    refuse([*OVER, "mine.py"], ["mine.py", *named], folder, capsys)


#: content of a settings file, and what the line must name beside the file where it names that
SETTINGS: list[tuple[bytes, list[str]]] = [
    (b"tracking_url: x", ["mlflow.yaml", "did you mean 'tracking_uri'"]),
    (b"tracking_uri: ftp://x", ["ftp://x", "sqlite://"]),
    (b"tracking_uri: 3", ["mlflow.yaml", "tracking_uri is 3", "expected text"]),
    (b"- a", ["mlflow.yaml", "expected a mapping"]),
    (b"tracking_uri: postgresql://me:planted@host/runs",
     ["mlflow.yaml", "holds a password", "PGPASSWORD"]),
    (b"tracking_uri: http://me:planted@host", ["mlflow.yaml", "MLFLOW_TRACKING_PASSWORD"]),
    (b"artifacts: s3://key:planted@bucket/x",
     ["mlflow.yaml", "artifacts holds a password", "AWS_SECRET_ACCESS_KEY"]),
    (b"tracking_uri: postgresql+nothing://host/runs", ["postgresql+nothing", "module nothing"]),
    (b"tracking_uri: postgresql+psycopg2.x://host/runs", ["the module psycopg2.x"]),
    (b"allowed_hosts: mlflow", ["mlflow.yaml", "allowed_hosts is 'mlflow'", "a list"]),
    (b"allowed_hosts: ['*']", ["mlflow.yaml", "allowed_hosts has '*'", "runs.example.org"]),
    (b"allowed_hosts: ['a:80']", ["mlflow.yaml", "allowed_hosts has 'a:80'", "without port"]),
    (b"request_timeout_s: 0", ["mlflow.yaml", "request_timeout_s is 0", "from 1 to 3,600"]),
    (b"experiment: caf\xe9", ["mlflow.yaml", "not UTF-8", "expected a YAML file"]),
    (b"artifacts: a\nartifacts: b\n", ["mlflow.yaml:2", "found 'artifacts' twice"]),
    (b"#" * 10_000_000, ["mlflow.yaml", "too long", "at most 65,536 bytes"]),
    (b"experiment: \0\n", ["mlflow.yaml:1", "U+0000", "expected a YAML file"]),
    (b'artifacts: "a\\0b"\n', ["mlflow.yaml", r"artifacts is 'a\x00b'", "text in one line"]),
    (b'artifacts: "s3://a\\0b"\n', ["mlflow.yaml", r"is 's3://a\x00b'", "text in one line"]),
    (b'tracking_uri: "sqlite:///a\\0b"\n', ["mlflow.yaml", r"sqlite:///a\x00b'", "in one line"]),
    (b'experiment: "a\\0b"\n', ["mlflow.yaml", r"experiment is 'a\x00b'", "in one line"]),
    (b'experiment: "a\\uD800b"\n', ["mlflow.yaml", r"is 'a\ud800b'", "in one line"]),
    (b"experiment: " + b"x" * 9_000 + b"\nexperiments: 1\n", ["'experiments' is no setting"]),
    (b"artifacts: loop/of/links\n", ["artifacts is '/", "loop/of/links", "Too many levels"]),
    (b"tracking_uri: sqlite:///loop/runs.db\n", ["tracking_uri is '/", "Too many levels"]),
    (b"artifacts: " + b"x" * 300, ["artifacts is '/", "xx...'", "name too long"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "named"), SETTINGS, ids=lambda part: str(part[:60]))
def test_a_wrong_settings_file_gets_one_clear_line(
    content: bytes, named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mlflow.yaml").write_bytes(content)
    (folder / "loop").symlink_to("loop")
    assert "planted" not in refuse(["sweeps"], named, folder, capsys)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda file: file.mkdir(), "it is no file"),
        (lambda file: file.symlink_to("nowhere"), "No such file or directory"),
        (lambda file: file.symlink_to("mlflow.yaml"), "Too many levels of symbolic links"),
        (lambda file: os.mkfifo(file), "it is no file"),
    ],
    ids=["folder", "dangling link", "loop of links", "pipe"],
)
def test_what_is_no_settings_file_gets_one_clear_line(
    make: Callable[[Path], None], named: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(folder / "mlflow.yaml")
    for typed in (["sweeps"], GOOD, ["ui"]):
        refuse(typed, [f"{folder}/mlflow.yaml: {named}, expected"], folder, capsys)
