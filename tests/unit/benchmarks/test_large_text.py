"""A text of any size is made of the lines of another, and what was seen is told in a table."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from benchmarks.large_text import Memory, Seen, table, write
from lstm_sweep.models.errors import InputError


def test_a_text_is_made_of_the_lines_of_another(tmp_path: Path) -> None:
    source, text = tmp_path / "source.txt", tmp_path / "text.txt"
    source.write_text("one\ntwo é\nthree\n", encoding="utf-8")
    size = write(source, text, 100)
    assert size == text.stat().st_size
    lines = text.read_text(encoding="utf-8").splitlines()
    assert 100 <= size < 100 + source.stat().st_size
    assert len(lines) % 3 == 0 and {*lines} == {"one", "two é", "three"}
    assert lines != lines[:3] * (len(lines) // 3)


def test_an_empty_text_is_refused(tmp_path: Path) -> None:
    (source := tmp_path / "source.txt").touch()
    with pytest.raises(InputError, match=r"--data .*source\.txt: is empty, expected lines of text"):
        write(source, tmp_path / "text.txt", 10)


def test_of_a_single_process_the_highest_memory_counts_and_of_several_that_of_one_time() -> None:
    alone, together = Memory(single=True), Memory()
    alone.see([os.getpid()])
    together.see([os.getpid(), os.getpid()])
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert alone.whole == pytest.approx(highest, rel=0.1)
    assert 0 < together.own <= together.whole <= 2.1 * alone.whole
    alone.see([])
    assert alone.whole == pytest.approx(highest, rel=0.1), "it has ended"


def test_losses_count_from_when_the_corpus_is_read() -> None:
    seen = Seen(20.0, [50.0, 61.0], Memory(400.0, 120.0), Memory(1500.0, 900.0))
    rows = {line[:46].rstrip(): line[46:].strip() for line in table(seen).splitlines()}
    assert rows["seconds until the corpus is read"] == "20"
    assert rows["seconds from there to the trials' first losses"] == "30, 41"
    assert rows["memory of the driver"] == "400 MB, 120 without files"
    assert table(Seen()).splitlines()[1].endswith("none")
