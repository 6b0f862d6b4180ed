"""A newcomer types `launch`, and then what is printed: registered, served without this program."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import (
    TINY,
    Done,
    outside,
    python_without_program,
    run_command,
    run_here,
    run_program,
    write_text,
)
from tests.postgres import do_without
from tests.servers import free_port, wait_for_answer

pytestmark = pytest.mark.full
FEW = [*TINY, "--epochs", "1", "--trials", "1", "--confirm-configs", "0"]
#: the bundle that `launch` proposes
BEST = "words-1-best"


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    found = workplace("serving")
    write_text(found / "words.txt")
    return found


@pytest.fixture(scope="module")
def exported(folder: Path) -> Done:
    """What the command has printed that `launch` has printed, after a sweep of one trial."""
    launched = run_program("launch", "--data", "words.txt", *FEW, cwd=folder)
    assert launched.code == 0, launched.err
    [line] = [line for line in launched.out.splitlines() if " export " in line]
    _, *typed = shlex.split(line, comments=True)
    assert BEST in typed
    done = run_here(*typed, cwd=folder)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the libraries that are installed here, but not with ours."""
    python = python_without_program(tmp_path_factory.mktemp("environment"))
    for name, start in (
        ("mlflow", "from mlflow.cli import cli as main"),
        ("uvicorn", "from uvicorn.main import main"),
    ):
        script = python.parent / name
        script.write_text(f"#!{python}\n{start}\nmain()\n", encoding="utf-8")
        script.chmod(0o755)
    return python.parent


@contextlib.contextmanager
def served(command: str, environment: Path, folder: Path) -> Iterator[str]:
    """The server of the command that `export` has printed; where it answers."""
    port = free_port()
    variables, words = {}, shlex.split(re.sub(r"--port \d+", f"--port {port}", command))
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    variables["PATH"] = f"{environment}:{os.environ['PATH']}"
    log = folder / "served.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [environment / words[0], *words[1:]],
            env=outside() | variables,
            cwd=folder / BEST,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(f"{address}/ping", process, log, within_s=400)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, body: str) -> Any:
    """The answer to a request, or the message with which it is refused."""
    request = urllib.request.Request(
        f"{address}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=100) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        assert error.code == 400
        return json.load(error)["message"]


def test_a_registered_model_answers_what_the_commands_print(
    folder: Path, exported: Done, environment: Path
) -> None:
    if not shutil.which("curl"):
        do_without("curl", "curl is not installed, expected Debian's package `curl`")
    *_, named, _, serve, _, curl = exported.out.splitlines()
    assert named == "registered: version 1 of words, the champion: no version was the champion"
    body = shlex.split(curl)[-1]
    [session] = json.loads(body)["dataframe_records"]
    known = {*(folder / "words.txt").read_text(encoding="utf-8")}
    assert len(session["text"]) == 3 and {*session["text"]} <= known
    [port] = re.findall(r"--port (\d+)", serve)
    assert f":{port}/" in curl
    new = folder / "new.txt"
    new.write_text("the river and the Xtone", encoding="utf-8")
    generate = ("generate", BEST, "--prompt", "the ", "--json", "--length")
    continued = run_here(*generate, "12", cwd=folder).json["sequences"][0]
    options = ("--candidates", "1", "--top", "99", "--json")
    detected = run_here("detect", BEST, "--data", "new.txt", *options, cwd=folder).json
    with served(serve.strip(), environment, folder) as address:
        typed = curl.replace(f"http://127.0.0.1:{port}", address)
        [printed] = run_command("bash", "-c", typed).json["predictions"]
        params = {"top": 3, "length": 12}
        texts = ["the ", new.read_text(encoding="utf-8")]
        asked = {"dataframe_records": [{"text": text} for text in texts], "params": params}
        first, second = ask(address, json.dumps(asked))
        assert "expected 1 to" in ask(address, json.dumps(asked | {"params": {"top": 0}}))
        assert "text" in ask(address, '{"dataframe_records": [{"words": "a"}]}')
    assert len(printed["continuation"]) == 20
    shares = [one["probability"] for one in printed["next"]]
    assert len({one["symbol"] for one in printed["next"]}) == len(shares) == 3
    assert shares == sorted(shares, reverse=True) and shares[-1] > 0 and sum(shares) <= 1 + 1e-6
    assert first["continuation"] == continued
    surprise = second["surprise"]
    assert sum(surprise) / len(surprise) == pytest.approx(detected["loss"], rel=1e-4)
    assert detected["findings"]
    for one in detected["findings"]:
        chance = pytest.approx(one["probability"], rel=1e-3)
        assert 2.718281828459045 ** -surprise[one["place"] - 1] == chance
