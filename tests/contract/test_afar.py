"""Commands print the same from afar as at home: one store, one service on a port."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_sweep.search import api, cli
from lstm_sweep.search.api import queue
from lstm_sweep.search.api.queue import Submission
from lstm_sweep.search.commands.afar import COMMANDS
from lstm_sweep.search.commands.json_lines import COMMON, SCHEMA
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.texts.exported import program_here
from tests.conftest import in_full
from tests.service_app import Place, ResumingService, use_scripted_engines
from tests.sweeps import tiny_spec

#: a sweep as the service of these tests runs it, on small networks
SMALL = [
    "--set", "direction=uni", "--set", "layer_size=6", "--set", "sequence_length=8",
    "--set", "stride=8", "--epochs", "2", "--trials", "2", "--size-rule", "off", "--ladder", "off",
    "--prior", "off",
    "--halving", "off", "--early-stopping", "0", "--confirm-configs", "0", "--targets", "100",
]  # fmt: skip
SPACE = "direction: uni\nlayer_size: 6\nsequence_length: 8\nstride: 8\nepochs: 2\n"
SWEEP = (
    'data: text.txt\nspace: {space}\ntrials: 2\nsize_rule: "off"\nladder: false\n'
    "halving: false\nearly_stopping: 0\nconfirm_configs: 0\ntargets: 100\n"
)


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """A working folder with a store, data, a sweep file and files that are none."""
    folder = workplace("afar")
    for name, text in {
        "text.txt": "abcdefgh" * 1_000, "other.txt": "hgfedcba" * 1_000,
        "small.yaml": SPACE, "list.yaml": "[1]",
        "sweep.yaml": SWEEP.format(space="small.yaml"), "unknown.yaml": "trails: 3",
        "broken.yaml": "trials: [", "zero.yaml": "data: text.txt\ntrials: 0",
        "template.py": "def create_model(): ...", "taken.html": "something else",
    }.items():  # fmt: skip
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    """A service over the store of the folder, with a sweep `s`, one on `other` data, one queued.

    The working folder is that of the service, too: so a command at home has the same store.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_scripted_engines(patch)
        made = Place.in_folder(folder)
        place = Place(ResumingService(folder), made.settings)
        place.launch(folder / "text.txt")
        place.launch(folder / "other.txt", "other", trials=1)
        spec = tiny_spec(data=str(folder / "text.txt"), name="waits")
        queue.submit(MlflowStore(place.service.settings.store), spec, Submission(owner="ann"))
        yield place


@pytest.fixture(scope="module")
def address(place: Place) -> Iterator[str]:
    """Where the service answers."""
    with place.served() as address:
        yield address


Printed = tuple[int, str, str]


@pytest.fixture
def both(address: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Printed]]:
    """Runs a command at home and from afar: exit code, output and errors of each."""

    def run(*command: str) -> list[Printed]:
        found = []
        for more in ([], ["--server", address]):
            code = cli.main([*command, *more])
            output, errors = capsys.readouterr()
            found.append((code, output, errors))
        return found

    return run


#: commands that change nothing, or come to the same each time; good and bad input of each
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
    "resume": ["s", "none"],
    "report": [
        "s --to page.html", "s", "none", "s --to taken.html", "s --to .", "s --to none/page.html",
        "../x",
    ],
    "export": [
        "none --to new", "s/99 --to new", "ffffff --to new", "s --to .", "a/b/c --to new",
        "s --to new --format none", "s --to text.txt/new", "s --to new --register a/b",
    ],
    "rerun": ["none/1", "s/99", "s/1 --set layers", "s/1 --set none=1", "s/1 --set layers=2,3"],
    "launch": [
        "", "none.yaml", "list.yaml", "unknown.yaml", "broken.yaml", "zero.yaml",
        "--data none.txt", "--data text.txt --space none.yaml", "--data text.txt --trials 0",
        "--data text.txt --space list.yaml", "--data text.txt --name s", "--data text.txt --on x",
        "--data text.txt --set layers", "--template none.py", "--data text.txt --name ../x",
    ],
}  # fmt: skip
ALL = [[f"{command} {more}".strip() for more in cases] for command, cases in SAME.items()]
#: two of each command in `make test`
CASES = [case for cases in ALL for case in (*cases[:2], *in_full(*cases[2:]))]


def test_each_command_is_compared() -> None:
    assert set(SAME) == set(COMMANDS)


@pytest.mark.parametrize("command", CASES)
def test_a_command_is_the_same_from_afar(
    command: str, place: Place, both: Callable[..., list[Printed]]
) -> None:
    run_id = api.trials("s", settings=place.service.settings.store).to_list()[0]["run_id"]
    for more in ([], ["--json"]):
        words = [run_id if word == "RUN" else word for word in command.split()]
        home, afar = both(*words, *more)
        # what comes next is named as it is called: at home perhaps by a path; and a service shows
        # no path of its machine
        shown = home[1].replace(f"  {program_here()} ", "  lstm-sweep ")
        assert afar[:2] == (home[0], re.sub(r'"data": "/[^"]*/', '"data": "', shown))
        said = [line for line in afar[2].splitlines() if ": sending " not in line]
        assert ("Traceback" in afar[2], len(said)) == (False, home[2].count("\n"))


#: bad input whose sentence is that of the command at home, word for word
@pytest.mark.parametrize(
    "command",
    [
        "launch unknown.yaml", "launch broken.yaml", "launch zero.yaml", "launch list.yaml",
        "launch --data text.txt --trials 0", "launch --data text.txt --set layers",
        "launch --data text.txt --space none.yaml", "trials none", "export s --to .",
        "report s --to taken.html", "rerun s/1 --set none=1", "compare s/1 s/99",
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_same_words(
    command: str, both: Callable[..., list[Printed]]
) -> None:
    home, afar = both(*command.split())
    assert (home[0], afar[2]) == (2, home[2])


def alike(text: str) -> str:
    """A text without what two sweeps of the same search do not share: name, runs, times."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "RUN", text)
    text = re.sub(r"\b(home|away)-?[0-9a-z]*\b", "NAME", text)
    return re.sub(r"[0-9.e-]+( s\b|(?=[,}] \"))", "N", text)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(["--data", "text.txt", *SMALL], id="options", marks=pytest.mark.full),
        pytest.param(["sweep.yaml"], id="sweep-file", marks=pytest.mark.full),
        pytest.param(["sweep.yaml", "--set", "layers=2", "--trials", "1"], id="both"),
    ],
)
def test_a_sweep_comes_to_the_same_from_afar(
    given: list[str], address: str, request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = {}
    number = len(request.node.name)
    for name, more in (("home", []), ("away", ["--server", address])):
        command = ["launch", *given, "--name", f"{name}-{number}", *more]
        assert cli.main([*command, "--json", "--progress", "off"]) == 0
        result = json.loads(capsys.readouterr().out)
        result["best"].pop("run_id")
        result["best"]["trial"] = alike(result["best"]["trial"])
        for varies in ("sweep", "run_id", "seconds", "time"):
            assert result.pop(varies)
        found[name] = result
        assert cli.main(["resume", f"{name}-{number}", *more]) == 0  # it has nothing to do
        found[f"{name} resumed"] = alike(capsys.readouterr().out)
    assert found["away"] == found["home"]
    assert found["away resumed"] == found["home resumed"]


def test_a_sweep_is_sent_followed_and_shown(
    place: Place, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = ["launch", "--data", "text.txt", "--name", "far", *SMALL, "--server", address]
    assert cli.main(launch) == 0
    output, progress = capsys.readouterr()
    assert "[2] far/" in progress and "best: far/" in output
    assert place.service.status("far").trials["complete"] == 2
    assert cli.main([*launch, "--name", "two", "--detach", "--json"]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)["sweep"] == "two" and "bytes" not in errors  # it has the data
    assert cli.main(["resume", "two", "--trials", "3", "--server", address]) == 0
    assert "best: two/2" in capsys.readouterr().out
    assert place.service.status("two").trials["complete"] == 3


def test_progress_for_programs_is_told_from_afar(
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
    address: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["launch", "--template", "template.py", "--detach", "--server"]
    assert cli.main([*command, address]) == 2
    errors = capsys.readouterr().err
    assert "--allow-code" in errors and "sending" not in errors
    allowing = Place.in_folder(folder, allow_code=True)
    with allowing.served() as other:
        assert cli.main([*command, other]) == 2
    errors = capsys.readouterr().err  # it has come there, and is no template that can be searched
    assert "sending template.py" in errors and "template.py" in errors.splitlines()[-1]


def test_what_answers_is_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweeps", "--server", "ftp://host"]) == 2
    assert "--server is 'ftp://host'" in capsys.readouterr().err
    assert cli.main(["launch", "--data", "python-docs", "--detach"]) == 2
    assert "--detach" in capsys.readouterr().err
