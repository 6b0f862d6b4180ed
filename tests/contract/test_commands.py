"""Commands print the same by a service as at home: one store, one service on a port."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep
from lstm_sweep.search import cli
from lstm_sweep.search.cli.parsers import AT_HOME, COMMANDS
from lstm_sweep.search.cli.progress import COMMON, SCHEMA
from lstm_sweep.search.service import queue
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import TINY, run_command
from tests.service_app import API, Place, ResumingService, use_scripted_engines
from tests.sweeps import tiny_spec

#: a sweep as the service of these tests runs it, on small networks
SMALL = [*TINY, "--trials", "2", "--prior", "off", "--confirm-configs", "0"]
TEMPLATES = Path(__file__).parents[1] / "templates"
#: what the sweep `s` began with, but for what may change
SWEEP = (
    "data: text.txt\nspace: small.yaml\ntargets: 100\nsize_rule: 'off'\nladder: false\n"
    "halving: false\nearly_stopping: 0\nconfirm_configs: 0\n"
)
FILES = {
    "text.txt": "abcdefgh" * 1_000, "other.txt": "hgfedcba" * 1_000, "short.txt": "ab",
    "small.yaml": "direction: uni\nlayer_size: 6\nsequence_length: 8\nstride: 8\nepochs: 2\n",
    "list.yaml": "[1]", "sweep.yaml": f"{SWEEP}trials: 2\n", "unknown.yaml": "trails: 3",
    "broken.yaml": "trials: [", "zero.yaml": "data: text.txt\ntrials: 0",
    "same.yaml": SWEEP.replace("small", "space") + "ladder: true\ntrials: 3\n",
    "space.yaml": "direction: [uni, bi]\ndropout: {low: 0, high: 0.5}\nlayer_size: 6\n"
    "sequence_length: 8\nstride: 8\nepochs: 2\n",
    "bad.py": "def create_model(): ...", "dense.py": "", "taken.html": "something else",
    "own.yaml": "template: dense.py\ntrials: 1\nconfirm_configs: 0\n",
}  # fmt: skip
same = FILES["same.yaml"] = FILES["same.yaml"].replace("ladder: false\n", "")
FILES |= {
    "more.yaml": same.replace("trials: 3", "trials: 5"), "seed.yaml": f"{same}seed: 4\n",
    "elsewhere.yaml": same.replace("text", "other"), "missing.yaml": same.replace("text", "none"),
    "dense.py": (TEMPLATES / "dense.py").read_text(encoding="utf-8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """A working folder with a store, data, sweep files and files that are none."""
    folder = workplace("commands")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    """A service that takes code, over the store of the folder.

    It has a sweep `s`, one on `other` data, `t` on a template, and one that waits. The working
    folder is that of the service, too: so a command at home has the same store.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_scripted_engines(patch)
        made = Place.in_folder(folder)
        place = Place(ResumingService(folder), made.settings).taking_code(True)
        place.launch(folder / "text.txt")
        place.launch(folder / "other.txt", "other", trials=1)
        template = ["--template", "dense.py", "--name", "t", "--trials", "1"]
        # scripted trials return no objective, so that the sweep ends without a result
        assert cli.main(["launch", *template, "--confirm-configs", "0", "--progress", "off"]) == 1
        spec = tiny_spec(data=str(folder / "text.txt"), name="waits")
        queue.submit(MlflowStore(place.service.settings.store), spec, owner="ann")
        yield place


@pytest.fixture(scope="module")
def address(place: Place) -> Iterator[str]:
    """Where the service answers."""
    with place.served() as address:
        yield address


#: commands that change nothing, or come to the same each time; good and bad input of each: what
#: they print at home and by a service is recorded in tests/golden
SAME = {
    "sweeps": [""],
    "status": ["s", "s --follow", "none", "../x", ""],
    "trials": ["s", "s --top 1", "s --top 0", "none"],
    "show": ["s/1", "s", "s/99", "none/1", "none", "ffffff", "s/x", "RUN", "waits", "../x", ""],
    "stop": ["s", "none"],
    "delete": ["s", "none"],  # which asks first
    "prune": ["--older-than 0h --keep-best --dry-run", "--older-than 0h", "--older-than x"],
    "pause": ["s", "none"],
    "compare": [
        "s/1 s/2", "s other", "s s/1", "RUN s", "RUN s/0", "s waits", "s none", "s/1 s/99",
        "s/1 none/1", "x/y/z s/1",
    ],
    "size": [
        "--data text.txt --set layer_size=6,8", "--data workflow-log --symbols ids --space quick",
        "--data text.txt --space small.yaml", "--data none.txt", "--data text.txt --symbols x",
        "--data text.txt --space list.yaml", "--data text.txt --space none.yaml",
        "--data text.txt --set layers", "--data text.txt --set direction=up", "",
    ],
    "resume": [
        "s", "s same.yaml", "none", "s elsewhere.yaml", "s seed.yaml", "s zero.yaml",
        "s broken.yaml", "s unknown.yaml", "none same.yaml", "s --template dense.py",
        "t --template bad.py", "t own.yaml --template dense.py", "t own.yaml",
        "t own.yaml --trials 0",
    ],
    "report": [
        "s --to page.html", "s", "none", "s --to taken.html", "s --to .", "s --to none/page.html",
        "../x",
    ],
    "export": [
        "none --to new", "s/99 --to new", "ffffff --to new", "s --to .", "a/b/c --to new",
        "s --to new --format none", "s --to text.txt/new", "s --to new --register a/b",
    ],
    "classify": ["none --data text.txt", "a/b/c --data text.txt", "s --data none.txt",
                 "s --data text.txt --error 2", "s --data text.txt --class x", "s"],
    "detect": ["none --data text.txt", "a/b/c --data text.txt", "s --data none.txt",
               "s --data text.txt --below 2", "s --data text.txt --top x", "s"],
    "rerun": ["none/1", "s/99", "s/1 --set layers", "s/1 --set none=1", "s/1 --set layers=2,3",
              "s/1 --template dense.py", "t/0 --template bad.py",
              "t/0 --template dense.py --set layers=2", "s/1 --on none"],
    "launch": [
        "", "none.yaml", "list.yaml", "unknown.yaml", "broken.yaml", "zero.yaml",
        "--data none.txt", "--data text.txt --space none.yaml", "--data text.txt --trials 0",
        "--data text.txt --space list.yaml", "--data text.txt --name s", "--data text.txt --on x",
        "--data text.txt --set layers", "--template none.py", "--data text.txt --name ../x",
        "--dry-run same.yaml", "--dry-run --data short.txt",
        "--dry-run --data text.txt --set layer_size=4..8 --minutes 3 --trials 30",
        "--dry-run --data python-docs --space quick --trials 8 --workers 1",
        "--dry-run --data text.txt --space quick", "--dry-run --template dense.py --trials 3",
        "--dry-run own.yaml", "--dry-run --template bad.py", "--dry-run same.yaml --name s",
        "--dry-run missing.yaml", "--dry-run same.yaml --trials 2 --confirm-configs 5",
    ],
}  # fmt: skip


def test_each_command_is_compared() -> None:
    assert set(SAME) == set(COMMANDS) - set(AT_HOME)


def alike(text: str) -> str:
    """A text without what two sweeps of the same search do not share: name, runs, times."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "RUN", text)
    text = re.sub(r"\b(home|away)-?[0-9a-z]*\b", "NAME", text)
    return re.sub(r"[0-9.e-]+( s\b|(?=[,}] \"))", "N", text)


def result_of(printed: str) -> dict[str, Any]:
    """The result of a sweep without what two sweeps of the same search do not share."""
    result: dict[str, Any] = json.loads(printed)
    for varies in ("sweep", "run_id", "seconds", "time"):
        assert result.pop(varies)
    result["best"] |= {"run_id": "", "trial": alike(result["best"]["trial"])}
    return result


def test_a_sweep_comes_to_the_same_by_a_service(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    given = ["sweep.yaml", "--set", "layers=2", "--trials", "1"]
    for name, more in (("home", []), ("away", ["--server", address])):
        command = ["launch", *given, "--name", f"{name}-1", *more]
        assert cli.main([*command, "--json", "--progress", "off"]) == 0
        launched = result_of(capsys.readouterr().out)
        assert cli.main(["resume", f"{name}-1", *more]) == 0  # it has nothing to do
        found.append((launched, alike(capsys.readouterr().out)))
    assert found[0] == found[1]


def test_a_sweep_is_sent_followed_and_shown(
    place: Place, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = ["launch", "--data", "text.txt", "--name", "far", *SMALL, "--server", address]
    assert cli.main(launch) == 0
    output, progress = capsys.readouterr()
    assert "[2/2] far/" in progress and "best: far/" in output
    assert place.service.status("far").trials["complete"] == 2
    assert cli.main([*launch, "--name", "two", "--detach", "--json"]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)["sweep"] == "two" and "bytes" not in errors  # it has the data
    assert cli.main(["resume", "two", "--trials", "3", "--server", address]) == 0
    assert "best: two/2" in capsys.readouterr().out
    assert place.service.status("two").trials["complete"] == 3


def test_progress_for_programs_is_the_same_by_a_service(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for name, more in (("home", []), ("away", ["--server", address])):
        command = ["launch", "sweep.yaml", "--set", "dropout=0,0.2", "--prior", "off"]
        command += ["--name", f"{name}-json"]
        assert cli.main([*command, "--progress", "json", *more]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "{" in line]
        for line in lines:
            assert tuple(line) == (*COMMON, *SCHEMA[line["event"]])
            if line["event"] == "round":
                line["metrics"] = {"val_loss": line["metrics"]["val_loss"]}
            line |= dict.fromkeys(("time", "run_id", "reason", "seconds"))
        kinds = ("trial_started", "round", "trial_ended", "ended")
        kept = [line for line in lines if line["event"] in kinds]
        told[name] = json.loads(json.dumps(kept).replace(f"{name}-json", "NAME"))
        assert kept[-1]["event"] == "ended"
    assert len(told["home"]) == 9
    assert told["away"] == told["home"]


def test_a_template_is_sent_only_where_code_is_allowed(
    place: Place, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["launch", "--template", "dense.py", "--detach", "--server"]
    with place.taking_code(False).served() as other:
        assert cli.main([*command, other]) == 2
    errors = capsys.readouterr().err
    assert "--allow-code" in errors and "sending" not in errors
    assert cli.main([*command, address]) == 0


def test_data_that_the_service_has_are_named(
    place: Place, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = dataclasses.replace(place.settings, data_roots=(folder,))
    with Place(place.service, settings).served() as address:
        command = ["--data", "server:text.txt", "--space", "small.yaml", "--set", "layers=2"]
        more = ["--trials", "1", "--size-rule", "off", "--json", "--server", address]
        assert cli.main(["launch", *command, *more, "--progress", "off"]) == 0
        assert json.loads(capsys.readouterr().out)["best"]["config"]["layers"] == 2
        assert cli.main(["size", *command, "--json", "--server", address]) == 0
        assert json.loads(capsys.readouterr().out)["networks"][0]["layers"] == 2
        assert cli.main(["launch", "--data", "server:none", "--server", address]) == 2


def test_a_sweep_goes_on_as_a_changed_file_says(
    place: Place, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name, more in (("home", []), ("away", ["--server", address])):
        place.launch(Path("text.txt"), f"{name}-more")
        capsys.readouterr()
        command = ["resume", f"{name}-more", "more.yaml", "--json", "--progress", "off", *more]
        assert cli.main(command) == 0
        found.append(result_of(capsys.readouterr().out) | {"best": "drawn by the name"})
    assert found[0]["trials"]["complete"] == 5
    assert found[0] == found[1]


def test_what_runs_code_is_not_trained_again_by_a_service_that_takes_none(place: Place) -> None:
    client = place.taking_code(False).client()
    run_id = client.get(f"{API}/sweeps/t/trials/0").json()["run_id"]
    for path in ("sweeps/t/resume", "sweeps/t/trials/0/reruns", f"runs/{run_id}/reruns"):
        answer = client.post(f"{API}/{path}")
        assert (answer.status_code, "--allow-code" in answer.json()["detail"]) == (403, True), path


def test_python_has_the_sweeps_of_a_service(place: Place, address: str) -> None:
    service = lstm_sweep.connect(address)
    home = lstm_sweep.sweep("s", store=place.service.settings.folder)
    there = service.sweep("s")
    assert "s" in service.sweeps().index
    assert there.trials().equals(home.trials())
    assert there.best.bits_per_symbol == home.best.bits_per_symbol
    assert there.trial(1).curve().equals(home.trial(1).curve())
    assert there.status() == home.status() and there.baselines == home.baselines
    with pytest.raises(lstm_sweep.InputError, match="no such sweep"):
        service.sweep("none")


#: runs commands by a service where what only a service needs cannot be imported
ALONE = """
import sys
for name in ("tensorflow", "keras", "mlflow", "hyperopt", "pandas", "fastapi", "sqlalchemy"):
    sys.modules[name] = None
from lstm_sweep.search import cli
for command in {commands!r}:
    assert cli.main([*command.split(), "--server", sys.argv[1]]) == 0, command
"""


def test_commands_by_a_service_need_neither_tensorflow_nor_mlflow(address: str) -> None:
    commands = [
        "sweeps", "status s --follow", "trials s", "show s", "show s/1", "compare s/1 s/2",
        "size --data text.txt", "report s --to alone.html",
        "launch --data text.txt --space small.yaml --trials 1 --size-rule off",
    ]  # fmt: skip
    done = run_command(sys.executable, "-c", ALONE.format(commands=commands), address)
    assert done.code == 0, done
    assert "best: text-" in done.out and "s: finished" in done.out


def test_what_answers_is_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweeps", "--server", "ftp://host"]) == 2
    assert "--server is 'ftp://host'" in capsys.readouterr().err
    assert cli.main(["launch", "--data", "python-docs", "--detach"]) == 2
    assert "--detach" in capsys.readouterr().err
