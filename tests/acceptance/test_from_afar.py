"""The round trip of a user whose data are elsewhere than the service: sent, left, found, taken."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_here, start_program, write_text

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
SWEEP = """\
data: words.txt
name: far
space: {direction: uni, layers: 2, layer_size: [8, 12], sequence_length: 10, stride: 10,
  batch_size: 32, learning_rate: 0.01, dropout: {low: 0, high: 0.3}, epochs: 2}
ladder: false
halving: false
early_stopping: 0
size_rule: warn
targets: 500
confirm_configs: 0
"""


class Laptop:
    """A folder with data, and the client in processes of their own."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address

    def run(self, *command: str) -> str:
        """What a command prints that ends well."""
        done = subprocess.run(
            [sys.executable, "-m", "lstm_sweep", *command],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=400,
            env={"PYTHONPATH": str(ROOT), "LSTM_SWEEP_SERVER": self.address},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *command: str) -> Any:
        """The JSON of a command that ends well."""
        return json.loads(self.run(*command, "--json"))


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Path:
    """The working folder of a service."""
    return workplace("there")


@pytest.fixture
def laptop(place: Path, tmp_path: Path) -> Iterator[Laptop]:
    """A client of the program `serve`."""
    slots = {"LSTM_SWEEP_SLOTS": str(place / "slots")}
    command = ["serve", "--json", "--slots", "2", "--no-mlflow"]
    service = start_program(*command, cwd=place, **slots)
    try:
        told = json.loads(service.stdout.readline())
        write_text(tmp_path / "words.txt")
        for file, trials in (("sweep.yaml", 2), ("more.yaml", 3)):
            (tmp_path / file).write_text(f"{SWEEP}trials: {trials}\n", encoding="utf-8")
        yield Laptop(tmp_path, told["url"])
        os.kill(service.pid, signal.SIGTERM)
        assert service.wait(25) == 0
    finally:
        if service.poll() is None:
            service.kill()


def test_a_sweep_is_sent_left_found_again_and_taken_home(laptop: Laptop, place: Path) -> None:
    expected = laptop.ask("launch", "sweep.yaml", "--dry-run")
    assert expected["budget"]["trials"] == 2 and expected["slots"] == 2
    assert laptop.ask("launch", "sweep.yaml", "--detach")["state"] == "queued"
    assert "sweep far: finished" in laptop.run("status", "far", "--follow")
    trials = laptop.ask("trials", "far")
    assert [trial["outcome"] for trial in trials] == ["complete", "complete"]
    assert trials == json.loads(run_here("trials", "far", "--json", cwd=place).out)
    best, other = (trial["trial"] for trial in trials)

    exported = laptop.ask("export", "far", "--to", "best")
    assert (exported["trial"], exported["parity"]["windows"] > 0) == (best, True)
    check_bundle(laptop, laptop.folder / "best")
    assert "verdict: identical" in laptop.run("rerun", best)
    compared = laptop.ask("compare", best, other)
    assert [compared["first"]["trial"], compared["second"]["trial"]] == [best, other]
    assert laptop.ask("report", "far", "--to", "page.html")["sweep"] == "far"
    assert "</html>" in (laptop.folder / "page.html").read_text(encoding="utf-8")

    assert laptop.ask("resume", "far", "more.yaml")["trials"]["complete"] == 3


def check_bundle(laptop: Laptop, bundle: Path) -> None:
    """Compare a bundle with the zip file of the service, and that with its digest."""
    with urllib.request.urlopen(f"{laptop.address}/api/v1/sweeps/far/export") as answer:
        content, digest = answer.read(), answer.headers["Repr-Digest"]
    sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert digest == f"sha-256=:{sha256}:"
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        names = [name for name in packed.namelist() if not name.endswith("/")]
        there = {name.partition("/")[2]: packed.read(name) for name in names}
    files = (file for file in bundle.rglob("*") if file.is_file())
    assert {file.relative_to(bundle).as_posix(): file.read_bytes() for file in files} == there
    assert "model.keras" in there
