from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.data import reader, spool
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import SAMPLES, Source
from tests.unit.models.data.corpus_files import (
    FOLDERS,
    MULTIBYTE,
    TEXT,
    ids,
    load_file,
    load_files,
    sessions_of,
    sizes_of,
    symbols_of,
    write,
)

# What a session is


def test_the_characters_of_a_file_are_its_symbols(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, TEXT)
    assert symbols_of(corpus) == list(TEXT)
    assert corpus.alphabet.symbols == ("a", "b", "c", "d")


def test_a_file_of_characters_is_one_session(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, "ab\ncd\n" * 20)
    assert corpus.train.starts.tolist() == [0]


def test_each_file_of_a_folder_is_a_session_in_order_of_name(tmp_path: Path) -> None:
    files = {"b.txt": "cd" * 20, "a.txt": "ab" * 10, "sub/c.txt": "bd" * 40}
    corpus = load_files(tmp_path, files, "chars")
    assert sessions_of(corpus, corpus.train) == [
        list("ab" * 10),
        list("cd" * 20),
        list("bd" * 40)[: len(corpus.train) - 60],
    ]
    assert symbols_of(corpus) == list("ab" * 10 + "cd" * 20 + "bd" * 40)


def test_each_file_with_one_id_on_a_line_is_a_session(tmp_path: Path) -> None:
    files = {"a": ids([1, 2, 3] * 10), "b": ids([2, 3] * 10), "c": ids([1] * 50)}
    corpus = load_files(tmp_path, files, "ids")
    assert sessions_of(corpus, corpus.train)[:2] == [[1, 2, 3] * 10, [2, 3] * 10]
    assert corpus.decided.endswith("a symbol is an event id, a file is a session")


def test_each_line_with_several_ids_is_a_session(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, "1 2 3\n2 3\n\n3\n1\t1 2\n" * 10)
    assert sessions_of(corpus, corpus.train)[:5] == [[1, 2, 3], [2, 3], [3], [1, 1, 2], [1, 2, 3]]
    assert corpus.decided.endswith("a symbol is an event id, a line is a session")


def test_one_line_with_several_ids_makes_each_line_of_every_file_a_session(tmp_path: Path) -> None:
    files = {"a": ids([1, 2, 3]), "b": "1 2\n3\n" * 30}
    corpus = load_files(tmp_path, files, "ids")
    assert sessions_of(corpus, corpus.train)[:5] == [[1], [2], [3], [1, 2], [3]]


def test_lines_without_an_end_still_count(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, ids([1, 2] * 20) + "7")
    assert sum(sizes_of(corpus)) == 41


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    shown = {"a.txt": TEXT, "sub/b.txt": TEXT}
    hidden = {".hidden": "xyz", ".git/config": "xyz", "sub/.DS_Store": "xyz"}
    without = load_files(tmp_path / "corpus", shown, "chars").digest
    assert load_files(tmp_path / "corpus", hidden, "chars").digest == without


def test_a_folder_inside_a_hidden_one_is_not_hidden(tmp_path: Path) -> None:
    assert sum(sizes_of(load_files(tmp_path / ".cache/data", {"a.txt": TEXT}, "chars"))) == 100


def test_empty_files_are_passed_over(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, {"a": "", "b": "ab" * 50, "c": ""}, "chars")
    assert corpus.train.starts.tolist() == [0]


# Files of several blocks


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize(
    ("files", "symbols"),
    [
        ({"a": MULTIBYTE, "b": "ß" * 9, "c": MULTIBYTE}, "chars"),
        ({"a": ids([1, 22, 333] * 20), "b": ids([4, 1] * 10)}, "ids"),
        ({"a": "1 22 333\n\n4\n22 1\n" * 10, "b": "1 1\n4 4\n" * 10}, "ids"),
    ],
)
def test_a_file_of_many_blocks_is_read_as_one(
    tmp_path: Path,
    files: dict[str, str],
    symbols: str,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = load_files(tmp_path, files, symbols)
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    parts = load_files(tmp_path, files, symbols)
    assert parts.digest == whole.digest
    assert symbols_of(parts) == symbols_of(whole)
    assert parts.train.starts.tolist() == whole.train.starts.tolist()


# The digest


def test_the_same_data_have_the_same_digest(tmp_path: Path) -> None:
    first = load_files(tmp_path / "one", {"a": TEXT, "b": TEXT}, "chars")
    second = load_files(tmp_path / "two", {"x": TEXT, "y": TEXT}, "chars")
    assert first.digest == second.digest
    assert len(first.digest) == 32


@pytest.mark.parametrize(
    ("files", "changed"),
    [
        # the last symbol alone, of a text and of ids
        ({"a": TEXT}, {"a": TEXT[:-1] + "a"}),
        ({"a": ids([1, 2] * 50)}, {"a": ids([*[1, 2] * 49, 1, 1])}),
        # the last symbol is gone, or there is one more
        ({"a": TEXT}, {"a": TEXT[:-1]}),
        ({"a": TEXT}, {"a": TEXT + "a"}),
        # the names of the symbols, not their pattern
        ({"a": "ab" * 50}, {"a": "ac" * 50}),
        # the sessions alone
        ({"a": TEXT[:40], "b": TEXT[40:]}, {"a": TEXT[:41], "b": TEXT[41:]}),
        ({"a": "1 2 3 4\n" * 20}, {"a": "1 2\n3 4\n" * 20}),
        # an unknown symbol of the validation or test data becomes another unknown one
        (FOLDERS, FOLDERS | {"validation/a": "abxab"}),
        (FOLDERS, FOLDERS | {"test/a": "eabea"}),
        # a symbol goes from the end of the training data to the head of the next split
        (FOLDERS, FOLDERS | {"train/a": "abcabcab", "validation/a": "cabdab"}),
    ],
)
def test_any_change_of_the_data_changes_the_digest(
    tmp_path: Path, files: dict[str, str], changed: dict[str, str]
) -> None:
    before = load_files(tmp_path / "before", files, "auto").digest
    assert load_files(tmp_path / "after", changed, "auto").digest != before


def test_another_split_alone_changes_the_digest(tmp_path: Path) -> None:
    write(tmp_path, {"data": TEXT})
    shares = [(0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.8, 0.15, 0.05)]
    digests = {load(Source(data=str(tmp_path / "data"), split=split)).digest for split in shares}
    assert len(digests) == 3


# Saved corpora


@pytest.mark.parametrize("content", [MULTIBYTE * 3, "1 2 3\n5 1\n" * 30])
def test_a_saved_corpus_opens_as_it_was(tmp_path: Path, content: str) -> None:
    corpus = load_file(tmp_path, content)
    corpus.save(tmp_path / "saved")
    opened = Corpus.open(tmp_path / "saved")
    assert opened.alphabet == corpus.alphabet
    assert (opened.name, opened.digest, opened.decided) == (
        corpus.name,
        corpus.digest,
        corpus.decided,
    )
    for name, split in corpus.splits().items():
        np.testing.assert_array_equal(opened.splits()[name].codes, split.codes)
        np.testing.assert_array_equal(opened.splits()[name].starts, split.starts)


def test_an_opened_corpus_is_mapped_not_copied(tmp_path: Path) -> None:
    load_file(tmp_path, TEXT).save(tmp_path / "saved")
    assert isinstance(Corpus.open(tmp_path / "saved").train.codes, np.memmap)


@pytest.mark.parametrize("content", [MULTIBYTE * 9, "1 2 3\n5 1\n" * 30])
@pytest.mark.parametrize("ends", [False, True])
def test_a_corpus_that_waits_in_files_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, *, ends: bool
) -> None:
    corpus = load_file(tmp_path, content, ends=ends)
    monkeypatch.setattr(spool, "KEPT_BYTES", 10)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 16)
    mapped = load_file(tmp_path, content, ends=ends)
    assert isinstance(mapped.train.codes, np.memmap)
    assert (mapped.digest, mapped.alphabet) == (corpus.digest, corpus.alphabet)
    assert mapped.unknown_share(mapped.test) == corpus.unknown_share(corpus.test)
    mapped.save(tmp_path / "saved")
    opened = Corpus.open(tmp_path / "saved")
    for name, split in corpus.splits().items():
        np.testing.assert_array_equal(opened.splits()[name].codes, split.codes)
        np.testing.assert_array_equal(mapped.splits()[name].starts, split.starts)


# Samples


def test_the_sample_text_has_a_session_for_each_help_topic() -> None:
    corpus = load(Source(data="python-docs"))
    topics = list(SAMPLES["python-docs"].sessions())
    assert "".join(map(str, sessions_of(corpus, corpus.train)[3])) == topics[3]
    assert sum(sizes_of(corpus)) == sum(len(topic) for topic in topics)


def test_the_sample_log_has_the_sessions_of_its_process() -> None:
    corpus = load(Source(data="workflow-log"))
    first = next(iter(SAMPLES["workflow-log"].sessions()))
    assert isinstance(first, np.ndarray)
    assert sessions_of(corpus, corpus.train)[0] == [*first.tolist(), "<end>"]
    assert corpus.train.starts[1] == len(first) + 1


# Memory


#: prints the bytes by which loading a file raises the process's peak, by Linux or by Python
MEASURE = """
import re, sys, tracemalloc
from pathlib import Path
from lstm_sweep.models.data import corpus, source, spool

STATUS = Path("/proc/self/status")
if not STATUS.exists():
    tracemalloc.start()

def peak():
    # not ru_maxrss, which a child process takes over from its parent
    if STATUS.exists():
        return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", STATUS.read_text())[1])
    return tracemalloc.get_traced_memory()[1]

before, spool.KEPT_BYTES = peak(), 1 << 20
loaded = corpus.load(source.Source(data=sys.argv[1]))
loaded.unknown_share(loaded.train)
loaded.save(Path(sys.argv[2]))
print(peak() - before)
"""


def memory_of(tmp_path: Path, content: str) -> int:
    """Bytes by which the peak of a process rises that loads such a file."""
    file = tmp_path / "long.txt"
    file.write_text(content)
    command = [sys.executable, "-c", MEASURE, str(file), str(tmp_path / "saved")]
    root = Path(reader.__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    return int(done.stdout)


def test_a_text_takes_little_memory(tmp_path: Path) -> None:
    line = "the quick brown fox jumps over the lazy dog\n"
    # a block takes at least its bytes, or nothing was measured; 40.6 MB with Python 3.13
    assert reader.BLOCK_BYTES < memory_of(tmp_path, line * (60_000_000 // len(line))) < 42_000_000
    assert Corpus.open(tmp_path / "saved").alphabet.symbols[0] == "\n"


@pytest.mark.parametrize("blank", [" ", "\n"])
def test_ids_take_little_memory_in_one_line_and_in_lines_of_one(tmp_path: Path, blank: str) -> None:
    # what one block of them takes is most of it
    assert reader.BLOCK_BYTES < memory_of(tmp_path, f"7{blank}8{blank}" * 5_000_000) < 90_000_000
    assert Corpus.open(tmp_path / "saved").alphabet.symbols == (7, 8)
