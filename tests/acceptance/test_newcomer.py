"""A newcomer with a text file types `launch`, and then only what is printed, up to `curl`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import outside, processes_of_group, write_text
from tests.launcher import PROGRAM
from tests.postgres import do_without
from tests.servers import free_port

pytestmark = pytest.mark.full
#: a sweep that takes seconds
SMALL = (
    "--trials 1 --epochs 1 --ladder off --confirm-configs 0 --size-rule off --targets 100 "
    "--set layer_size=8 --set sequence_length=10 --set batch_size=32 --set learning_rate=0.01"
)
#: seconds that the server has to start
WITHIN_S = 300


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell does with a line in a folder."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=outside(),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def printed(line: str, folder: Path) -> list[str]:
    """The lines that a command prints, which must succeed."""
    done = typed(line, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def after(heading: str, lines: list[str]) -> str:
    """The line below the one that begins so and ends with a colon."""
    [at] = [n for n, line in enumerate(lines) if line.startswith(heading) and line.endswith(":")]
    return lines[at + 1].strip()


@contextlib.contextmanager
def running(line: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that a shell runs until it is told to end; what it prints is in `server.log`."""
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", line],
            cwd=folder,
            env=outside(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    assert processes_of_group(process.pid) == []


def test_what_is_printed_leads_from_a_file_to_an_answer(tmp_path: Path) -> None:
    if not shutil.which("curl"):
        do_without("curl", "curl is not installed, expected Debian's package `curl`")
    write_text(tmp_path / "words.txt")
    lines = printed(f"{PROGRAM} launch --data words.txt {SMALL}", tmp_path)
    [export] = [line for line in lines if " export " in line]
    lines = printed(export, tmp_path)
    assert any(line.startswith("registered: version 1 of words, the champion") for line in lines)
    serve, ask = after("serve it", lines), after("ask it", lines)
    [given] = re.findall(r"--port (\d+)", serve)
    port = str(free_port())
    assert f":{given}/" in ask
    with running(serve.replace(f"--port {given}", f"--port {port}"), tmp_path) as server:
        until = time.monotonic() + WITHIN_S
        while (done := typed(ask.replace(f":{given}/", f":{port}/"), tmp_path)).returncode:
            said = (tmp_path / "server.log").read_text()[-3000:]
            assert server.poll() is None and time.monotonic() < until, done.stderr + said
            time.sleep(1)
    [answer] = json.loads(done.stdout)["predictions"]
    likeliest = [(one["symbol"], one["probability"]) for one in answer["next"]]
    assert len({symbol for symbol, _ in likeliest}) == len(likeliest) == 3
    shares = [share for _, share in likeliest]
    assert shares == sorted(shares, reverse=True) and shares[-1] > 0 and sum(shares) <= 1 + 1e-6
    known = {*(tmp_path / "words.txt").read_text(encoding="utf-8"), "<unk>", "<end>"}
    assert {symbol for symbol, _ in likeliest} <= known
    assert answer["continuation"] and answer["surprise"]
