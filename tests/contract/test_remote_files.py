"""Bundles, reports and reruns of a service whose jobs train nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from lstm_sweep.search import cli
from lstm_sweep.search.actions import export as exporting
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.actions.sweeps import SweepStatusReport
from lstm_sweep.search.service import bundles
from lstm_sweep.search.store.registry import Version
from tests.conftest import in_full
from tests.contract.test_class_bundle import write as write_classifier
from tests.servers import Proxy, proxy_of
from tests.service_app import ImmediateService, Place, use_scripted_engines

#: stands for the command `rerun`: what it prints and says, and its exit code, by the field changed
PROGRAM = """
import json, sys
result = {
    "trial": "s/1", "rerun_run_id": "f" * 32, "verdict": "identical", "epochs_compared": 2.0,
    "max_difference": 0.0, "first_difference": None, "variation": {},
    "changed_versions": {}, "changed_device": None, "outcome": "complete",
}
if "--set=dropout=0.1" in sys.argv:
    result |= {"variation": {"dropout": {"was": 0.2, "is": 0.1}}, "verdict": "different"}
if "--set=layers=4" in sys.argv:
    result |= {"verdict": "different", "changed_versions": {"lstm-sweep": {"was": "1", "is": "2"}}}
    result["first_difference"] = {"epoch": 1.0, "metric": "val_loss", "was": 2.5, "is": "nan"}
if "--set=layers=5" in sys.argv:
    print("lstm-sweep: its data are not what they were, expected the same", file=sys.stderr)
    sys.exit(2)
print(json.dumps(result))
sys.exit(3 if result["verdict"] == "different" and not result["variation"] else 0)
"""

#: stands for it too: prints the template that it is given
TELLS_TEMPLATE = """
import json, sys
given = dict(word.split("=", 1) for word in sys.argv if "=" in word)
assert given["--on"] == "inline"
print(json.dumps({
    "trial": open(given["--template"]).read(), "rerun_run_id": "f" * 32, "verdict": "identical",
    "epochs_compared": 1.0, "max_difference": 0.0, "first_difference": None, "variation": {},
    "changed_versions": {}, "changed_device": None, "outcome": "complete",
}))
"""
FORM = "application/x-www-form-urlencoded"
TEMPLATES = Path(__file__).parents[1] / "templates"


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A service with a sweep `s`, in the working folder."""
    folder = workplace("files")
    monkeypatch.chdir(folder)
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(folder)
    place.launch(data)
    return place


@pytest.fixture
def address(place: Place) -> Iterator[str]:
    with place.served() as address:
        yield address


def write_bundle(
    store: object, records: object, folder: Path, format: str, *, model: str | None, **more: Any
) -> Exported:
    """Stands for the export of a network: a folder with files in it."""
    (folder / "deep").mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"weights" * 1_000)
    (folder / "deep" / "README.md").write_text(format, encoding="utf-8")
    version = Version(model, 1, "m-1", "models:/m/1", True, "first") if model else None
    return exported(str(folder), format, version)


def exported(folder: str, format: str, version: Version | None = None) -> Exported:
    return Exported.from_dict(
        {
            "bundle": folder, "format": format, "trial": "s/1", "test_loss": 1.5,
            "parity": {"max_difference": 0.0, "windows": 10}, "lines": ("test loss 1.5",),
            "model_version": version and version.to_dict(),
        }
    )  # fmt: skip


def files_of(folder: str) -> dict[str, bytes]:
    found = Path(folder)
    files = (path for path in found.rglob("*") if path.is_file())
    return {path.relative_to(found).as_posix(): path.read_bytes() for path in files}


def test_a_bundle_is_fetched(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "write_bundle", write_bundle)
    printed = {}
    for to, more in (("home", []), ("away", ["--server", address])):
        command = ["export", "s", "--to", to, "--format", "savedmodel", *more]
        assert cli.main(command) == 0
        printed[to] = capsys.readouterr().out.replace(to, "TO")
        assert cli.main([*command, "--to", f"{to}-2", "--json"]) == 0
        printed[f"{to} json"] = capsys.readouterr().out.replace(to, "TO")
    assert printed["away"] == printed["home"]
    assert json.loads(printed["away json"]) == json.loads(printed["home json"])
    assert files_of("away") == files_of("home") == files_of("away-2")
    assert not list(Path().glob(".*"))  # nothing is left of the download


def test_a_service_tells_classes_by_a_bundle_that_it_makes(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a request, a command, and a form on a page; what is wrong names no folder."""

    def classifier(store: object, records: object, to: Path, format: str, **more: Any) -> Exported:
        write_classifier(to)
        return exported(str(to), format)

    def ask(path: str, body: bytes, kind: str = "application/json") -> str:
        asked = urllib.request.Request(f"{address}/{path}", body, {"Content-Type": kind})
        with urllib.request.urlopen(asked) as answer:
            return str(answer.read().decode())

    monkeypatch.setattr(exporting, "write_bundle", classifier)
    wanted = {"sequences": ["abc", "hhh"], "error": 0.1}
    path = "api/v1/sweeps/s/classes"
    found = json.loads(ask(path, json.dumps(wanted).encode()))
    assert [one["text"] for one in found["sequences"]] == ["abc", "hhh"]
    assert all(one["class"] in one["set"] for one in found["sequences"])
    form = b"sequences=abc%0Ahhh&error=0.1&decide=macro_f1"
    html = ask("sweeps/s/classes", form, FORM)
    decided = json.loads(ask(path, json.dumps(wanted | {"decide": "macro_f1"}).encode()))
    for one in decided["sequences"]:
        assert f"<td>{one['class']}</td>" in html and f"<td>{', '.join(one['set'])}</td>" in html
    assert decided["promise"][1:] in html and "Decided for macro F1" in html and "hhh" in html
    for odd in ("error=much", "error=2", "decide=odd", "x=1"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask("sweeps/s/classes", f"sequences=abc&{odd}".encode(), FORM)
        assert refused.value.code == 422 and odd.partition("=")[0] in refused.value.read().decode()
    for more, why in (({"error": 0.0001}, "--error is 0.0001"), ({"sequences": ["XYZ"]}, "of s")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(path, json.dumps(wanted | more).encode())
        detail = json.load(refused.value)["detail"]
        assert why in detail and "/" not in detail.replace("s/3", "")
    rows = "kind,said\ngood,abc\nbad,hg\nbad,aaaa\n"
    Path("new.csv").write_text(rows, encoding="utf-8")
    Path("odd.csv").write_text(f"{rows}strange,abc\n", encoding="utf-8")
    write_classifier(Path("here"))
    printed = list[str]()
    for bundle in ("here", "s"):
        for how in (
            ["--json", "--error", "0.1"],
            ["--json", "--decide", "macro_f1"],
            ["--class", "bad", "--recall", "0.5"],
        ):
            command = ["classify", bundle, "--data", "new.csv", "--text", "said", "--label", "kind"]
            assert cli.main([*command, *how, "--server", address]) == 0
            printed.append(capsys.readouterr().out)
        assert cli.main([*command, "--data", "odd.csv", "--server", address]) == 2
        printed.append(capsys.readouterr().err.splitlines()[-1])
    assert printed[:4] == printed[4:]
    assert json.loads(printed[1])["decision"]["macro_f1"]["macro_f1"] > 0
    Path("new.txt").write_text("abc", encoding="utf-8")
    Path("texts").mkdir()
    Path("texts", "a.txt").write_text("abc", encoding="utf-8")
    Path("texts", "b.txt").write_text("", encoding="utf-8")
    Path("labels.csv").write_text("session,label\nnew.txt,good\n", encoding="utf-8")
    for bundle in ("here", "s"):
        assert cli.main(["classify", bundle, "--data", "texts", "--server", address]) == 2
        assert "b.txt: found an empty text" in capsys.readouterr().err
        command = ["classify", bundle, "--data", "new.txt", "--labels", "labels.csv", "--json"]
        assert cli.main([*command, "--server", address]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[-1] == printed[-2]
    assert printed[3].startswith("lstm-sweep: odd.csv:5: found the class 'strange'")


def test_who_may_only_read_starts_no_export(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[str]()

    monkeypatch.setattr(exporting, "write_bundle", lambda *given, **more: made.append("one"))
    place = f"{address}/api/v1/sweeps/s"
    for path in (f"{place}/export", f"{place}/trials/1/export", f"{address}/sweeps/s/export"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(path)
        assert refused.value.code == 404
    assert made == []


def test_a_model_is_registered_once(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "write_bundle", write_bundle)
    command = ["export", "s/1", "--to", "new", "--register", "words", "--server", address]
    assert cli.main(command) == 0
    assert "registered: version 1 of words, the champion" in capsys.readouterr().out
    assert cli.main([*command, "--to", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model_version"]["uri"] == "models:/m/1"
    assert cli.main(["export", "s/1", "--to", "third", "--json", "--server", address]) == 0
    assert json.loads(capsys.readouterr().out)["model_version"] is None
    assert files_of("new") == files_of("third")


def test_a_bundle_that_was_changed_on_its_way_is_not_taken(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporting, "write_bundle", write_bundle)
    find = bundles.Bundles.find

    def other(self: bundles.Bundles, *given: Any, **more: Any) -> bundles.Bundle:
        found = find(self, *given, **more)
        found.file.write_bytes(found.file.read_bytes()[:-1] + b"x")
        return found

    monkeypatch.setattr(bundles.Bundles, "find", other)
    assert cli.main(["export", "s", "--to", "new", "--server", address]) == 2
    assert "expected the same" in capsys.readouterr().err
    assert not Path("new").exists() and not list(Path().glob(".new*"))


def test_a_report_is_fetched(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for to, more in (("home.html", []), ("away.html", ["--server", address])):
        assert cli.main(["report", "s", "--to", to, *more]) == 0
        page = Path(to).read_text(encoding="utf-8")
        pages.append((page[: page.index("<footer>")], capsys.readouterr().out.replace(to, "TO")))
    assert pages[0] == pages[1]


def test_sweeps_are_deleted(
    place: Place, address: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.launch(data, "other")
    assert cli.main(["delete", "s", "--yes", "--server", address]) == 0
    assert capsys.readouterr().out.startswith("sweep s: ")
    command = ["prune", "--older-than", "0h", "--yes", "--server", address]
    assert cli.main([*command, "--keep-best"]) == 0
    assert "sweep other beside its best trial: 2 runs" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert [row.sweep for row in place.service.sweeps()] == []


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ([], 0, "verdict: identical (2 epochs compared)"),
        (["layers=4"], 3, "first difference: epoch 1, val_loss: was 2.5, is nan"),
        *in_full(
            (["dropout=0.1"], 0, "a variation: dropout is 0.1, was 0.2"),
            (["layers=5"], 2, "its data are not what they were, expected the same"),
        ),
    ],
)
def test_a_rerun_is_waited_for(
    place: Place, address: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: list[str], code: int, said: str,
) -> None:  # fmt: skip
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    monkeypatch.setattr(place.service, "program", (sys.executable, "-S", str(program)))
    command = ["rerun", "s/1", "--server", address, *(f"--set={one}" for one in settings)]
    assert cli.main(command) == code
    output, errors = capsys.readouterr()
    assert output.startswith("training s/1 again (run ")
    assert said in output + errors and "Traceback" not in errors
    assert cli.main([*command, "--json"]) == code
    output, errors = capsys.readouterr()
    assert "training s/1 again" in errors
    assert output == "" if code == 2 else json.loads(output)["trial"] == "s/1"


def test_a_rerun_is_given_the_template_that_is_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    template = (TEMPLATES / "dense.py").read_text(encoding="utf-8")
    Path("dense.py").write_text(template, encoding="utf-8")
    launch = ["launch", "--template", "dense.py", "--name", "t", "--trials", "1"]
    assert cli.main([*launch, "--confirm-configs", "0", "--progress", "off"]) == 1
    program = tmp_path / "program.py"
    program.write_text(TELLS_TEMPLATE, encoding="utf-8")
    monkeypatch.setattr(place.service, "program", (sys.executable, "-S", str(program)))
    capsys.readouterr()
    command = ["rerun", "t/0", "--template", "dense.py", "--on", "inline", "--json", "--server"]
    for allow_code in (True, False):
        with place.taking_code(allow_code).served() as address:
            code = cli.main([*command, address])
        output, errors = capsys.readouterr()
        if allow_code:
            assert (code, json.loads(output)["trial"]) == (0, template)
        else:
            assert (code, output, "--allow-code" in errors) == (2, "", True)


# Sweeps of a service are followed to their end, to Ctrl-C, and through broken connections


ROOT = Path(__file__).parents[2]
SMALL = [
    "--set", "direction=uni", "--set", "layer_size=6", "--set", "sequence_length=8",
    "--set", "stride=8", "--trials", "2", "--size-rule", "off",
]  # fmt: skip


class Held(ImmediateService):
    """A service whose sweeps are in a state as long as they are held in it."""

    held = ""

    def status(self, name: str) -> SweepStatusReport:
        found = super().status(name)
        return dataclasses.replace(found, state=self.held, why=None) if self.held else found


@pytest.fixture
def held_place(
    workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """A service with a sweep `s`, which it says to run."""
    folder = workplace("followed")
    monkeypatch.chdir(folder)
    use_scripted_engines(monkeypatch)
    made = Place.in_folder(folder, look_every_s=0.1)
    service = Held(folder)
    service.held = "running"
    held_place = Place(service, made.settings)
    held_place.launch(data)
    return held_place


@contextmanager
def client(*command: str, server: str) -> Iterator[subprocess.Popen[str]]:
    """A command by a service in a process of its own, which is killed if it has not ended."""
    program = [sys.executable, "-m", "lstm_sweep"]
    process = subprocess.Popen(
        [*program, *command, "--server", server],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(stream: IO[str] | None, sign: str) -> list[str]:
    """Lines of a process up to the first one with a sign in it."""
    assert stream
    lines = list[str]()
    while not (lines and sign in lines[-1]):
        lines.append(stream.readline())
        assert lines[-1], lines
    return lines


@pytest.mark.full
def test_ctrl_c_leaves_the_sweep_to_the_service(held_place: Place, data: Path) -> None:
    command = ("launch", "--data", str(data), "--name", "left", *SMALL)
    with held_place.served() as address, client(*command, server=address) as process:
        read_until(process.stderr, "[2/2] left/")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "sweep left goes on" in errors and "Traceback" not in errors
    assert (held_place.service.status("left").state, held_place.service.calls) == ("running", [])


def broken(proxy: Proxy, process: subprocess.Popen[str], held_place: Place) -> list[str]:
    """Break the connection of a process, and let sweeps end meanwhile; what it has said."""
    proxy.go_away()
    said = read_until(process.stderr, "asking again")
    assert isinstance(held_place.service, Held)
    held_place.service.held = ""
    proxy.come_back()
    return said


@pytest.mark.full
def test_a_launch_goes_on_where_its_connection_has_broken(held_place: Place, data: Path) -> None:
    command = ("launch", "--data", str(data), "--name", "far", *SMALL)
    with (
        held_place.served() as address,
        proxy_of(address) as proxy,
        client(*command, server=proxy.address) as process,
    ):
        lines = read_until(process.stderr, "[2/2] far/")
        said = broken(proxy, process, held_place)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and "best: far/" in output
    told = re.findall(r"^\[(\d)/2\]", "".join(lines + said) + errors, re.MULTILINE)
    assert told == ["1", "2"]  # none is told twice
    assert "no answer from" in said[-1] and "Traceback" not in errors


def test_the_state_is_followed_to_its_end_through_a_break(
    held_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        held_place.served() as address,
        proxy_of(address) as proxy,
        client("status", "s", "--follow", server=proxy.address) as process,
    ):
        read_until(process.stdout, "sweep s: running; 3 complete")
        broken(proxy, process, held_place)
        output, _ = process.communicate(timeout=120)
    assert cli.main(["status", "s"]) == 0
    assert (output, process.returncode) == (capsys.readouterr().out, 0)
