"""Dry runs, resumed sweep files and templates from afar are those at home, word for word."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lstm_sweep.search import cli
from tests.conftest import in_full
from tests.service_app import API, Place, ResumingService, use_scripted_engines

TEMPLATES = Path(__file__).parents[1] / "templates"
SPACE = "direction: [uni, bi]\ndropout: {low: 0, high: 0.5}\nlayer_size: 6\n" \
    "sequence_length: 8\nstride: 8\nepochs: 2\n"  # fmt: skip
#: stands for the command `rerun`: it prints the template that it is given
PROGRAM = """
import json, sys
given = dict(word.split("=", 1) for word in sys.argv if "=" in word)
assert given["--on"] == "inline"
print(json.dumps({
    "trial": open(given["--template"]).read(), "rerun_run_id": "f" * 32, "verdict": "identical",
    "epochs_compared": 1.0, "max_difference": 0.0, "first_difference": None, "variation": {},
    "changed_versions": {}, "changed_device": None, "outcome": "complete",
}))
"""
#: what the sweep `s` began with, but for what may change
SWEEP = (
    "data: text.txt\nspace: space.yaml\ntargets: 100\nsize_rule: 'off'\nhalving: false\n"
    "early_stopping: 0\nconfirm_configs: 0\n"
)
FILES = {
    "text.txt": "abcdefgh" * 1_000, "other.txt": "hgfedcba" * 1_000, "short.txt": "ab",
    "space.yaml": SPACE, "same.yaml": f"{SWEEP}trials: 3\n", "more.yaml": f"{SWEEP}trials: 5\n",
    "other.yaml": SWEEP.replace("text", "other"), "seed.yaml": f"{SWEEP}seed: 4\n",
    "none.yaml": SWEEP.replace("text", "none"), "zero.yaml": f"{SWEEP}trials: 0\n",
    "broken.yaml": "trials: [", "unknown.yaml": "trails: 3", "bad.py": "def create_model(): ...",
    "own.yaml": "template: dense.py\ntrials: 1\nconfirm_configs: 0\n",
    "dense.py": (TEMPLATES / "dense.py").read_text(encoding="utf-8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path]) -> Iterator[Place]:
    """A service that takes code, over the store of its working folder.

    It has the sweep `s` on data, and the sweep `t` on a template.
    """
    folder = workplace("specs")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_scripted_engines(patch)
        made = Place.in_folder(folder, allow_code=True)
        place = Place(ResumingService(folder), made.settings)
        place.launch(folder / "text.txt")
        template = ["--template", "dense.py", "--name", "t", "--trials", "1"]
        # scripted trials return no objective, so that the sweep ends without a result
        assert cli.main(["launch", *template, "--confirm-configs", "0", "--progress", "off"]) == 1
        yield place


@pytest.fixture(scope="module")
def address(place: Place) -> Iterator[str]:
    """Where the service answers."""
    with place.served() as address:
        yield address


def test_a_sweep_goes_on_as_a_changed_file_says(
    place: Place, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name, more in (("home", []), ("away", ["--server", address])):
        place.launch(Path("text.txt"), name)
        capsys.readouterr()
        command = ["resume", name, "more.yaml", "--json", "--progress", "off", *more]
        assert cli.main(command) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["trials"]["complete"] == 5
        for varies in ("sweep", "run_id", "seconds", "time", "best"):
            result.pop(varies)
        found[name] = result
    assert found["away"] == found["home"]


@pytest.mark.parametrize("allow_code", [True, False])
def test_a_rerun_is_given_the_template_that_is_sent(
    place: Place, address: str, allow_code: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    monkeypatch.setattr(place.service, "program", (sys.executable, "-S", str(program)))
    command = ["rerun", "t/0", "--template", "dense.py", "--on", "inline", "--json"]
    refusing = Place(place.service, dataclasses.replace(place.settings, allow_code=False))
    with contextlib.nullcontext(address) if allow_code else refusing.served() as asked:
        code = cli.main([*command, "--server", asked])
    output, errors = capsys.readouterr()
    if allow_code:
        assert (code, json.loads(output)["trial"]) == (0, FILES["dense.py"])
    else:
        assert (code, output, "--allow-code" in errors) == (2, "", True)


def test_what_runs_code_is_not_trained_again_by_a_service_that_takes_none(place: Place) -> None:
    settings = dataclasses.replace(place.settings, allow_code=False)
    client = Place(place.service, settings).client()
    run_id = client.get(f"{API}/sweeps/t/trials/0").json()["run_id"]
    for path in ("sweeps/t/resume", "sweeps/t/trials/0/reruns", f"runs/{run_id}/reruns"):
        answer = client.post(f"{API}/{path}")
        assert (answer.status_code, "--allow-code" in answer.json()["detail"]) == (403, True), path


Printed = tuple[int, str, str]


@pytest.fixture
def both(address: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Printed]]:
    """Runs a command at home and from afar: exit code, output, and errors but for uploads."""

    def run(*command: str) -> list[Printed]:
        found = []
        capsys.readouterr()
        for more in ([], ["--server", address]):
            code = cli.main([*command, *more])
            output, errors = capsys.readouterr()
            said = [line for line in errors.splitlines() if ": sending " not in line]
            found.append((code, output, "\n".join(said)))
        return found

    return run


#: commands, and their exit code
CASES = [
    ("launch --dry-run same.yaml", 0),
    ("launch --dry-run --data short.txt", 2),
    *in_full(
        ("launch --dry-run --data text.txt --set layer_size=4..8 --minutes 3 --trials 30", 0),
        ("launch --dry-run --data python-docs --space quick --trials 8 --workers 1", 0),
        ("launch --dry-run --data text.txt --space quick", 0),
        ("launch --dry-run --template dense.py --trials 3", 0),
        ("launch --dry-run own.yaml", 0),
        ("launch --dry-run --template bad.py", 2),
        ("launch --dry-run same.yaml --name s", 2),
        ("launch --dry-run zero.yaml", 2),
        ("launch --dry-run none.yaml", 2),
        ("launch --dry-run same.yaml --trials 2 --confirm-configs 5", 0),
        ("launch --dry-run --data text.txt --set layers", 2),
    ),
    ("resume s same.yaml", 0),
    ("resume s other.yaml", 2),
    *in_full(
        ("resume s seed.yaml", 2),
        ("resume s zero.yaml", 2),
        ("resume s broken.yaml", 2),
        ("resume s unknown.yaml", 2),
        ("resume none same.yaml", 2),
        ("resume s --template dense.py", 2),
        ("resume t --template bad.py", 2),
        ("resume t own.yaml --template dense.py", 0),
        ("resume t own.yaml", 0),
        ("resume t own.yaml --trials 0", 2),
    ),
    ("rerun s/1 --template dense.py", 2),
    ("rerun t/0 --template bad.py", 2),
    *in_full(
        ("rerun t/0 --template dense.py --set layers=2", 2),
        ("rerun s/1 --on none", 2),
    ),
]


@pytest.mark.parametrize(("command", "code"), CASES)
def test_it_is_the_same_from_afar(
    command: str, code: int, both: Callable[..., list[Printed]]
) -> None:
    for more in ([], ["--json"]):
        home, afar = both(*command.split(), *more)
        assert afar == home
        assert home[0] == code
