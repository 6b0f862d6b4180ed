"""Bad input gets one line that says what was given, what is expected and where; exit code 2."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.config import DIRECTIONS, OPTIMIZERS, PRECISIONS
from lstm_sweep.search.cli import main

DATA = b"def data():\n    return x, y\n"
MODEL = b"def create_model(x, y):\n    return {{choice([1, 2])}}\n"
TEMPLATE = DATA + MODEL
OVER = ["launch", "--template"]
GOOD = ["launch", "--data", "good.txt"]
TEXT = "the sun under the moon and the river of stone " * 60


def lay_out(folder: Path) -> Path:
    """Fill a folder with data of every kind, good and bad."""
    files: dict[str, bytes] = {
        "good.txt": TEXT.encode(),
        "empty.txt": b"",
        "latin.txt": TEXT.encode() + b"\ncaf\xe9\n",
        "mixed.log": b"1 2 3\n4 ERROR 6\n7 8 9\n",
        "short.txt": b"ab" * 30,
        "one.txt": b"a" * 5000,
        "split/train/a.txt": TEXT.encode(),
        "utf16.txt": TEXT.encode("utf-16-le"),
        "marked.txt": TEXT.encode("utf-16"),
        "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "signed.log": b"1\n+2\n3\n",
        "white.txt": b" \n" * 3,
        "two/a.log": b"1\n2\n" * 100,
        "two/b.log": b"1\nend\n",
        "mixed/a.txt": TEXT.encode(),
        "mixed/b.txt": b"\xff\xfe",
        "hidden/.a.txt": TEXT.encode(),
        "poor/train/a.txt": b"aaaa" * 500,
        "poor/validation/a.txt": b"ab" * 500,
        "poor/test/a.txt": b"ab" * 500,
        "brief/train/a.txt": TEXT.encode(),
        "brief/validation/a.txt": TEXT.encode(),
        "brief/test/a.txt": b"the sun",
        "shares/train": TEXT.encode(),
        "shares/validation/a.txt": TEXT.encode(),
        "shares/test/a.txt": TEXT.encode(),
        "tied/a.txt": TEXT.encode(),
        "good.py": TEMPLATE,
        "both.yaml": b"template: good.py\nspace: quick\n",
        "rate.yaml": b"learning_rate_field: units\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "hollow").mkdir()
    (folder / "astray.txt").symlink_to("gone.txt")
    (folder / "astray.yaml").symlink_to("gone.yaml")
    (folder / "tied" / "b.txt").symlink_to("gone.txt")
    (folder / "ring").symlink_to("ring")
    os.mkfifo(folder / "pipe")
    return folder


def refuse(
    typed: list[str], named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """Check that what is typed gets one short line with all of `named`, and that is all."""
    before = _content(folder)
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("lstm-sweep: ")
    assert len(err) < 1_100
    for part in named:
        assert part in err
    assert _content(folder) == before
    return err


def _content(folder: Path) -> dict[Path, int]:
    """When each thing in a folder was changed."""
    return {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all these tests, since what is refused changes nothing.

    A file of numbers in it has a word of more than two blocks.
    """
    folder = tmp_path_factory.mktemp("bad")
    (folder / "words.log").write_bytes(b"1 2 3 4\n" * 40 + b"5 " + b"x" * 3_000_000 + b"\n")
    return lay_out(folder)


@pytest.fixture
def folder(laid_out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(laid_out)
    return laid_out


LAUNCH = ["launch", "--data"]
CASES: list[tuple[list[str], list[str]]] = [
    # what is typed, and what the line must name
    ([*OVER, ""], ["template is ''", "expected a Python file"]),
    ([*OVER, "nowhere.py"], ["nowhere.py", "no such file", "expected a Python file"]),
    ([*OVER, "hollow"], ["hollow", "a folder", "expected a Python file"]),
    ([*OVER, "a\0b"], ["expected a Python file"]),
    ([*OVER, "good.py", "--data", "good.txt"], ["data is given with a template", "one of the two"]),
    ([*OVER, "good.py", "--size-rule", "off"], ["--size-rule is given with a template"]),
    ([*OVER, "good.py", "--set", "layers=2"], ["layers=2 is given", "stands in the template"]),
    ([*OVER, "good.py", "--epochs", "2"], ["epochs=2 is given", "stands in the template"]),
    (
        [*OVER, "good.py", "--learning-rate-field", "rate"],
        ["--learning-rate-field rate", "no hyperparameter", "expected one of return:4"],
    ),
    (["launch", "--learning-rate-field", "rate"], ["-field is given", "a template with it"]),
    (["launch", "both.yaml"], ["both.yaml", "space is given with a template"]),
    (["launch", "rate.yaml"], ["rate.yaml", "learning_rate_field", "a template with it"]),
    ([*LAUNCH, "nowhere"], ["nowhere", "no such file", "python-docs", "workflow-log"]),
    ([*LAUNCH, "empty.txt"], ["empty.txt", "empty file", "expected"]),
    ([*LAUNCH, "hollow"], ["hollow", "no files", "expected"]),
    ([*LAUNCH, "latin.txt"], ["latin.txt:2", "0xe9", "UTF-8"]),
    ([*LAUNCH, "mixed.log"], ["mixed.log:2", "'ERROR'", "integer"]),
    ([*LAUNCH, "good.txt", "--symbols", "ids"], ["good.txt:1", "'the'", "integer"]),
    ([*LAUNCH, "short.txt"], ["short.txt", "train split has 48", "160"]),
    ([*LAUNCH, "one.txt"], ["one.txt", "1 distinct symbol", "at least 2"]),
    ([*GOOD, "--set", "layer_sise=8"], ["--set layer_sise=8", "did you mean 'layer_size'"]),
    ([*GOOD, "--set", "precision=half"], ["precision", ", ".join(PRECISIONS)]),
    ([*GOOD, "--set", "precision=float16"], ["float16 needs a GPU", "expected float32"]),
    ([*GOOD, "--progress", "loud"], ["'loud'", "auto, table, lines, json, off"]),
    (["compare", "a/1", "a"], ["trial", "expected"]),
    ([*GOOD, "--epochs", "0"], ["epochs is 0", "from 1"]),
    ([*GOOD, "--set", "layer_size=512"], ["size rule", "draws pass", "training symbols admit"]),
    (["rerun", "x/1", "--set", "sequence_length=auto"], ["expected an integer from 1 to 10000"]),
    # data: other kinds of files, and files of other kinds
    ([*LAUNCH, ""], ["data is ''", "expected a path or the name of a sample"]),
    ([*LAUNCH, "python-doc"], ["python-doc", "did you mean 'python-docs'?"]),
    ([*LAUNCH, "utf16.txt"], ["utf16.txt", "is text in UTF-16LE", "iconv -f UTF-16LE -t UTF-8"]),
    ([*LAUNCH, "marked.txt"], ["marked.txt", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8"]),
    ([*LAUNCH, "picture.png"], ["picture.png:3", "0x00", "as binary files have"]),
    ([*LAUNCH, "words.log"], ["words.log:41", "'xxxx", "xx...'", "integer"]),
    ([*LAUNCH, "signed.log"], ["signed.log:2", "'+2'", "integer"]),
    ([*LAUNCH, "white.txt", "--symbols", "ids"], ["white.txt", "has no symbols"]),
    ([*LAUNCH, "two"], ["b.log:2", "'end'", "integer"]),
    ([*LAUNCH, "mixed"], ["b.txt", "UTF-16", "expected UTF-8"]),
    ([*LAUNCH, "hidden"], ["hidden", "no files", "expected symbols"]),
    ([*LAUNCH, "poor"], ["poor", "1 distinct symbol", "at least 2"]),
    ([*LAUNCH, "brief"], ["brief", "test split has 7", "160"]),
    ([*LAUNCH, "shares"], ["shares", "found validation/ but not train/", "all three or none"]),
    ([*LAUNCH, "tied"], ["b.txt", "a link to nothing", "expected a file"]),
    ([*LAUNCH, "astray.txt"], ["gone.txt", "no such file"]),
    ([*LAUNCH, "ring"], ["ring", "expected a file or folder"]),
    ([*LAUNCH, "pipe"], ["pipe", "a device or pipe", "expected a file or folder"]),
    ([*LAUNCH, "good.txt/more"], ["good.txt/more", "no such file"]),
    ([*LAUNCH, "a\0b"], [r"'a\x00b'", "null byte", "expected a file or folder"]),
    ([*LAUNCH, "\x1b[31m\u2028"], [r"\x1b[31m\u2028'", "no such file"]),
    ([*LAUNCH, "x" * 5000], ["data 'xxxx", "xx...'", "name too long", "expected a file"]),
    ([*LAUNCH, "~nobody-of-this-name/x"], ["~nobody-of-this-name", "expected a file or folder"]),
    # --set
    ([*GOOD, "--set", "=8"], ["--set =8", "''", "possible: direction"]),
    ([*GOOD, "--set", ""], ["--set : ", "FIELD=VALUES"]),
    ([*GOOD, "--set", "learning_rate=1e999"], ["learning_rate is '1e999'", "up to 1000"]),
    ([*GOOD, "--set", "layers=" + "9" * 5000], ["--set layers=999", "layers is '999", "1 to 16"]),
    ([*GOOD, "--set", "x" * 9000 + "=1"], ["--set xxx", "'xxx", "possible: direction"]),
    (["rerun", "x/1", "--set", "layers"], ["--set layers", "FIELD=VALUE"]),
    (["rerun", "x/1", "--set", "layer=2"], ["--set layer=2", "did you mean 'layers'?"]),
    (["rerun", "x/1", "--set", "dropout=0..0.5"], ["--set dropout=0..0.5", "expected one"]),
    # --space, and files of a sweep
    ([*GOOD, "--space", "quik"], ["'quik'", "did you mean 'quick'?"]),
    ([*GOOD, "--space", "hollow"], ["'hollow'", "a folder", "default, quick"]),
    ([*GOOD, "--space", "astray.yaml"], ["'astray.yaml'", "no such file"]),
    ([*GOOD, "--space", "a\0b"], [r"'a\x00b'", "no such file"]),
    ([*GOOD, "--space", "x" * 9000], ["space 'xxx", "xx...'", "default, quick"]),
    (["launch", "hollow"], ["hollow", "Is a directory", "expected a YAML file"]),
    (["launch", "astray.yaml"], ["astray.yaml", "No such file", "expected a YAML file"]),
    (["launch", "/dev/zero"], ["/dev/zero", "too long", "at most 65,536 bytes"]),
    (["launch", "a\0b"], [r"a\x00b", "null byte", "expected a YAML file"]),
    (["launch", "x" * 9000], ["xxx", "name too long", "expected a YAML file"]),
    (["resume", "x", ""], ["SWEEP.yaml is ''", "expected the path of a YAML file"]),
    # options
    ([*GOOD, "--trials"], ["--trials", "expected one argument"]),
    ([*GOOD, "--rounds-per-epoch", "9999"], ["rounds_per_epoch is 9999", "expected at most"]),
    ([*GOOD, "--name", "a\nb"], [r"--name is 'a\nb'", "letters"]),
    ([*GOOD, "--trails", "5"], ["'--trails'", "did you mean '--trials'?"]),
    ([*GOOD, "more.txt", "again.txt"], ["'again.txt'", "which it does not take", "--help"]),
    (["lanch"], ["'lanch'", "did you mean 'launch'?"]),
    (["--server", "http://x", "sweeps"], ["'--server' before the command", "sweeps --server URL"]),
    (["x\n" * 9000], [r"'x\n", "expected one of launch"]),
    ([], ["COMMAND", "required", "--help"]),
    (["size", "--data", "hollow"], ["hollow", "no files", "expected symbols"]),
    (["size", "--data", "good.txt", "--set", "layers=0"], ["layers is 0", "1 to 16"]),
    # names of sweeps and trials, ports, folders
    (["trials"], ["NAME", "required"]),
    (["trials", "x", "--top", "few"], ["--top", "'few'", "a whole number"]),
    (["trials", "../x"], ["sweep is '../x'", "letters"]),
    (["stop", "x"], ["sweep 'x'", "no store", "launch"]),
    (["resume", "x\0"], [r"sweep is 'x\x00'", "letters"]),
    (["show", "x/1"], ["trial 'x/1'", "no store", "launch"]),
    (["show", "../x/1"], ["trial '../x/1'", "SWEEP/NUMBER"]),
    (["show", "x/" + "9" * 9000], ["trial 'x/999", "9...'", "SWEEP/NUMBER"]),
    (["rerun", "a\r\nb"], [r"trial 'a\r\nb'", "SWEEP/NUMBER"]),
    (["export", "x", "--to", "new"], ["'x'", "no store", "launch"]),
    (["export", "x"], ["--to", "required"]),
    (["export", "x y", "--to", "new"], ["trial 'x y'", "SWEEP/NUMBER"]),
    (["export", "x", "--to", ""], ["--to ''", "found nothing", "a new or an empty folder"]),
    (["export", "x", "--to", "split"], ["--to 'split'", "something there", "an empty folder"]),
    (["export", "x", "--to", "good.txt/a/b"], ["--to", "good.txt is a file", "a new folder"]),
    (["export", "x", "--to", "astray.txt"], ["--to 'astray.txt'", "a link to nothing"]),
    (["export", "x", "--to", "a\0b"], [r"--to 'a\x00b'", "null byte", "a new folder"]),
    (["export", "x", "--to", "y" * 9000], ["--to 'yyy", "name too long", "a new folder"]),
    (["generate", "new"], ["bundle 'new'", "found nothing", "a folder written by `export`"]),
    (["generate", "good.txt"], ["bundle 'good.txt'", "found a file", "a folder written"]),
    (["generate", "split"], ["bundle 'split'", "config.json: No such file", "a file to read"]),
    (["generate", "a\0b"], [r"bundle 'a\x00b'", "null byte", "expected a folder"]),
    (["generate", "y" * 9000], ["bundle 'yyy", "name too long", "expected a folder"]),
    (["generate", "x", "--length", "1000001"], ["--length is 1000001", "1 to 1,000,000"]),
    (["generate", "x", "--temperature", "nan"], ["--temperature is nan", "0 to 100"]),
    (["generate", "x", "--temperature", "warm"], ["--temperature", "'warm'", "a number"]),
    (["generate", "x", "--count", "0"], ["--count is 0", "1 to 1,000"]),
    (["generate", "x", "--seed", "-1"], ["--seed is -1", "0 to"]),
    (["ui", "--port", "65536"], ["--port is 65536", "1 to 65535"]),
    (["ui", "--port", "http"], ["--port", "'http'", "a whole number"]),
    (["sweeps", "x"], ["'x'", "possible: -h, --limit, --all, --server, --json"]),
]


@pytest.mark.parametrize(("typed", "named"), CASES, ids=lambda part: " ".join(part)[-40:])
def test_bad_input_gets_one_clear_line(
    typed: list[str], named: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(typed, named, folder, capsys)


def test_a_port_that_is_taken_gets_one_clear_line(
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    err = capsys.readouterr().err
    assert err == f"lstm-sweep: --port {port}: it is taken, expected a free one\n"


# A sweep, a space, a template or settings that are wrong get one line and exit code 2


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
    (b"trials: 20\nspace:\n  layers: [2, 3, 2]\n", ["layers lists 2 twice"]),
    (b"trials: {a: 1}\n", ["trials is {'a': 1}", WHOLE]),
    (b"trials: 010\n", ["trials is '010'", WHOLE]),
    (b"trials: " + b"9" * 5000, [":1", "'9999", "expected a value of", "int"]),
    (b"trials: 0x" + b"f" * 9000, ["trials is", "too large", WHOLE]),
    (b"minutes: 1:30\n", ["minutes is '1:30'", "expected a number above"]),
    (b"ladder: no\n", ["ladder is 'no'", "true or false"]),
    (b"split: 80/10/10\n", ["split is '80/10/10'", "three shares above 0"]),
    (b"split: [0x" + b"f" * 300 + b", 0.5, 0.5]\n", ["split is [", "three shares above 0"]),
    (b"space: [layers]\n", ["space: found a list", "expected a mapping"]),
    (b"1: 2\n", ["1 is no field", "possible: data"]),
    (b"? [a]\n: 1\n", [":1", "unhashable key", "expected a YAML file"]),
    (b"<<: {trials: 3}\n", ["'<<' is no field", "possible: data"]),
    (b"x" * 900 + b": 1\n", ["'xxx", "is no field", "possible: data"]),
    (b"trials: " + b"x" * 60_000, ["trials is 'xxx", "xx...'", WHOLE]),
    (b"trials: 1\n---\ntrials: 2\n", [":2", "another document", "expected a YAML file"]),
    (b"trials:\n\t- 1\n", [":2", "cannot start any token", "expected a YAML file"]),
    (b"trials: 3\nseed: \0\n", [":2", "U+0000", "expected a YAML file"]),
    (b"trials: \xff\n", ["not UTF-8", "expected a YAML file"]),
    (b"trials: !!python/name:os.system\n", [":1", "python/name", "expected a YAML file"]),
    (b"trials: !!binary AAAA\n", [":1", "binary", "expected a YAML file"]),
    (b"trials: !!int few\n", [":1", "'few'", "expected a value of", "int"]),
    (b"a: &a [x, x]\nb: &b [*a, *a]\n", [":2", "the alias '*a'", "expected its values"]),
    (b"trials: &a [*a]\n", [":1", "the alias '*a'", "expected its values"]),
    (b"- " * 30_000, [":1", "nested too deeply", "at most 20 levels"]),
    (b"trials: 'a\n", [":2", "end of stream", "expected a YAML file"]),
    (b"", ["found no fields", "expected a mapping"]),
]
#: content of a space file, and what the line must name beside the file
SPACES: list[tuple[bytes, list[str]]] = [
    (b"", ["found nothing", "expected a mapping"]),
    (b"7\n", ["found a int", "expected a mapping"]),
    (b"layer_sise: [8]\n", ["did you mean 'layer_size'"]),
    (b"dropout: {low: 0.5, high: 0.1}\n", ["from 0.5 to 0.1 is empty"]),
    (b"layers: []\n", ["layers has no values", "1 to 16"]),
    (b"layers: [2, [3]]\n", ["layers is [3]", "1 to 16"]),
    (b"layers: [2, true]\n", ["layers is True", "1 to 16"]),
    (b"layers: [0x" + b"f" * 9000 + b"]\n", ["layers is", "too large", "1 to 16"]),
    (b"direction: [uni, uni]\n", ["direction lists 'uni' twice", "each value once"]),
    (b"direction: [uni, []]\n", ["direction is []", ", ".join(DIRECTIONS)]),
    (b"optimizer: sdg\n", ["optimizer is 'sdg'", ", ".join(OPTIMIZERS)]),
    (b"dropout: {low: 0}\n", ["dropout has no 'high'", "low and high"]),
    (b"dropout: {low: 0, hihg: 1}\n", ["dropout has 'hihg'", "did you mean 'high'?"]),
    (b"dropout: {low: 0, high: {}}\n", ["dropout is '{}'", "0 to 0.99"]),
    (b"dropout: {low: 0, high: 0.5, scale: 3}\n", ["scale 3", "linear or log"]),
    (b"dropout: {low: 0, high: 0.5, scale: log}\n", ["log scale", "low above 0"]),
    (b"dropout: {low: 0, high: 0.5, step: 0}\n", ["step 0", "leads from the low end"]),
    (b"dropout: {low: 0, high: 0.5, step: 0.3}\n", ["step 0.3", "leads from the low end"]),
    (b"dropout: {low: 0, high: 0.5, step: 5.0e-12}\n", ["step 5e-12", "at most 100,000 steps"]),
    (b"layers: {low: 2, high: 3, step: 0.5}\n", ["step 0.5", "leads from the low end"]),
]
#: content of a template, and what the line must name beside the file
TEMPLATES: list[tuple[bytes, list[str]]] = [
    (b" \n\n", ["an empty file"]),
    (b"#" * 2_000_000, ["too long", "at most 1,048,576 bytes"]),
    (b"x = 1\ny = '\xff'\n", [":2", "not UTF-8"]),
    (b"x = \0\n", [":1", "null bytes", "expected Python 3"]),
    (b"x = 1\nprint 'x'\n", [":2", "Missing parentheses", "expected Python 3"]),
    (b"x = {{choice([1, 2)}}\n", [":1", "does not match", "expected Python 3"]),
    (b"x = " + b"(" * 5_000, [":1", "too many nested", "expected Python 3"]),
    (b"x = " + b"-" * 60_000 + b"1\n", [":1", "expected"]),
    (DATA, ["no function create_model", "data() and create_model(...)"]),
    (DATA + b"def create_modle(x):\n    pass\n", ["did you mean 'create_modle'?"]),
    (MODEL, ["no function data", "data() and create_model(...)"]),
    (DATA + b"class A:\n    def create_model(x):\n        pass\n", ["at the top level"]),
    (DATA + b"def create_model(x):\n    return '{{choice([1, 2])}}'\n", ["no hyperparameter"]),
    (MODEL + b"def data(path):\n    return path\n", [":3", "data takes arguments", "none"]),
    (MODEL + b"def data():\n    x = 1\n", [":3", "data returns nothing"]),
    (DATA + b"def create_model(a, b, c):\n    return a + {{choice([1, 2])}}\n",
     [":3", "takes a, b, c, but data returns x, y", "the same names, or as many"]),
    (model(b" + ".join([b"{{uniform(0, 1)}}"] * 400)), [":1", "400 hyperparameters", "fewer"]),
    (model(b"{{unifrom(0, 1)}}"), [":4", "'unifrom'", "did you mean 'uniform'?"]),
    (model(b"{{x, y}}"), [":4", "found", "expected a distribution"]),
    (model(b"{{choice([1, {{uniform(0, 1)}}])}}"), [":4", "within a {{...}}", "on its own"]),
    (model(b"f(**{{choice([{}, {}])}})"), [":4", "**{{...}} names no argument", "units={{...}}"]),
    (model(b"{**{{choice([{}, {}])}}}"), [":4", "**{{...}} names no key"]),
    (model(b"f(*{{choice([1, 2])}})"), [":4", "*{{...}} names no argument"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "named"), SWEEPS, ids=lambda part: str(part[:30]))
def test_a_wrong_file_of_a_sweep_gets_one_clear_line(
    content: bytes, named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "sweep.yaml").write_bytes(content)
    refuse(["launch", "sweep.yaml"], ["sweep.yaml", *named], place, capsys)


@pytest.mark.parametrize(("content", "named"), SPACES, ids=lambda part: str(part[:30]))
def test_a_wrong_file_of_a_space_gets_one_clear_line(
    content: bytes, named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "space.yaml").write_bytes(content)
    refuse([*GOOD, "--space", "space.yaml"], ["space.yaml", *named], place, capsys)


@pytest.mark.parametrize(("content", "named"), TEMPLATES, ids=lambda part: str(part[-30:]))
def test_a_wrong_template_gets_one_clear_line(
    content: bytes, named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.py").write_bytes(content)
    refuse([*OVER, "mine.py"], ["mine.py", *named], place, capsys)


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
    (b"experiment: \0\n", ["mlflow.yaml:1", "U+0000", "expected a YAML file"]),
    (b'artifacts: "a\\0b"\n', ["mlflow.yaml", r"artifacts is 'a\x00b'", "text in one line"]),
    (b'experiment: "a\\uD800b"\n', ["mlflow.yaml", r"is 'a\ud800b'", "in one line"]),
    (b"experiment: " + b"x" * 9_000 + b"\nexperiments: 1\n", ["'experiments' is no setting"]),
    (b"artifacts: loop/of/links\n", ["artifacts is '/", "loop/of/links", "Too many levels"]),
    (b"tracking_uri: sqlite:///loop/runs.db\n", ["tracking_uri is '/", "Too many levels"]),
    (b"artifacts: " + b"x" * 300, ["artifacts is '/", "xx...'", "name too long"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "named"), SETTINGS, ids=lambda part: str(part[:60]))
def test_a_wrong_settings_file_gets_one_clear_line(
    content: bytes, named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mlflow.yaml").write_bytes(content)
    (place / "loop").symlink_to("loop")
    assert "planted" not in refuse(["sweeps"], named, place, capsys)


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
    make: Callable[[Path], None], named: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(place / "mlflow.yaml")
    for typed in (["sweeps"], GOOD, ["ui"]):
        refuse(typed, [f"{place}/mlflow.yaml: {named}, expected"], place, capsys)
