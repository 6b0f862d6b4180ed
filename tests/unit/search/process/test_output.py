"""What is silenced is heard again, whoever else is silenced meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lstm_sweep.search.process.scoped import silenced


def outputs() -> list[str]:
    """What standard output and error lead to."""
    return [str(Path(f"/proc/self/fd/{number}").readlink()) for number in (1, 2)]


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_that_overlap_leave_the_outputs_as_they_were(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before, descriptors = outputs(), open_files()
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> None:
        with silenced():
            first_is_in.set()
            second_is_in.wait(60)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(60)
        with silenced():
            second_is_in.set()
            first_is_out.wait(60)
            within.append(outputs())

    within: list[list[str]] = []
    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert within == [[os.devnull] * 2]
    assert outputs() == before
    assert open_files() == descriptors
    print("heard")
    assert capfd.readouterr().out == "heard\n"
