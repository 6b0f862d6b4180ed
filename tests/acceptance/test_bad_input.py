"""Bad input gets one line that says what was given, what is expected and where; exit code 2."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from lstm_sweep.models.config import DIRECTIONS, PRECISIONS
from lstm_sweep.search.cli import main
from lstm_sweep.search.values.spec import ENGINES
from tests.acceptance.bad_input import GOOD, OVER, lay_out, refuse


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
    ([*OVER, "pipe"], ["pipe", "a device or pipe", "expected a Python file"]),
    ([*OVER, "ring"], ["ring", "expected a Python file"]),
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
    (["launch", "over.yaml", "--data", "good.txt"], ["data is given with a template"]),
    (["launch", "both.yaml"], ["both.yaml", "space is given with a template"]),
    (["launch", "rate.yaml"], ["rate.yaml", "learning_rate_field", "a template with it"]),
    ([*LAUNCH, "nowhere"], ["nowhere", "no such file", "python-docs", "workflow-log"]),
    ([*LAUNCH, "empty.txt"], ["empty.txt", "empty file", "expected"]),
    ([*LAUNCH, "hollow"], ["hollow", "no files", "expected"]),
    ([*LAUNCH, "latin.txt"], ["latin.txt:2", "0xe9", "UTF-8"]),
    ([*LAUNCH, "negative.log"], ["negative.log:3", "'-3'", "integer"]),
    ([*LAUNCH, "float.log"], ["float.log:3", "'3.5'", "integer"]),
    ([*LAUNCH, "mixed.log"], ["mixed.log:2", "'ERROR'", "integer"]),
    ([*LAUNCH, "long.log"], ["long.log:2", "at most 18 digits"]),
    ([*LAUNCH, "good.txt", "--symbols", "ids"], ["good.txt:1", "'the'", "integer"]),
    ([*LAUNCH, "short.txt"], ["short.txt", "train split has 48", "160"]),
    ([*LAUNCH, "one.txt"], ["one.txt", "1 distinct symbol", "at least 2"]),
    ([*LAUNCH, "split"], ["split", "train/", "validation/", "test/"]),
    ([*GOOD, "--set", "layer_sise=8"], ["--set layer_sise=8", "did you mean 'layer_size'"]),
    ([*GOOD, "--set", "precision=half"], ["precision", ", ".join(PRECISIONS)]),
    ([*GOOD, "--set", "precision=float16"], ["float16 needs a GPU", "expected float32"]),
    ([*GOOD, "--set", "layer_size="], ["--set layer_size=", "no values", "1 to 16384"]),
    ([*GOOD, "--set", "layer_size"], ["--set layer_size", "FIELD=VALUES"]),
    ([*GOOD, "--set", "dropout=0.5..0.1"], ["from 0.5 to 0.1 is empty", "0 to 0.99"]),
    ([*GOOD, "--set", "direction=both"], ["direction is 'both'", ", ".join(DIRECTIONS)]),
    ([*GOOD, "--set", "learning_rate=nan"], ["learning_rate is 'nan'", "a number"]),
    ([*GOOD, "--space", "nowhere.yaml"], ["nowhere.yaml", "default, quick"]),
    ([*GOOD, "--space", "space.yaml"], ["space.yaml", "did you mean 'layer_size'"]),
    ([*GOOD, "--space", "range.yaml"], ["range.yaml", "from 0.5 to 0.1 is empty"]),
    ([*GOOD, "--space", "broken.yaml"], ["broken.yaml:2", "expected a YAML file"]),
    (["launch"], ["--data is missing", "lstm-sweep launch --data book.txt --trials 40"]),
    ([*GOOD, "--progress", "loud"], ["'loud'", "auto, table, lines, json, off"]),
    (["compare", "a/1", "a"], ["trial", "expected"]),
    (["launch", "unknown.yaml"], ["unknown.yaml", "'trails'", "did you mean 'trials'"]),
    (["launch", "broken.yaml"], ["broken.yaml:2", "expected a YAML file"]),
    (["launch", "list.yaml"], ["list.yaml", "expected a mapping"]),
    (["launch", "absent.yaml"], ["absent.yaml", "No such file"]),
    ([*GOOD, "--epochs", "0"], ["epochs is 0", "from 1"]),
    ([*GOOD, "--set", "layer_size=512"], ["size rule", "draws pass", "training symbols admit"]),
    (["size", "--data", "nowhere"], ["nowhere", "no such file"]),
    (["rerun", "x/1", "--set", "sequence_length=auto"], ["expected an integer from 1 to 10000"]),
    (["rerun", "x/1", "--set", "layers=2,3"], ["--set layers=2,3", "expected one"]),
    # data: other kinds of files, and files of other kinds
    ([*LAUNCH, ""], ["data is ''", "expected a path or the name of a sample"]),
    ([*LAUNCH, "python-doc"], ["python-doc", "did you mean 'python-docs'?"]),
    ([*LAUNCH, "utf16.txt"], ["utf16.txt", "is text in UTF-16LE", "iconv -f UTF-16LE -t UTF-8"]),
    ([*LAUNCH, "marked.txt"], ["marked.txt", "is text in UTF-16", "iconv -f UTF-16 -t UTF-8"]),
    ([*LAUNCH, "marked.txt", "--symbols", "chars"], ["marked.txt", "UTF-16", "expected UTF-8"]),
    ([*LAUNCH, "picture.png", "--symbols", "chars"], ["picture.png:1", "0x89", "UTF-8"]),
    ([*LAUNCH, "picture.png"], ["picture.png:3", "0x00", "as binary files have"]),
    ([*LAUNCH, "nul.log", "--symbols", "ids"], ["nul.log:3", r"'\x00'", "integer"]),
    ([*LAUNCH, "words.log"], ["words.log:41", "'xxxx", "xx...'", "integer"]),
    ([*LAUNCH, "signed.log"], ["signed.log:2", "'+2'", "integer"]),
    ([*LAUNCH, "arabic.log"], ["arabic.log:4", "integer from 0"]),
    ([*LAUNCH, "white.txt", "--symbols", "ids"], ["white.txt", "has no symbols"]),
    ([*LAUNCH, "cut.txt"], ["cut.txt:1", "0xe2", "UTF-8"]),
    ([*LAUNCH, "two"], ["b.log:2", "'end'", "integer"]),
    ([*LAUNCH, "mixed"], ["b.txt", "UTF-16", "expected UTF-8"]),
    ([*LAUNCH, "hidden"], ["hidden", "no files", "expected symbols"]),
    ([*LAUNCH, "voids"], ["voids", "empty files", "expected symbols"]),
    ([*LAUNCH, "uneven"], ["validation", "an empty file", "expected symbols"]),
    ([*LAUNCH, "poor"], ["poor", "1 distinct symbol", "at least 2"]),
    ([*LAUNCH, "brief"], ["brief", "test split has 7", "160"]),
    ([*LAUNCH, "shares"], ["shares", "found validation/ but not train/", "all three or none"]),
    ([*LAUNCH, "tied"], ["b.txt", "a link to nothing", "expected a file"]),
    ([*LAUNCH, "astray.txt"], ["gone.txt", "no such file"]),
    ([*LAUNCH, "ring"], ["ring", "expected a file or folder"]),
    ([*LAUNCH, "pipe"], ["pipe", "a device or pipe", "expected a file or folder"]),
    ([*LAUNCH, "/dev/zero"], ["/dev/zero", "a device or pipe", "expected a file or folder"]),
    ([*LAUNCH, "good.txt/more"], ["good.txt/more", "no such file"]),
    ([*LAUNCH, "a\0b"], [r"'a\x00b'", "null byte", "expected a file or folder"]),
    ([*LAUNCH, "a\nb"], [r"a\nb'", "no such file"]),
    ([*LAUNCH, "\x1b[31m\u2028"], [r"\x1b[31m\u2028'", "no such file"]),
    ([*LAUNCH, "x" * 5000], ["data 'xxxx", "xx...'", "name too long", "expected a file"]),
    ([*LAUNCH, "~nobody-of-this-name/x"], ["~nobody-of-this-name", "expected a file or folder"]),
    # --set
    ([*GOOD, "--set", "=8"], ["--set =8", "''", "possible: direction"]),
    ([*GOOD, "--set", ""], ["--set : ", "FIELD=VALUES"]),
    ([*GOOD, "--set", "layers=2,2"], ["--set layers=2,2", "lists 2 twice"]),
    ([*GOOD, "--set", "layers=1..17"], ["layers is 17", "1 to 16"]),
    ([*GOOD, "--set", "learning_rate=1e999"], ["learning_rate is '1e999'", "up to 1000"]),
    ([*GOOD, "--set", "learning_rate=0..1"], ["learning_rate is 0.0", "above 0"]),
    ([*GOOD, "--set", "layers=" + "9" * 5000], ["--set layers=999", "layers is '999", "1 to 16"]),
    ([*GOOD, "--set", "x" * 9000 + "=1"], ["--set xxx", "'xxx", "possible: direction"]),
    ([*GOOD, "--set", "layers=2\n3"], [r"--set layers=2\n3", r"layers is '2\n3'", "1 to 16"]),
    ([*GOOD, "--set", "layers=2\x00"], [r"layers is '2\x00'", "1 to 16"]),
    (["rerun", "x/1", "--set", "layers"], ["--set layers", "FIELD=VALUE"]),
    (["rerun", "x/1", "--set", "layer=2"], ["--set layer=2", "did you mean 'layers'?"]),
    (["rerun", "x/1", "--set", "dropout=0..0.5"], ["--set dropout=0..0.5", "expected one"]),
    (["rerun", "x/1", "--on", "moon"], ["--on is 'moon'", ", ".join(ENGINES)]),
    # --space, and files of a sweep
    ([*GOOD, "--space", "quik"], ["'quik'", "did you mean 'quick'?"]),
    ([*GOOD, "--space", ""], ["space ''", "default, quick"]),
    ([*GOOD, "--space", "hollow"], ["'hollow'", "a folder", "default, quick"]),
    ([*GOOD, "--space", "astray.yaml"], ["'astray.yaml'", "no such file"]),
    ([*GOOD, "--space", "a\0b"], [r"'a\x00b'", "no such file"]),
    ([*GOOD, "--space", "x" * 9000], ["space 'xxx", "xx...'", "default, quick"]),
    ([*GOOD, "--space", "good.txt"], ["good.txt", "a str", "expected a mapping"]),
    (["launch", ""], ["SWEEP.yaml is ''", "expected the path of a YAML file"]),
    (["launch", "hollow"], ["hollow", "Is a directory", "expected a YAML file"]),
    (["launch", "astray.yaml"], ["astray.yaml", "No such file", "expected a YAML file"]),
    (["launch", "ring"], ["ring", "symbolic links", "expected a YAML file"]),
    (["launch", "good.txt"], ["good.txt", "found no fields", "expected a mapping"]),
    (["launch", "empty.txt"], ["empty.txt", "found no fields", "expected a mapping"]),
    (["launch", "picture.png"], ["picture.png", "not UTF-8", "expected a YAML file"]),
    (["launch", "/dev/zero"], ["/dev/zero", "too long", "at most 65,536 bytes"]),
    (["launch", "a\0b"], [r"a\x00b", "null byte", "expected a YAML file"]),
    (["launch", "x" * 9000], ["xxx", "name too long", "expected a YAML file"]),
    (["resume", "x", ""], ["SWEEP.yaml is ''", "expected the path of a YAML file"]),
    # options
    ([*GOOD, "--trials"], ["--trials", "expected one argument"]),
    ([*GOOD, "--epochs", "100001"], ["epochs is 100001", "1 to 100000"]),
    ([*GOOD, "--rounds-per-epoch", "9999"], ["rounds_per_epoch is 9999", "expected at most"]),
    ([*GOOD, "--name", "a\nb"], [r"--name is 'a\nb'", "letters"]),
    ([*GOOD, "--trails", "5"], ["'--trails'", "did you mean '--trials'?"]),
    ([*GOOD, "more.txt", "again.txt"], ["'again.txt'", "which it does not take", "--help"]),
    (["lanch"], ["'lanch'", "did you mean 'launch'?"]),
    (["--server", "http://x", "sweeps"], ["'--server' before the command", "sweeps --server URL"]),
    (["x\n" * 9000], [r"'x\n", "expected one of launch"]),
    ([], ["COMMAND", "required", "--help"]),
    (["size"], ["--data is missing", "a path or a sample"]),
    (["size", "--data", "hollow"], ["hollow", "no files", "expected symbols"]),
    (["size", "--data", "good.txt", "--set", "layers=0"], ["layers is 0", "1 to 16"]),
    # names of sweeps and trials, ports, folders
    (["trials"], ["NAME", "required"]),
    (["trials", "x"], ["sweep 'x'", "no store", "launch"]),
    (["trials", "x", "--top", "0"], ["--top is 0", "at least 1"]),
    (["trials", "x", "--top", "few"], ["--top", "'few'", "a whole number"]),
    (["trials", "../x"], ["sweep is '../x'", "letters"]),
    (["trials", "a\nb"], [r"sweep is 'a\nb'", "letters"]),
    (["stop", "x"], ["sweep 'x'", "no store", "launch"]),
    (["resume", "x"], ["sweep 'x'", "no store", "launch"]),
    (["resume", "x\0"], [r"sweep is 'x\x00'", "letters"]),
    (["show", "x/1"], ["trial 'x/1'", "no store", "launch"]),
    (["show", ""], ["trial ''", "SWEEP/NUMBER"]),
    (["show", "x/one"], ["trial 'x/one'", "SWEEP/NUMBER"]),
    (["show", "x/-1"], ["trial 'x/-1'", "SWEEP/NUMBER"]),
    (["show", "../x/1"], ["trial '../x/1'", "SWEEP/NUMBER"]),
    (["show", "x/" + "9" * 9000], ["trial 'x/999", "9...'", "SWEEP/NUMBER"]),
    (["rerun", "a\r\nb"], [r"trial 'a\r\nb'", "SWEEP/NUMBER"]),
    (["export", "x", "--to", "new"], ["'x'", "no store", "launch"]),
    (["export", "x"], ["--to", "required"]),
    (["export", "x y", "--to", "new"], ["trial 'x y'", "SWEEP/NUMBER"]),
    (["export", "x", "--to", ""], ["--to ''", "found nothing", "a new or an empty folder"]),
    (["export", "x", "--to", "split"], ["--to 'split'", "something there", "an empty folder"]),
    (["export", "x", "--to", "good.txt"], ["--to 'good.txt'", "something there"]),
    (["export", "x", "--to", "good.txt/a/b"], ["--to", "good.txt is a file", "a new folder"]),
    (["export", "x", "--to", "astray.txt"], ["--to 'astray.txt'", "a link to nothing"]),
    (["export", "x", "--to", "ring"], ["--to 'ring'", "expected a new"]),
    (["export", "x", "--to", "a\0b"], [r"--to 'a\x00b'", "null byte", "a new folder"]),
    (["export", "x", "--to", "y" * 9000], ["--to 'yyy", "name too long", "a new folder"]),
    (
        ["export", "x", "--to", "new", "--format", "pickle"],
        ["--format", "'pickle'", "keras, saved"],
    ),
    (["generate", "new"], ["bundle 'new'", "found nothing", "a folder written by `export`"]),
    (["generate", ""], ["bundle ''", "found nothing", "a folder written by `export`"]),
    (["generate", "good.txt"], ["bundle 'good.txt'", "found a file", "a folder written"]),
    (["generate", "split"], ["bundle 'split'", "config.json: No such file", "a file to read"]),
    (["generate", "ring"], ["bundle 'ring'", "expected a folder"]),
    (["generate", "a\0b"], [r"bundle 'a\x00b'", "null byte", "expected a folder"]),
    (["generate", "y" * 9000], ["bundle 'yyy", "name too long", "expected a folder"]),
    (["generate", "x", "--length", "0"], ["--length is 0", "1 to 1,000,000"]),
    (["generate", "x", "--length", "1000001"], ["--length is 1000001", "1 to 1,000,000"]),
    (["generate", "x", "--temperature", "-1"], ["--temperature is -1.0", "0 to 100"]),
    (["generate", "x", "--temperature", "nan"], ["--temperature is nan", "0 to 100"]),
    (["generate", "x", "--temperature", "warm"], ["--temperature", "'warm'", "a number"]),
    (["generate", "x", "--count", "0"], ["--count is 0", "1 to 1,000"]),
    (["generate", "x", "--seed", "-1"], ["--seed is -1", "0 to"]),
    (["ui", "--port", "0"], ["--port is 0", "expected a whole number from 1"]),
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
