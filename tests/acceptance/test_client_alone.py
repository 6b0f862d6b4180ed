"""Whoever only asks a service installs two packages without what they need, or nothing at all."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import run_here
from tests.service_app import Place, use_scripted_engines
from tests.wheels import ROOT, built_wheel

pytestmark = pytest.mark.full

SMALL = (
    "--set", "direction=uni", "--set", "layer_size=6", "--set", "sequence_length=8",
    "--set", "stride=8", "--trials", "2", "--size-rule", "off",
)  # fmt: skip


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A service with a sweep `s`, whose store is that of the working folder."""
    folder = workplace("alone")
    monkeypatch.chdir(folder)
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(folder)
    place.launch(data)
    return place


def run(*command: str | Path, cwd: Path) -> str:
    """What a program prints that ends without an error."""
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_packages_without_what_they_need_are_enough(
    place: Place, data: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    programs = tmp_path / "venv" / "bin"
    install: list[str | Path] = [programs / "python", "-m", "pip", "install", "-q", "--no-deps"]
    packages: list[str | Path] = ["-c", ROOT / "constraints.txt", built_wheel(tmp_path), "rich"]
    done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = json.loads(run(programs / "pip", "list", "--format", "json", cwd=tmp_path))
    assert {one["name"] for one in listed} - {"pip", "setuptools"} == {"lstm-sweep", "rich"}
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    (laptop / "sweep.yaml").write_text(f"data: {data}\nsize_rule: 'off'\n", encoding="utf-8")
    with place.served() as address:
        urllib.request.urlretrieve(f"{address}/client", laptop / "client")
        alone: list[list[str | Path]] = [
            [programs / "lstm-sweep"],
            [programs / "python", "-I", "client"],
        ]
        for program in alone:
            for command in (["sweeps"], ["show", "s/1"], ["compare", "s/1", "s/2", "--json"]):
                at_home = run_here(*command, cwd=Path.cwd())
                assert at_home.code == 0, at_home.err
                assert run(*program, *command, "--server", address, cwd=laptop) == at_home.out
            launch = [*program, "launch", "sweep.yaml", *SMALL, "--server", address]
            result = json.loads(run(*launch, "--json", cwd=laptop))
            name = result["sweep"]
            assert result["state"] == "finished" and result["best"]
            run(*program, "report", name, "--server", address, cwd=laptop)
            assert "</html>" in (laptop / f"{name}-report.html").read_text(encoding="utf-8")
