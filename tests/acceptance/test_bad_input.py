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
OVER, LAUNCH, GOOD = ["launch", "--template"], ["launch", "--data"], ["launch", "--data=good.txt"]
TEXT = b"the sun under the moon and the river of stone " * 60
FILES: dict[str, bytes] = {
    "good.txt": TEXT,
    "empty.txt": b"",
    "latin.txt": TEXT + b"\ncaf\xe9\n",
    "mixed.log": b"1 2 3\n4 ERROR 6\n7 8 9\n",
    "short.txt": b"ab" * 30,
    "one.txt": b"a" * 5000,
    "marked.txt": TEXT.decode().encode("utf-16"),
    "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    # a word of more than two blocks
    "words.log": b"1 2 3 4\n" * 40 + b"5 " + b"x" * 3_000_000 + b"\n",
    "signed.log": b"1\n+2\n3\n",
    "white.txt": b" \n" * 3,
    "wide/a.txt": TEXT.decode().encode("utf-16"),
    "wide/b.txt": TEXT,
    "split/train/a.txt": TEXT,
    "two/a.log": b"1\n2\n" * 100,
    "two/b.log": b"1\nend\n",
    "hidden/.a.txt": TEXT,
    "brief/train/a.txt": TEXT,
    "brief/validation/a.txt": TEXT,
    "brief/test/a.txt": b"the sun",
    "shares/train": TEXT,
    "shares/validation/a.txt": TEXT,
    "shares/test/a.txt": TEXT,
    "tied/a.txt": TEXT,
    "good.py": DATA + MODEL,
    "both.yaml": b"template: good.py\nspace: quick\n",
    "empty.yaml": b"",
}


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of every kind, good and bad, since what is refused changes nothing."""
    folder = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "hollow").mkdir()
    for link, target in (("astray", "gone"), ("tied/b.txt", "gone.txt"), ("ring", "ring")):
        (folder / link).symlink_to(target)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def folder(laid_out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(laid_out)
    return laid_out


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good data, and a link that leads to itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_bytes(TEXT)
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


Refuse = Callable[[list[str], list[str]], None]


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Checks that what is typed gets one short line with all that is named, and that is all."""

    def check(typed: list[str], named: list[str]) -> None:
        before = _content(Path.cwd())
        assert main(typed) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines()), err[:12]) == ("", 1, "lstm-sweep: ")
        assert len(err) < 1_100 and "planted" not in err
        assert [part for part in named if part not in err] == [], err
        assert _content(Path.cwd()) == before

    return check


def _content(folder: Path) -> dict[Path, int]:
    """When each thing in a folder was changed."""
    return {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


#: what is typed, and what the line must name
CASES: list[tuple[list[str], list[str]]] = [
    ([*OVER, "nowhere.py"], ["nowhere.py", "no such file", "expected a Python file"]),
    ([*OVER, "good.py", "--size-rule", "off"], ["--size-rule is given with a template"]),
    ([*OVER, "good.py", "--data", "good.txt"], ["--data is given with a template", "one of"]),
    ([*OVER, "good.py", "--set", "layers=2"], ["layers=2 is given", "stands in the template"]),
    ([*OVER, "good.py", "--epochs", "2"], ["epochs=2 is given", "stands in the template"]),
    (
        [*OVER, "good.py", "--learning-rate-field", "rate"],
        ["--learning-rate-field rate", "no hyperparameter", "expected one of return:4"],
    ),
    ([*GOOD, "--learning-rate-field", "rate"], ["--learning-rate-field", "expected a template"]),
    (["launch", "both.yaml"], ["both.yaml", "space is given with a template"]),
    (["launch", "empty.yaml"], ["empty.yaml", "found no fields", "expected a mapping"]),
    # data: other kinds of files, and files of other kinds
    ([*LAUNCH, "nowhere"], ["nowhere'", "no such file or folder", "no sample (python-docs"]),
    ([*LAUNCH, "empty.txt"], ["empty.txt", "empty file", "expected"]),
    ([*LAUNCH, "hidden"], ["hidden", "no files", "expected symbols"]),
    (["size", "--data", "hollow"], ["hollow", "no files", "expected symbols"]),
    ([*LAUNCH, "latin.txt"], ["latin.txt:2", "0xe9", "UTF-8"]),
    ([*LAUNCH, "mixed.log"], ["mixed.log:2", "'ERROR'", "integer"]),
    ([*LAUNCH, "short.txt"], ["short.txt", "train split has 48", "160"]),
    ([*LAUNCH, "one.txt"], ["one.txt", "1 distinct symbol", "at least 2"]),
    ([*LAUNCH, "python-doc"], ["python-doc", "did you mean 'python-docs'?"]),
    ([*LAUNCH, "marked.txt"], ["marked.txt", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8"]),
    ([*LAUNCH, "wide"], ["wide/a.txt", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8"]),
    ([*LAUNCH, "picture.png"], ["picture.png:3", "0x00", "as binary files have"]),
    ([*LAUNCH, "words.log"], ["words.log:41", "'xxxx", "xx...'", "integer"]),
    ([*LAUNCH, "signed.log"], ["signed.log:2", "'+2'", "integer"]),
    ([*LAUNCH, "white.txt", "--symbols", "ids"], ["white.txt", "has no symbols"]),
    ([*GOOD, "--symbols", "ids"], ["good.txt:1", "'the'", "an integer from 0"]),
    ([*LAUNCH, "two"], ["b.log:2", "'end'", "integer"]),
    ([*LAUNCH, "brief"], ["brief", "test split has 7", "160"]),
    ([*LAUNCH, "shares"], ["shares", "found validation/ but not train/", "all three or none"]),
    ([*LAUNCH, "tied"], ["b.txt", "a link to nothing", "expected a file"]),
    ([*LAUNCH, "ring"], ["ring", "expected a file or folder"]),
    ([*LAUNCH, "pipe"], ["pipe", "a device or pipe", "expected a file or folder"]),
    ([*LAUNCH, "\x1b[31m\u2028"], [r"\x1b[31m\u2028'", "no such file"]),
    ([*LAUNCH, "~nobody-of-this-name/x"], ["~nobody-of-this-name", "expected a file or folder"]),
    # fields and spaces
    ([*GOOD, "--set", "layer_sise=8"], ["--set layer_sise=8", "did you mean 'layer_size'"]),
    ([*GOOD, "--set", "precision=half"], ["precision", ", ".join(PRECISIONS)]),
    ([*GOOD, "--set", "precision=float16"], ["float16 needs a GPU", "expected float32"]),
    ([*GOOD, "--set", "layer_size=512"], ["size rule", "draws pass", "training symbols admit"]),
    ([*GOOD, "--set", ""], ["--set ", "expected FIELD=VALUES", "fields: direction"]),
    ([*GOOD, "--set", "layers"], ["--set layers", "expected FIELD=VALUES"]),
    ([*GOOD, "--set", "=8"], ["--set =8", "''", "possible: direction"]),
    ([*GOOD, "--set", "learning_rate=1e999"], ["learning_rate is '1e999'", "up to 1000"]),
    ([*GOOD, "--set", "layers=" + "9" * 5000], ["--set layers=999", "layers is '999", "1 to 16"]),
    ([*GOOD, "--epochs", "0"], ["epochs is 0", "from 1"]),
    ([*GOOD, "--space", "quik"], ["'quik'", "did you mean 'quick'?"]),
    (["rerun", "x/1", "--set", "sequence_length=auto"], ["expected an integer from 1 to 10000"]),
    (["rerun", "x/1", "--set", "layer=2"], ["--set layer=2", "did you mean 'layers'?"]),
    (["rerun", "x/1", "--set", "dropout=0..0.5"], ["--set dropout=0..0.5", "expected one"]),
    # options and commands
    (["launch", "/dev/zero"], ["/dev/zero", "too long", "at most 65,536 bytes"]),
    (["resume", "x", ""], ["SWEEP.yaml is ''", "expected the path of a YAML file"]),
    ([*GOOD, "--progress", "loud"], ["'loud'", "auto, table, lines, json, off"]),
    ([*GOOD, "--trials"], ["--trials", "expected one argument"]),
    ([*GOOD, "--rounds-per-epoch", "9999"], ["rounds_per_epoch is 9999", "expected at most"]),
    ([*GOOD, "--trails", "5"], ["'--trails'", "did you mean '--trials'?"]),
    ([*GOOD, "more.txt", "again.txt"], ["'again.txt'", "which it does not take", "--help"]),
    (["lanch"], ["'lanch'", "did you mean 'launch'?"]),
    (["--server", "http://x", "sweeps"], ["'--server' before the command", "sweeps --server URL"]),
    (["x\n" * 9000], [r"'x\n", "expected one of launch"]),
    ([], ["COMMAND", "required", "--help"]),
    # names of sweeps and trials, ports, folders
    (["trials", "x", "--top", "few"], ["--top", "'few'", "a whole number"]),
    (["stop", "x"], ["sweep 'x'", "no store", "launch"]),
    ([*GOOD, "--name", "a\nb"], [r"--name is 'a\nb'", "letters"]),
    (["resume", "x\0"], [r"sweep is 'x\x00'", "letters"]),
    (["compare", "a/1", "a"], ["trial 'a/1'", "no store", "launch"]),
    (["show", "x/1"], ["trial 'x/1'", "no store", "launch"]),
    (["show", "x/" + "9" * 9000], ["trial 'x/999", "9...'", "SWEEP/NUMBER"]),
    (["rerun", "a\r\nb"], [r"trial 'a\r\nb'", "SWEEP/NUMBER"]),
    (["export", "x"], ["--to", "required"]),
    (["export", "x", "--to", "split"], ["--to 'split'", "something there", "an empty folder"]),
    (["export", "x", "--to", "good.txt/a/b"], ["--to", "good.txt is a file", "a new folder"]),
    (["export", "x", "--to", "astray"], ["--to 'astray'", "a link to nothing"]),
    (["generate", "good.txt"], ["bundle 'good.txt'", "found a file", "a folder written"]),
    (["generate", "split"], ["bundle 'split'", "config.json: No such file", "a file to read"]),
    (["generate", "x", "--length", "1000001"], ["--length is 1000001", "1 to 1,000,000"]),
    (["generate", "x", "--temperature", "nan"], ["--temperature is nan", "0 to 100"]),
    (["generate", "x", "--count", "0"], ["--count is 0", "1 to 1,000"]),
    (["generate", "x", "--seed", "-1"], ["--seed is -1", "0 to"]),
    (["serve", "--max-corpus", "much"], ["--max-corpus is 'much'", "a number and K, M, G or T"]),
    (["serve", "--slots", "0"], ["--slots is 0", "a whole number from 1"]),
    (["ui", "--port", "65536"], ["--port is 65536", "1 to 65535"]),
    (["sweeps", "x"], ["'x'", "possible: -h, --limit, --all, --server, --json"]),
]


@pytest.mark.parametrize(("typed", "named"), CASES, ids=lambda part: " ".join(part)[-40:])
@pytest.mark.usefixtures("folder")
def test_bad_input_gets_one_clear_line(typed: list[str], named: list[str], refuse: Refuse) -> None:
    refuse(typed, named)


#: commands, paths that they do not take, and what is expected there
LONG = "x" * 9_000
PATHS = [
    (OVER, ["", "a\0b", "hollow"], "expected a Python file"),
    (LAUNCH, ["", "a\0b", LONG], "expected a"),
    ([*GOOD, "--space"], ["hollow", "a\0b", "astray", LONG], "default, quick"),
    (["launch"], ["hollow", "a\0b", "astray", LONG], "expected a YAML file"),
    (["export", "x", "--to"], ["", "a\0b", LONG], "expected a new"),
    (["generate"], ["new", "a\0b", LONG], "expected a folder"),
]


@pytest.mark.parametrize(("command", "paths", "expected"), PATHS, ids=lambda part: str(part)[:40])
@pytest.mark.usefixtures("folder")
def test_what_can_be_no_path_gets_one_clear_line(
    command: list[str], paths: list[str], expected: str, refuse: Refuse
) -> None:
    for path in paths:
        refuse([*command, path], [repr(path)[1:5], expected])


def test_a_port_that_is_taken_gets_one_clear_line(
    place: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(empty_database, place / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    err = capsys.readouterr().err
    assert err == f"lstm-sweep: --port {port}: it is taken, expected a free one\n"


def model(returned: bytes) -> bytes:
    """A template that returns an expression, in line 4."""
    return DATA + b"def create_model(x, y):\n    return " + returned + b"\n"


WHOLE = "expected a whole number from"
#: content of files that are read, by what is typed, and what the line must name beside the file
WRONG: dict[tuple[str, ...], list[tuple[bytes, list[str]]]] = {
    ("launch", "sweep.yaml"): [
        (b"trials: 20\ntrials: 30\n", [":2", "found 'trials' twice", "line 1", "each field once"]),
        (b"trials: 20\nspace:\n  layers: [2, 3, 2]\n", ["layers lists 2 twice"]),
        (b"trials: 010\n", ["trials is '010'", WHOLE]),
        (b"trials: " + b"9" * 5000, [":1", "'9999", "expected a value of", "int"]),
        (b"trials: 0x" + b"f" * 9000, ["trials is", "too large", WHOLE]),
        (b"minutes: 1:30\n", ["minutes is '1:30'", "expected a number above"]),
        (b"ladder: no\n", ["ladder is 'no'", "true or false"]),
        (b"split: [0x" + b"f" * 300 + b", 0.5, 0.5]\n", ["split is [", "three shares above 0"]),
        (b"1: 2\n", ["1 is no field", "possible: data"]),
        (b"? [a]\n: 1\n", [":1", "unhashable key", "expected a YAML file"]),
        (b"<<: {trials: 3}\n", ["'<<' is no field", "possible: data"]),
        (b"x" * 900 + b": 1\n", ["'xxx", "is no field", "possible: data"]),
        (b"trials: 1\n---\ntrials: 2\n", [":2", "another document", "expected a YAML file"]),
        (b"trials:\n\t- 1\n", [":2", "cannot start any token", "expected a YAML file"]),
        (b"trials: 3\nseed: \0\n", [":2", "U+0000", "expected a YAML file"]),
        (b"trials: \xff\n", ["not UTF-8", "expected a YAML file"]),
        (b"trials: !!python/name:os.system\n", [":1", "python/name", "expected a YAML file"]),
        (b"trials: !!binary AAAA\n", [":1", "binary", "expected a YAML file"]),
        (b"a: &a [x, x]\nb: &b [*a, *a]\n", [":2", "the alias '*a'", "expected its values"]),
        (b"- " * 30_000, [":1", "nested too deeply", "at most 20 levels"]),
    ],
    (*GOOD, "--space", "space.yaml"): [
        (b"", ["found nothing", "expected a mapping"]),
        (b"7\n", ["found a int", "expected a mapping"]),
        (b"layers: []\n", ["layers has no values", "1 to 16"]),
        (b"layers: [2, [3]]\n", ["layers is [3]", "1 to 16"]),
        (b"layers: [2, true]\n", ["layers is True", "1 to 16"]),
        (b"direction: [uni, uni]\n", ["direction lists 'uni' twice", "each value once"]),
        (b"direction: [uni, []]\n", ["direction is []", ", ".join(DIRECTIONS)]),
        (b"optimizer: sdg\n", ["optimizer is 'sdg'", ", ".join(OPTIMIZERS)]),
        (b"dropout: {low: 0}\n", ["dropout has no 'high'", "low and high"]),
        (b"dropout: {low: 0, hihg: 1}\n", ["dropout has 'hihg'", "did you mean 'high'?"]),
        (b"dropout: {low: 0, high: 0.5, scale: 3}\n", ["scale 3", "linear or log"]),
        (b"dropout: {low: 0, high: 0.5, scale: log}\n", ["log scale", "low above 0"]),
        (b"dropout: {low: 0, high: 0.5, step: 0}\n", ["step 0", "leads from the low end"]),
        (b"dropout: {low: 0, high: 0.5, step: 0.3}\n", ["step 0.3", "leads from the low end"]),
        (b"dropout: {low: 0, high: .5, step: 5.0e-12}\n", ["step 5e-12", "at most 100,000 steps"]),
        (b"layers: {low: 2, high: 3, step: 0.5}\n", ["step 0.5", "leads from the low end"]),
    ],
    (*OVER, "mine.py"): [
        (b" \n\n", ["an empty file"]),
        (b"#" * 2_000_000, ["too long", "at most 1,048,576 bytes"]),
        (b"x = 1\ny = '\xff'\n", [":2", "not UTF-8"]),
        (b"x = \0\n", [":1", "null bytes", "expected Python 3"]),
        (b"x = 1\nprint 'x'\n", [":2", "Missing parentheses", "expected Python 3"]),
        (b"x = " + b"(" * 5_000, [":1", "too many nested", "expected Python 3"]),
        (b"x = " + b"-" * 60_000 + b"1\n", [":1", "expected"]),
        (MODEL, [":1", "no function data", "data() and create_model(...)"]),
        (MODEL + b"def data():\n    return 1, 2, 3\n", [":1", "takes x, y, but data returns"]),
        (DATA, ["no function create_model", "data() and create_model(...)"]),
        (DATA + b"def create_modle(x):\n    pass\n", ["did you mean 'create_modle'?"]),
        (DATA + b"class A:\n    def create_model(x):\n        pass\n", ["at the top level"]),
        (model(b"'{{choice([1, 2])}}'"), ["no hyperparameter"]),
        (MODEL + b"def data(path):\n    return path\n", [":3", "data takes arguments", "none"]),
        (MODEL + b"def data():\n    x = 1\n", [":3", "data returns nothing"]),
        (model(b" + ".join([b"{{uniform(0, 1)}}"] * 400)), [":1", "400 hyperparameters", "fewer"]),
        (model(b"{{unifrom(0, 1)}}"), [":4", "'unifrom'", "did you mean 'uniform'?"]),
        (model(b"{{choice([1, {{uniform(0, 1)}}])}}"), [":4", "within a {{...}}", "on its own"]),
        (model(b"f(**{{choice([{}])}})"), [":4", "**{{...}} names no argument", "units={{...}}"]),
        (model(b"{**{{choice([{}, {}])}}}"), [":4", "**{{...}} names no key"]),
        (model(b"f(*{{choice([1, 2])}})"), [":4", "*{{...}} names no argument"]),
    ],
    ("sweeps", "mlflow.yaml"): [
        (b"tracking_url: x", ["did you mean 'tracking_uri'"]),
        (b"tracking_uri: ftp://x", ["ftp://x", "sqlite://"]),
        (b"artifacts: a\nartifacts: b\n", [":2", "found 'artifacts' twice", "each field once"]),
        (b"tracking_uri: 3", ["tracking_uri is 3", "expected text"]),
        (b"- a", ["expected a mapping"]),
        (b"tracking_uri: postgresql://me:planted@host/runs", ["holds a password", "PGPASSWORD"]),
        (b"tracking_uri: http://me:planted@host", ["MLFLOW_TRACKING_PASSWORD"]),
        (b"artifacts: s3://key:planted@bucket/x", ["holds a password", "AWS_SECRET_ACCESS_KEY"]),
        (b"tracking_uri: postgresql+nothing://host/runs", ["postgresql+nothing", "module nothing"]),
        (b"tracking_uri: postgresql+psycopg2.x://host/runs", ["the module psycopg2.x"]),
        (b"allowed_hosts: mlflow", ["allowed_hosts is 'mlflow'", "a list"]),
        (b"allowed_hosts: ['*']", ["allowed_hosts has '*'", "runs.example.org"]),
        (b"allowed_hosts: ['a:80']", ["allowed_hosts has 'a:80'", "without port"]),
        (b"request_timeout_s: 0", ["request_timeout_s is 0", "from 1 to 3,600"]),
        (b"experiment: caf\xe9", ["not UTF-8", "expected a YAML file"]),
        (b'artifacts: "a\\0b"\n', [r"artifacts is 'a\x00b'", "text in one line"]),
        (b'experiment: "a\\uD800b"\n', [r"is 'a\ud800b'", "in one line"]),
        (b"artifacts: loop/of/links\n", ["artifacts is '/", "loop/of/links", "Too many levels"]),
        (b"tracking_uri: sqlite:///loop/runs.db\n", ["tracking_uri is '/", "Too many levels"]),
        (b"artifacts: " + b"x" * 300, ["artifacts is '/", "xx...'", "name too long"]),
    ],
}


@pytest.mark.parametrize(
    ("typed", "content", "named"),
    [(typed, content, named) for typed, rows in WRONG.items() for content, named in rows],
    ids=lambda part: str(part)[:40],
)
def test_a_wrong_file_gets_one_clear_line(
    typed: tuple[str, ...], content: bytes, named: list[str], place: Path, refuse: Refuse
) -> None:
    (place / typed[-1]).write_bytes(content)
    if typed[-1] == "mlflow.yaml":
        refuse([*typed[:-1]], named)
    else:
        refuse([*typed], [typed[-1], *named])


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
    make: Callable[[Path], None], named: str, place: Path, refuse: Refuse
) -> None:
    make(place / "mlflow.yaml")
    for typed in (["sweeps"], GOOD, ["ui"]):
        refuse(typed, [f"{place}/mlflow.yaml: {named}, expected"])
