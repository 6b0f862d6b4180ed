"""The client needs Python alone, installed or as the one file that a service hands out."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from lstm_sweep.search import cli
from tests.service_app import Place, use_scripted_engines

ROOT = Path(__file__).parents[2]


def test_the_client_imports_the_standard_library_alone() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from lstm_sweep.search import cli\n"
        "import lstm_sweep.search.commands.afar_files\n"
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
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(tmp_path)
    place.launch(data)
    with place.served() as address:
        check_file(address, tmp_path, capsys)


def check_file(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the client that a service hands out."""
    file = tmp_path / "client"
    with urllib.request.urlopen(f"{address}/client") as response:
        file.write_bytes(response.read())
    assert cli.main(["trials", "s"]) == 0
    at_home = capsys.readouterr().out
    assert cli.main(["report", "s", "--to", "home.html"]) == 0
    reported = capsys.readouterr().out.replace("home.html", "afar.html")
    for command, code, expected in (
        (["trials", "s", "--server", address], 0, at_home),
        (["report", "s", "--to", "afar.html", "--server", address], 0, reported),
        (["trials", "none", f"--server={address}"], 2, ""),
        (["trials", "s"], 2, ""),
    ):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(file), *command],
            capture_output=True, text=True, check=False, cwd=tmp_path, env={},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (code, expected), done.stderr
        assert "Traceback" not in done.stderr and bool(done.stderr) == bool(code)
