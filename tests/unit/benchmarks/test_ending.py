"""Unit tests of `benchmarks/ending.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.ending import one_line
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


@pytest.mark.parametrize("lines", [1, 100_000], ids=["buffered", "long"])
def test_it_ends_without_a_word_if_nobody_reads_on(lines: int) -> None:
    code = f"""
from benchmarks.ending import one_line
input()
with one_line("oracle"):
    for _ in range({lines}):
        print("a row of the table")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as benchmark:
        assert benchmark.stdin and benchmark.stdout and benchmark.stderr
        benchmark.stdout.close()
        benchmark.stdin.write("\n")
        benchmark.stdin.close()
        assert benchmark.stderr.read() == ""
        assert benchmark.wait(timeout=60) == 0
