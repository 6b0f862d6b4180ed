"""Commands print the same from afar as at home: one store, one service on a port."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from lstm_sweep.search import cli
from lstm_sweep.search.service.app import create_app
from tests.service_app import Place, use_scripted_engines

ROOT = Path(__file__).parents[2]
#: settings of a sweep whose trials are small
SMALL = [
    "--set", "direction=uni", "--set", "layer_size=6", "--set", "sequence_length=8",
    "--set", "stride=8", "--trials", "2", "--size-rule", "off",
]  # fmt: skip


@pytest.fixture
def service(
    tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Place, str]]:
    """A service with one sweep, `s`, and its address; the store is that of the working folder."""
    monkeypatch.chdir(tmp_path)
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(tmp_path)
    place.launch(data_file)
    app = create_app(place.service, place.settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield place, f"http://127.0.0.1:{port}"
    app.state.site.feeds.closing = True
    server.should_exit = True
    thread.join()


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """A text of 8,000 characters."""
    file = tmp_path / "text.txt"
    file.write_text("abcdefgh" * 1_000, encoding="utf-8")
    return file


def test_commands_print_the_same_from_afar(
    service: tuple[Place, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, address = service
    for command in (
        ["sweeps"], ["status", "s"], ["trials", "s"], ["trials", "s", "--top", "1"],
        ["show", "s/1"], ["stop", "s"], ["pause", "s"], ["status", "none"], ["trials", "none"],
        ["show", "s/99"], ["stop", "none"], ["trials", "s", "--top", "0"],
    ):  # fmt: skip
        for more in ([], ["--json"]):
            at_home = (cli.main([*command, *more]), *capsys.readouterr())
            afar = (cli.main([*command, *more, "--server", address]), *capsys.readouterr())
            assert afar[:2] == at_home[:2], command
            assert bool(afar[2]) == bool(at_home[2]), command


def test_a_sweep_is_sent_followed_and_shown(
    service: tuple[Place, str], data_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, address = service
    launch = ["launch", "--data", str(data_file), "--name", "far", *SMALL, "--server", address]
    assert cli.main(launch) == 0
    output, errors = capsys.readouterr()
    assert "[2] far/" in output and "best: far/" in output and "8,000 bytes" in errors
    assert place.service.status("far").trials["complete"] >= 2
    assert cli.main([*launch, "--name", "two", "--detach", "--json"]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)["sweep"] == "two" and "bytes" not in errors  # it has the data
    assert cli.main(launch) == 2  # the name is taken
    assert "far" in capsys.readouterr().err


def test_what_answers_is_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweeps", "--server", "ftp://host"]) == 2
    assert "--server is 'ftp://host'" in capsys.readouterr().err
    assert cli.main(["launch", "--data", "python-docs", "--detach"]) == 2
    assert "--detach" in capsys.readouterr().err


def test_the_client_imports_the_standard_library_alone() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from lstm_sweep.search import cli\n"
        "import lstm_sweep.search.client.listening, lstm_sweep.search.client.sending\n"
        "try: cli.main(['sweeps', '--server', 'http://127.0.0.1:1'])\n"
        "finally: print([n for n in sys.modules if n.partition('.')[0] not in\n"
        "    {*sys.stdlib_module_names, 'lstm_sweep', '__main__'}])\n"
    )
    code = code.replace("cli.main", "cli.build_parser().parse_args", 1)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_client_is_one_file_that_needs_python_alone(
    service: tuple[Place, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, address = service
    file = tmp_path / "client"
    with urllib.request.urlopen(f"{address}/client") as response:
        file.write_bytes(response.read())
    assert cli.main(["trials", "s"]) == 0
    at_home = capsys.readouterr().out
    for command, code, expected in (
        (["trials", "s", "--server", address], 0, at_home),
        (["trials", "none", f"--server={address}"], 2, ""),
        (["trials", "s"], 2, ""),
    ):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(file), *command],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (code, expected), done.stderr
        assert "Traceback" not in done.stderr and bool(done.stderr) == bool(code)
