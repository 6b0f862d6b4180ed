"""What benchmarks share: how one ends, and the program that it runs alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.alone import check_same, laid_out, one_line, read_lines, run_alone
from lstm_sweep.models.errors import InputError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("no data"), 2, "oracle: no data\n"),
        (KeyboardInterrupt(), 130, "oracle: interrupted; the same command goes on from here\n"),
    ],
)
def test_an_end_is_one_line_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line("oracle"):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_other_errors_are_faults_of_the_benchmark() -> None:
    with pytest.raises(RuntimeError), one_line("oracle"):
        raise RuntimeError


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_that_ends_by_itself_has_its_own_code(tmp_path: Path, code: int) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + 3600) == code


def test_a_program_whose_time_is_over_is_ended_with_its_children(tmp_path: Path) -> None:
    waits = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {!r}]); {}"
    child = "import os, time; os.symlink(str(os.getpid()), 'child'); time.sleep(3600)"
    command = [sys.executable, "-c", waits.format(child, "time.sleep(3600)")]
    assert run_alone(command, tmp_path, tmp_path / "log", time.time() + 3.0) == 0
    command_line = Path("/proc") / (tmp_path / "child").readlink() / "cmdline"
    # one that nobody has waited for yet has none
    assert not command_line.exists() or not command_line.read_bytes()


def test_a_line_that_is_no_run_is_named(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert read_lines(file, dict) == []
    file.write_text('{"a": 1}\n{\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"runs.jsonl:2: JSONDecodeError: .*expected a run"):
        read_lines(file, dict)


def test_columns_of_a_table_stand_below_each_other() -> None:
    assert laid_out([["a", "loss"], ["longer", "2"]]) == "a       loss\nlonger     2"


def test_runs_of_another_setting_are_refused() -> None:
    runs = [SimpleNamespace(minutes=10.0, workers=2)]
    check_same(Path("runs.jsonl"), runs, minutes=10.0)
    with pytest.raises(InputError, match=r"runs.jsonl: has runs with minutes 10\.0, expected 5\.0"):
        check_same(Path("runs.jsonl"), runs, workers=2, minutes=5.0)
