"""Sweeps of a service are followed to their end, to Ctrl-C, and through broken connections."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from lstm_sweep.search import cli
from lstm_sweep.search.actions.sweeps import SweepStatusReport
from tests.service_app import ImmediateService, Place, use_scripted_engines
from tests.slow_proxy import Proxy, proxy_of

ROOT = Path(__file__).parents[2]
SMALL = [
    "--set", "direction=uni", "--set", "layer_size=6", "--set", "sequence_length=8",
    "--set", "stride=8", "--trials", "2", "--size-rule", "off",
]  # fmt: skip


class Held(ImmediateService):
    """A service whose sweeps are in a state as long as they are held in it."""

    held = ""

    def status(self, name: str) -> SweepStatusReport:
        """The state of a sweep."""
        found = super().status(name)
        return dataclasses.replace(found, state=self.held, why=None) if self.held else found


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A service with a sweep `s`, which it says to run."""
    folder = workplace("followed")
    monkeypatch.chdir(folder)
    use_scripted_engines(monkeypatch)
    made = Place.in_folder(folder, look_every_s=0.1)
    service = Held(folder)
    service.held = "running"
    place = Place(service, made.settings)
    place.launch(data)
    return place


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


def let_end(place: Place) -> None:
    """Say from now on that sweeps have ended."""
    assert isinstance(place.service, Held)
    place.service.held = ""


def test_the_state_is_followed_to_its_end(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with place.served() as address, client("status", "s", "--follow", server=address) as process:
        read_until(process.stdout, "sweep s: running; 3 complete")
        let_end(place)
        output, errors = process.communicate(timeout=120)
    assert cli.main(["status", "s"]) == 0
    assert (output, errors, process.returncode) == (capsys.readouterr().out, "", 0)


@pytest.mark.full
def test_ctrl_c_leaves_the_sweep_to_the_service(place: Place, data: Path) -> None:
    command = ("launch", "--data", str(data), "--name", "left", *SMALL)
    with place.served() as address, client(*command, server=address) as process:
        read_until(process.stderr, "[2/2] left/")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "sweep left goes on" in errors and "Traceback" not in errors
    assert (place.service.status("left").state, place.service.calls) == ("running", [])


def broken(proxy: Proxy, process: subprocess.Popen[str], place: Place) -> list[str]:
    """Break the connection of a process, and let sweeps end meanwhile; what it has said."""
    proxy.go_away()
    said = read_until(process.stderr, "asking again")
    let_end(place)
    proxy.come_back()
    return said


@pytest.mark.full
def test_a_launch_goes_on_where_its_connection_has_broken(place: Place, data: Path) -> None:
    command = ("launch", "--data", str(data), "--name", "far", *SMALL)
    with (
        place.served() as address,
        proxy_of(address) as proxy,
        client(*command, server=proxy.address) as process,
    ):
        lines = read_until(process.stderr, "[2/2] far/")
        said = broken(proxy, process, place)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and "best: far/" in output
    told = re.findall(r"^\[(\d)/2\]", "".join(lines + said) + errors, re.MULTILINE)
    assert told == ["1", "2"]  # none is told twice
    assert "no answer from" in said[-1] and "Traceback" not in errors


@pytest.mark.full
def test_the_state_is_followed_through_a_break(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        place.served() as address,
        proxy_of(address) as proxy,
        client("status", "s", "--follow", server=proxy.address) as process,
    ):
        read_until(process.stdout, "sweep s: running")
        broken(proxy, process, place)
        output, _ = process.communicate(timeout=120)
    assert cli.main(["status", "s"]) == 0
    assert (output, process.returncode) == (capsys.readouterr().out, 0)
