from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
HEAVY = ("tensorflow", "keras", "mlflow", "hyperopt", "numpy")

#: runs a statement, says what it imported on the last line
PROBE = """
import sys
sys.path.insert(0, {root!r})
from lstm_sweep.search import cli
try:
    {statement}
except SystemExit as end:
    assert end.code == 0, end.code
print("imported:", *[name for name in {heavy!r} if name in sys.modules])
"""


def run(statement: str) -> str:
    """Run a statement in a fresh interpreter; what it printed."""
    code = PROBE.format(root=str(ROOT), statement=statement, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "statement",
    [
        'cli.main(["--help"])',
        'cli.main(["launch", "--help"])',
    ],
)
def test_heavy_libraries_are_not_imported_for_help(statement: str) -> None:
    assert run(statement).splitlines()[-1] == "imported:"


#: all commands, each with the arguments that it needs
COMMANDS = {
    "launch": [],
    "resume": ["docs"],
    "stop": ["docs"],
    "delete": ["docs"],
    "prune": ["--older-than", "30d"],
    "status": ["docs"],
    "sweeps": [],
    "trials": ["docs"],
    "report": ["docs"],
    "show": ["docs/1"],
    "compare": ["docs/1", "docs/2"],
    "rerun": ["docs/1"],
    "export": ["docs", "--to", "model"],
    "generate": ["model"],
    "detect": ["model", "--data", "new.log"],
    "ui": [],
    "pause": ["docs"],
    "serve": [],
    "token": ["list"],
    "size": [],
}


def test_these_are_all_commands() -> None:
    from lstm_sweep.search.cli.parsers import build_parser

    [commands] = [action for action in build_parser()._actions if action.dest == "command"]
    assert set(commands.choices or ()) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_json_if_asked(command: str) -> None:
    from lstm_sweep.search.cli.parsers import build_parser

    parsed = build_parser().parse_args([command, *COMMANDS[command], "--json"])
    assert parsed.command == command and parsed.json is True


def test_a_full_disk_is_one_line_and_no_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tempfile

    from lstm_sweep.models.data import spool
    from lstm_sweep.search.cli import main

    (tmp_path / "book.txt").write_text("one two three\n" * 50)
    gone = str(tmp_path / "gone")
    monkeypatch.setattr(spool, "KEPT_BYTES", 10)
    monkeypatch.setattr(tempfile, "tempdir", gone)
    assert main(["size", "--data", str(tmp_path / "book.txt")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"lstm-sweep: {gone}: No such file or directory, expected room")
