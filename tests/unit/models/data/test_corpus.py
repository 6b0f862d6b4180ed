from __future__ import annotations

import itertools
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import reader, spool
from lstm_sweep.models.data.alphabet import END, START, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import scoring_windows
from lstm_sweep.models.errors import InputError
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


@pytest.mark.parametrize(
    ("files", "symbols", "sessions"),
    [
        # each file of a folder, in order of name
        ({"b.txt": "cd" * 20, "a.txt": "ab" * 10, "sub/c.txt": "bd" * 40}, "chars",
         [list("ab" * 10), list("cd" * 20), list("bd" * 26)]),
        # each file with one id on a line, unless one line of them has several
        ({"a": ids([1, 2, 3] * 10), "b": ids([2, 3] * 10), "c": ids([1] * 50)}, "ids",
         [[1, 2, 3] * 10, [2, 3] * 10, [1] * 30]),
        ({"a": ids([1, 2, 3]), "b": "1 2\n3\n" * 9}, "ids",
         [[1], [2], [3], *[[1, 2], [3]] * 7]),
        # an empty file has none
        ({"a": "", "b": "ab" * 50, "c": ""}, "chars", [list("ab" * 40)]),
    ],
)  # fmt: skip
def test_files_or_lines_are_sessions_which_a_cut_divides(
    tmp_path: Path, files: dict[str, str], symbols: str, sessions: list[list[str | int]]
) -> None:
    corpus = load_files(tmp_path, files, symbols)
    assert sessions_of(corpus, corpus.train) == sessions
    whole = "".join(files[name] for name in sorted(files))
    assert symbols_of(corpus) == (list(whole) if symbols == "chars" else [*map(int, whole.split())])
    assert [split.starts[0] for split in corpus.splits().values()] == [0, 0, 0]
    a_line = len(sessions) > 3
    assert symbols == "chars" or f"a {'line' if a_line else 'file'} is a session" in corpus.decided


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    shown = {"a.txt": TEXT, "sub/b.txt": TEXT}
    hidden = {".hidden": "xyz", ".git/config": "xyz", "sub/.DS_Store": "xyz"}
    without = load_files(tmp_path / "corpus", shown, "chars").digest
    assert load_files(tmp_path / "corpus", hidden, "chars").digest == without


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


@pytest.mark.parametrize("content", [MULTIBYTE * 9, "1 2 3\n5 1\n" * 30])
@pytest.mark.parametrize("ends", [False, True])
def test_a_corpus_that_waits_in_files_or_is_saved_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, *, ends: bool
) -> None:
    files = {"a": content, "b": content}
    corpus = load_files(tmp_path / "data", files, "auto", ends=ends)
    monkeypatch.setattr(spool, "KEPT_BYTES", 10)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 16)
    mapped = load_files(tmp_path / "data", files, "auto", ends=ends)
    assert isinstance(mapped.train.codes, np.memmap)
    assert (mapped.digest, mapped.alphabet) == (corpus.digest, corpus.alphabet)
    assert mapped.unknown_share(mapped.test) == corpus.unknown_share(corpus.test)
    mapped.save(tmp_path / "saved")
    opened = Corpus.open(tmp_path / "saved")
    assert isinstance(opened.train.codes, np.memmap)
    assert (opened.name, opened.decided) == (corpus.name, corpus.decided)
    assert (opened.digest, opened.alphabet) == (corpus.digest, corpus.alphabet)
    for name, split in corpus.splits().items():
        np.testing.assert_array_equal(opened.splits()[name].codes, split.codes)
        np.testing.assert_array_equal(opened.splits()[name].starts, split.starts)
        np.testing.assert_array_equal(mapped.splits()[name].starts, split.starts)


@pytest.mark.parametrize(
    ("part", "times", "most"),
    [
        ("the quick brown fox jumps over the lazy dog\n", 1_400_000, 42_000_000),
        # what one block of ids takes is most of it
        ("7 8 ", 5_000_000, 90_000_000),
        ("7\n8\n", 5_000_000, 90_000_000),
    ],
)
def test_texts_and_ids_take_little_memory(
    tmp_path: Path, part: str, times: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "KEPT_BYTES", 1 << 20)
    (tmp_path / "long.txt").write_text(part * times)
    tracemalloc.start()
    try:
        loaded = load(Source(data=str(tmp_path / "long.txt")))
        loaded.unknown_share(loaded.train)
        loaded.save(tmp_path / "saved")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a block takes at least its bytes, or nothing was measured
    assert reader.BLOCK_BYTES < peak < most


# Folders of three splits


def test_the_alphabet_comes_from_training_data_alone(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS, "chars")
    assert corpus.alphabet.symbols == ("a", "b", "c")
    a, b = 2, 3
    assert corpus.validation.codes.tolist() == [a, b, UNKNOWN, a, b]
    assert corpus.test.codes.tolist() == [UNKNOWN, a, b, UNKNOWN, a]


# One split in time


def test_the_shares_of_the_splits_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, {"data": TEXT})
    corpus = load(Source(data=str(tmp_path / "data"), split=(0.5, 0.2, 0.3)))
    assert sizes_of(corpus) == [50, 20, 30]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        # 80 of 100 symbols; a session that ends at most 2 off moves the cut
        (77, 80),
        (78, 78),
        (82, 82),
        (83, 80),
    ],
)
def test_a_cut_snaps_to_a_session_end_nearby(tmp_path: Path, first: int, expected: int) -> None:
    whole = "ab" * 50
    files = {"a": whole[:first], "b": whole[first:]}
    corpus = load_files(tmp_path, files, "chars")
    assert sizes_of(corpus)[0] == expected
    assert symbols_of(corpus) == list(whole)


@pytest.mark.parametrize(
    "shares",
    [
        (0.8, 0.2, 0.0),
        (0.5, 0.1, 0.1),
    ],
)
def test_shares_that_are_no_split_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError) as refusal:
        Source(data="x", split=shares)
    assert str(refusal.value) == (
        f"split is {list(shares)}: expected three shares above 0, 1 in all"
    )


# Characters or ids


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (ids([1, 2] * 20), int, "since 100% of the words at the head of data are numbers"),
        ("1 2 3\n" * 20, int, "since 100% of the words at the head of data are numbers"),
        # prose, with or without a number in it
        ("so it goes\n" * 20, str, "since data has words that are no numbers, such as 'so'"),
        ("7 of them\n" * 20, str, "since data has words that are no numbers, such as 'of'"),
        # no words at all
        (" \n" * 20, str, "since the head of data is white space"),
        # a BOM before the first id
        (b"\xef\xbb\xbf" + b"1\n2\n" * 20, int, "since 100% of the words"),
        # beyond the first 64 KiB nothing is looked at
        ("ab " * 30_000 + "1 " * 200_000, str, "such as 'ab'"),
    ],
)
def test_auto_decides_by_the_words_at_the_head(
    tmp_path: Path, content: str | bytes, kind: type, reason: str
) -> None:
    corpus = load_file(tmp_path, content)
    assert corpus.decided.startswith("--symbols auto, ")
    assert reason in corpus.decided
    assert {type(symbol) for symbol in corpus.alphabet.symbols} == {kind}


# Line ends, byte-order marks, large ids


@pytest.mark.parametrize(
    ("content", "written", "said"),
    [
        ("ab\n\nc\n" * 25, b"ab\r\n\r\nc\r\n" * 25, "; CR LF is read as LF"),
        ("ab\n\nc\n" * 25, b"ab\r\rc\r" * 25, "; CR LF is read as LF"),
        (TEXT, b"\xef\xbb\xbf" + TEXT.encode(), ""),
        (ids([1, 2, 3] * 20), b"\xef\xbb\xbf" + ids([1, 2, 3] * 20).encode(), ""),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_other_line_ends_and_a_byte_order_mark_are_no_symbols(
    tmp_path: Path,
    content: str,
    written: bytes,
    said: str,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = load_file(tmp_path, content)
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    found = load_file(tmp_path, written)
    assert (found.digest, found.decided) == (plain.digest, plain.decided + said)


def test_other_ids_of_the_same_rank_have_the_same_codes(tmp_path: Path) -> None:
    """So renamed ids change no bit of what is trained."""
    numbers = [5, 1, 3, 2] * 20
    same, other = (load_file(tmp_path, ids(given)) for given in (numbers, [n * n for n in numbers]))
    for name, split in same.splits().items():
        np.testing.assert_array_equal(other.splits()[name].codes, split.codes)


def test_leading_zeros_do_not_make_another_id(tmp_path: Path) -> None:
    assert load_file(tmp_path, "1\n02\n003\n000000000000000004\n" * 20).alphabet.symbols == (
        *range(1, 5),
    )


@pytest.mark.parametrize(
    ("distinct", "dtype"), [(254, np.uint8), (255, np.uint16), (65_534, np.uint16)]
)
def test_codes_are_as_small_as_the_alphabet_allows(
    tmp_path: Path, distinct: int, dtype: type
) -> None:
    numbers = list(range(distinct)) * 2
    corpus = load_file(tmp_path, ids(numbers))
    assert corpus.train.codes.dtype == dtype
    assert symbols_of(corpus) == numbers


def test_the_end_of_a_session_has_the_code_after_those_that_never_come_next() -> None:
    alphabet = Alphabet((5, 70), ends=True)
    assert len(alphabet) == 5
    assert alphabet.encode([70, 5, 6]).tolist() == [4, 3, UNKNOWN]
    assert alphabet.decode([END, 3, 4]) == ["<end>", 5, 70]
    written = alphabet.to_dict()
    assert written["reserved"] == ["<start>", "<unk>", "<end>"]
    assert Alphabet.from_dict(written) == alphabet


@pytest.mark.parametrize(
    ("kind", "reserved", "expected"),
    [
        ("chars", ["<start>", "<unk>", "<end>"], "expected ['<start>', '<unk>']"),
        ("ids", ["<start>"], "expected ['<start>', '<unk>'] or ['<start>', '<unk>', '<end>']"),
        ("ids", None, "expected ['<start>', '<unk>'] or ['<start>', '<unk>', '<end>']"),
    ],
)
def test_other_reserved_codes_are_refused(kind: str, reserved: object, expected: str) -> None:
    symbols = ["a"] if kind == "chars" else [1]
    with pytest.raises(InputError, match=f"{re.escape(expected)}$"):
        Alphabet.from_dict({"kind": kind, "reserved": reserved, "symbols": symbols})


@given(st.sets(st.characters(codec="utf-8"), min_size=1) | st.sets(st.integers(0), min_size=1))
def test_an_alphabet_decodes_what_it_encodes(symbols: set[str] | set[int]) -> None:
    alphabet = Alphabet(tuple(sorted(symbols)))  # type: ignore[arg-type]
    codes = alphabet.encode(alphabet.symbols)
    assert codes.tolist() == list(range(2, 2 + len(symbols)))
    assert alphabet.decode(codes) == list(alphabet.symbols)
    assert Alphabet.from_dict(alphabet.to_dict()) == alphabet


# The end of a session as a symbol, where sessions of event ids are units of their own


LINES = "1 2 3\n2 3\n\n3\n1\t1 2\n" * 10


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_file(tmp_path_factory.mktemp("lines"), LINES, ends=True)


def test_each_line_ends_with_its_end(lines: Corpus) -> None:
    assert lines.alphabet == Alphabet((1, 2, 3), ends=True)
    own = [[1, 2, 3], [2, 3], [3], [1, 1, 2]] * 10
    splits = lines.splits().values()
    found = list(itertools.chain(*(sessions_of(lines, split) for split in splits)))
    assert found == [[*session, "<end>"] for session in own]
    assert lines.decided.endswith("a line is a session; its end is a symbol, <end>")


def test_a_session_that_a_split_divides_has_one_end(tmp_path: Path) -> None:
    files = {"a": "1 2\n" * 9, "b": " ".join("12" * 200)}
    corpus = load_files(tmp_path, files, "ids", ends=True)
    ends = [np.flatnonzero(split.codes == END) for split in corpus.splits().values()]
    assert [len(found) for found in ends] == [9, 0, 1]
    assert ends[2].tolist() == [len(corpus.test) - 1]
    whole = load_files(tmp_path, files, "ids", ends=False)
    sizes = [len(split) for split in corpus.splits().values()]
    expected = [len(split) for split in whole.splits().values()]
    assert sizes == [expected[0] + 9, expected[1], expected[2] + 1]


def test_splits_that_are_given_keep_their_sessions(tmp_path: Path) -> None:
    files = {"train/a": "1 2\n3\n", "validation/a": "1 4\n", "test/a": "5\n2 1\n"}
    corpus = load_files(tmp_path, files, "ids", ends=True)
    assert sessions_of(corpus, corpus.train) == [[1, 2, "<end>"], [3, "<end>"]]
    assert sessions_of(corpus, corpus.validation) == [[1, "<unk>", "<end>"]]
    assert sessions_of(corpus, corpus.test) == [["<unk>", "<end>"], [2, 1, "<end>"]]
    assert corpus.validation.codes.tolist() == [3, UNKNOWN, END]


@pytest.mark.parametrize(
    ("files", "symbols"),
    [
        ({"a": "ab" * 50, "b": "ba" * 50, "c": "ab" * 50}, "chars"),
        (FOLDERS, "chars"),
        # one log in a file, or in one that goes on in the next
        ({"a": ids([1, 2, 3] * 40)}, "ids"),
        ({"a": ids([1, 2, 3] * 20), "b": ids([1, 2, 3] * 20)}, "ids"),
        ({f"{name}/a": ids([1, 2] * 9) for name in ("train", "validation", "test")}, "ids"),
    ],
)
def test_texts_and_logs_that_go_on_have_no_ends(
    tmp_path: Path, files: dict[str, str], symbols: str
) -> None:
    with_ends, without = (load_files(tmp_path, files, symbols, ends=on) for on in (True, False))
    assert with_ends.digest == without.digest
    assert not with_ends.alphabet.ends and with_ends.decided == without.decided


@pytest.mark.parametrize("state", ["reset", "carried"])
def test_ends_are_targets_once_an_epoch_and_never_what_a_network_reads(
    lines: Corpus, state: str
) -> None:
    config = TrialConfig(sequence_length=2, batch_size=4, state=state)
    for epoch in (1, 2):
        targets = []
        for batch in training_epoch(lines.train, config, 3, epoch).batches():
            targets += batch.targets[batch.weights > 0].tolist()
            read = batch.inputs[0] if config.carried else batch.inputs
            assert END not in read[batch.weights > 0]
        assert targets.count(END) == (lines.train.codes == END).sum()
        assert sorted(targets) == sorted(lines.train.codes.tolist())


def test_an_end_is_scored_after_all_symbols_of_its_session(lines: Corpus) -> None:
    places = np.flatnonzero(lines.train.codes == END)[:4]
    [(windows, true)] = scoring_windows(lines.train, places, 3, 9)
    assert true.tolist() == [END] * 4
    one, two, three = lines.alphabet.encode([1, 2, 3])
    assert windows.tolist() == [
        [one, two, three],
        [START, two, three],
        [START, START, three],
        [one, one, two],
    ]


def test_new_sessions_have_ends_if_they_are_wanted(tmp_path: Path, lines: Corpus) -> None:
    (tmp_path / "a").write_text("1 2\n\n9 3 3\n", encoding="utf-8")
    (tmp_path / "b").write_text("3\n", encoding="utf-8")
    with_ends = read_sessions(str(tmp_path), lines.alphabet, ends=True)
    assert with_ends.split.codes.tolist() == [3, 4, END, UNKNOWN, 5, 5, END, 5, END]
    assert with_ends.split.starts.tolist() == [0, 3, 7]
    assert with_ends.read(0, 9) == [1, 2, "<end>", 9, 3, 3, "<end>", 3, "<end>"]
    names = [with_ends.name(session) for session in range(3)]
    without = read_sessions(str(tmp_path), lines.alphabet)
    assert without.split.codes.tolist() == [3, 4, UNKNOWN, 5, 5, 5]
    assert names == [without.name(session) for session in range(3)]


def test_new_sessions_are_those_of_all_files_also_beside_folders_called_as_splits(
    tmp_path: Path, lines: Corpus
) -> None:
    for name in ("new", "test/b", "train/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1 2\n", encoding="utf-8")
    found = read_sessions(str(tmp_path), lines.alphabet)
    assert (found.files, len(found)) == (("new", "test/b", "train/a"), 3)


def test_two_cuts_never_snap_to_the_same_session_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ab" * 4925)
    (tmp_path / "b").write_text("ab" * 75)
    corpus = load(Source(data=str(tmp_path), split=(0.98, 0.01, 0.01)))
    assert [len(split) for split in corpus.splits().values()] == [9800, 100, 100]


def test_the_same_numbers_as_text_and_as_ids_have_two_digests(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("abcab" * 20)
    (tmp_path / "ids").write_text("\n".join(str(ord(symbol)) for symbol in "abcab" * 20))
    digests = {load(Source(data=str(tmp_path / name))).digest for name in ("text", "ids")}
    assert len(digests) == 2
