"""Texts with control characters, printed to a file and to a real terminal."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys

from lstm_sweep.search.cli.terminal import csv_text

PROGRAM = r"""
from lstm_sweep.search.cli.terminal import printable
print(printable("a\x1b[2Jb\n\tc"), end="")
"""


def test_to_a_file_a_text_is_printed_as_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert done.stdout == b"a\x1b[2Jb\n\tc"


def test_on_a_terminal_what_could_control_it_is_escaped() -> None:
    ours, theirs = os.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, check=True)
    os.close(theirs)
    printed = os.read(ours, 1000)
    os.close(ours)
    assert printed.replace(b"\r\n", b"\n") == b"a\\x1b[2Jb\n\tc"


def test_rows_of_different_columns_are_one_table_of_comma_separated_values() -> None:
    text = csv_text(
        [
            {"trial": "a/0", "val_loss": 1.5, "config": {"layers": 2, "optimizer": 'rms,"prop"'}},
            {"trial": "a/1", "val_loss": None, "config": {"layers": 3, "units": 7}},
        ]
    )
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["trial", "val_loss", "config.layers", "config.optimizer", "config.units"]
    assert rows == [["a/0", "1.5", "2", 'rms,"prop"', ""], ["a/1", "", "3", "", "7"]]
