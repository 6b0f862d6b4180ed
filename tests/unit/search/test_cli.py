from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
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
    ["cli.build_parser()", 'cli.main(["--help"])', 'cli.main(["launch", "--help"])'],
)
def test_heavy_libraries_are_not_imported_for_help(statement: str) -> None:
    assert run(statement).splitlines()[-1] == "imported:"


@pytest.mark.parametrize(
    "command", ["launch", "sweeps", "trials", "show", "rerun", "export", "ui", "size"]
)
def test_help_lists_every_command(command: str) -> None:
    from lstm_sweep.search.cli import build_parser

    assert f"\n    {command} " in build_parser().format_help()


@pytest.mark.parametrize(
    "command", ["launch", "sweeps", "trials", "show", "rerun", "export", "ui", "size"]
)
def test_every_command_prints_json_if_asked(command: str) -> None:
    from lstm_sweep.search.cli import build_parser

    needed = {
        "trials": ["docs"],
        "show": ["docs/1"],
        "rerun": ["docs/1"],
        "export": ["docs", "--to", "model"],
    }
    parsed = build_parser().parse_args([command, *needed.get(command, []), "--json"])
    assert parsed.command == command and parsed.json is True
