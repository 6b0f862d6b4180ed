from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lstm_sweep.search.cli import main
from lstm_sweep.search.cli.parsers import COMMANDS, build_parser

ROOT = Path(__file__).parents[4]
HEAVY = ("tensorflow", "keras", "mlflow", "hyperopt", "numpy", "pandas", "rich")
#: asks for help, says what it imported on the last line
PROGRAM = f"""
import sys
from lstm_sweep.search import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("imported:", *[name for name in {HEAVY} if name in sys.modules])
"""
#: the arguments that commands need
NEEDED = {
    "prune": ["--older-than", "30d"],
    "compare": ["docs/1", "docs/2"],
    "export": ["docs", "--to", "model"],
    "detect": ["model", "--data", "new.log"],
    "score": ["model", "--data", "new.log"],
    "classify": ["model", "--data", "new.csv"],
    "token": ["list"],
    **{name: [] for name in ("launch", "sweeps", "ui", "serve", "size")},
}


@pytest.mark.parametrize("command", ["--help", "launch --help"])
def test_heavy_libraries_are_not_imported_for_help(command: str) -> None:
    program = [sys.executable, "-c", PROGRAM, *command.split()]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_json_if_asked(command: str) -> None:
    parsed = build_parser().parse_args([command, *NEEDED.get(command, ["docs"]), "--json"])
    assert parsed.command == command and parsed.json is True


def test_a_full_disk_is_one_line_and_no_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tempfile

    from lstm_sweep.models.data import spool

    (tmp_path / "book.txt").write_text("one two three\n" * 50)
    gone = str(tmp_path / "gone")
    monkeypatch.setattr(spool, "KEPT_BYTES", 10)
    monkeypatch.setattr(tempfile, "tempdir", gone)
    assert main(["size", "--data", str(tmp_path / "book.txt")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"lstm-sweep: {gone}: No such file or directory, expected room")
