"""Unit tests of `benchmarks/ending.py`."""

from __future__ import annotations

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
