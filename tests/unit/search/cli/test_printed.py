"""What commands print beside their golden records."""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.quality import VERDICT, Quality
from lstm_sweep.search.actions.detection import Finding, Verdicts
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.cli.launch import result_text
from lstm_sweep.search.cli.models import finding_line, quality_lines
from lstm_sweep.search.cli.parsers import age, size
from lstm_sweep.search.cli.terminal import ASCII, UNICODE, csv_text
from lstm_sweep.search.cli.trials import HEIGHT, WIDTH, drawn
from lstm_sweep.search.values.sweep import SweepStatus, TimeSpent

PROGRAM = r"""
from lstm_sweep.search.cli.terminal import printable
print(printable("a\x1b[2Jb\n\tc"), end="")
"""


def test_what_could_control_a_terminal_is_escaped_there_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert done.stdout == b"a\x1b[2Jb\n\tc"
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, check=True)
    os.close(theirs)
    printed = os.read(ours, 1000)
    os.close(ours)
    assert printed.replace(b"\r\n", b"\n") == b"a\\x1b[2Jb\n\tc"


def test_rows_of_different_columns_are_one_table_of_comma_separated_values() -> None:
    rows: list[dict[str, Any]] = [
        {"trial": "a/0", "val_loss": 1.5, "config": {"layers": 2, "optimizer": 'rms,"prop"'}},
        {"trial": "a/1", "val_loss": None, "config": {"layers": 3, "units": 7}},
    ]
    head, *body = csv.reader(io.StringIO(csv_text(rows)))
    assert head == ["trial", "val_loss", "config.layers", "config.optimizer", "config.units"]
    assert body == [["a/0", "1.5", "2", 'rms,"prop"', ""], ["a/1", "", "3", "", "7"]]


def result_lines(time: TimeSpent | None) -> list[str]:
    """The lines that conclude a sweep without a trial."""
    known: dict[str, Any] = {"state": SweepStatus.FINISHED, "why": "the budget is spent"}
    empty: dict[str, Any] = {"trials": {}, "best": None, "confirmed": (), "baselines": {}}
    result = SweepResult(sweep="s", run_id="r", seconds=42.0, time=time, **known, **empty)
    return [*result_text(result, [], Local())]


def test_the_result_says_what_slots_were_used_for_and_what_comes_next() -> None:
    spent = TimeSpent(slot_seconds=50.0, best=20.0, failures=10.0, idle=20.0, scoring=3.0)
    ended = "ended after 42 s: the budget is spent"
    line = "time on slots: 40 % the best trial, 20 % failures, 40 % idle (of all, 6 % scoring)"
    assert result_lines(spent)[:3] == [ended, line, "next:"]
    *begin, ui, trials = result_lines(None)
    assert begin == [ended, "next:"] == result_lines(TimeSpent())[:2]
    assert ui.endswith(" ui   # browse the runs in the MLflow UI")
    assert trials.endswith(" trials s   # list the trials")


def test_a_finding_is_a_line_of_quoted_characters_or_event_ids() -> None:
    finding = Finding(
        session="a.txt",
        place=1_234,
        symbol="x",
        known=True,
        probability=0.00123,
        likelier=7,
        expected=(("e", 0.5), (" ", 0.25)),
        before=("t", "h"),
    )
    line = finding_line(finding, is_text=True)
    assert line == "a.txt, symbol 1,234: 'x' (0.0012) after 'th'; expected 'e' (0.5), ' ' (0.25)"
    finding = replace(finding, symbol=9, known=False, expected=((5, 1.0),), before=(1, 22))
    assert finding_line(finding, is_text=False) == (
        "a.txt, symbol 1,234: 9 (not in the training data) after 1 22; expected 5 (1)"
    )


# --- curves ---------------------------------------------------------------------------------------


def marks_of(lines: list[str], mark: str) -> list[tuple[int, int]]:
    """Rows and columns of a mark in a picture, without its axes."""
    found = [(row, line[12:]) for row, line in enumerate(lines[:HEIGHT])]
    return [(row, column) for row, text in found for column, c in enumerate(text) if c == mark]


def test_a_curve_goes_from_corner_to_corner_with_its_ends_as_labels() -> None:
    lines = drawn([[(1, 3.5), (2, 2.5), (3, 1.5)]], UNICODE)
    middle = (round((HEIGHT - 1) / 2), round((WIDTH - 1) / 2))
    assert marks_of(lines, UNICODE[0]) == [(0, 0), middle, (HEIGHT - 1, WIDTH - 1)]
    assert lines[0].split()[0] == "3.5000" and lines[HEIGHT - 1].split()[0] == "1.5000"
    assert lines[-1].split() == ["1", "epoch", "3"]
    two = drawn([[(1, 2.0), (2, 1.0)], [(1, 2.0), (2, 1.5)]], ASCII)
    assert "".join(two).isascii() and len(marks_of(two, ASCII[2])) == 1
    for fewer in ([], [(1, 2.0)], [(1, 2.0), (2, None)]):
        assert drawn([fewer], ASCII) == []


def test_rules_that_are_as_good_as_the_verdict_are_named() -> None:
    p, abnormal = np.array([0.001, 0.002, 0.5, 0.9]), np.array([True, True, False, False])
    both, one = (Quality.of(p, p <= rate, abnormal) for rate in (0.01, 0.001))
    also = Quality.of(p, p <= 0.01, abnormal)
    rows = {VERDICT: both, "length": one, "counts": also}
    lines = [*quality_lines(Verdicts(quality=rows, quality_of_distinct={VERDICT: both}))]
    assert [line for line in lines if "as good" in line] == [
        "  as good as the verdict, by F1: counts"
    ]


# --- amounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (size, "0", 0), (size, "7", 7), (size, "1K", 1024), (size, "1.5G", 3 << 29),
        (size, "500M", 500 << 20), (size, "2T", 2 << 40), (age, "12h", 43_200),
        (age, "1.5d", 129_600), (age, "4w", 2_419_200),
    ],
)  # fmt: skip
def test_an_amount_is_a_number_with_a_unit(
    kind: Callable[[str], Any], text: str, value: float
) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    "text", ["", "G", "-1G", "1 G", "1g", "1GB", "inf", "1e9", "١", "1d", "5_"]
)
def test_what_is_no_amount_is_said(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number and K, M, G or T"):
        size(text)
    if text != "1d":
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number and h, d or w"):
            age(text)
