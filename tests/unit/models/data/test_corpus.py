from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.data import reader
from lstm_sweep.models.data.alphabet import UNKNOWN
from lstm_sweep.models.data.corpus import Corpus, Split, load
from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError

#: long enough for every split, and begins with all its symbols
TEXT = "abcd" * 25
FOLDERS = {"train/a": "abcabcabc", "validation/a": "abdab", "test/a": "eabfa"}


def write(root: Path, files: dict[str, str] | dict[str, bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def load_files(root: Path, files: dict[str, str] | dict[str, bytes], symbols: str) -> Corpus:
    return load(Source(data=str(write(root, files)), symbols=symbols))


def load_file(root: Path, content: str | bytes, symbols: str = "auto") -> Corpus:
    raw = content.encode() if isinstance(content, str) else content
    write(root, {"data": raw})
    return load(Source(data=str(root / "data"), symbols=symbols))


def symbols_of(corpus: Corpus) -> list[str | int]:
    """All symbols of the three splits, in order."""
    splits = corpus.splits().values()
    return [symbol for split in splits for symbol in corpus.alphabet.decode(split.codes)]


def sessions_of(corpus: Corpus, split: Split) -> list[list[str | int]]:
    parts = np.split(split.codes, split.starts[1:])
    return [corpus.alphabet.decode(part) for part in parts]


def sizes_of(corpus: Corpus) -> list[int]:
    return [len(split) for split in corpus.splits().values()]


def refusal_of(root: Path, content: str | bytes, symbols: str = "auto") -> str:
    """Give the text of the refusal of one file, with its path as FILE."""
    with pytest.raises(InputError) as refusal:
        load_file(root, content, symbols)
    return str(refusal.value).replace(str(root / "data"), "FILE")


def ids(numbers: Sequence[int]) -> str:
    return "".join(f"{number}\n" for number in numbers)


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


# Folders of three splits


def test_the_alphabet_comes_from_training_data_alone(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS, "chars")
    assert corpus.alphabet.symbols == ("a", "b", "c")
    a, b = 2, 3
    assert corpus.validation.codes.tolist() == [a, b, UNKNOWN, a, b]
    assert corpus.test.codes.tolist() == [UNKNOWN, a, b, UNKNOWN, a]


def test_the_share_of_unknown_symbols_is_that_of_each_split(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS, "chars")
    shares = [corpus.unknown_share(split) for split in corpus.splits().values()]
    assert shares == [0, 1 / 5, 2 / 5]


def test_three_folders_are_the_splits_whatever_their_sizes(tmp_path: Path) -> None:
    assert sizes_of(load_files(tmp_path, FOLDERS, "chars")) == [9, 5, 5]


def test_each_file_of_a_split_is_a_session(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS | {"train/b": "cc", "test/b": "ab"}, "chars")
    assert sessions_of(corpus, corpus.train) == [list("abcabcabc"), list("cc")]
    assert corpus.test.starts.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (["train", "validation"], "found train/ but not test/"),
        (["train", "test"], "found train/ but not validation/"),
        (["validation", "test"], "found validation/ but not train/"),
        (["train"], "found train/ but not validation/, test/"),
    ],
)
def test_a_folder_with_some_of_the_three_splits_is_refused(
    tmp_path: Path, given: list[str], missing: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load_files(tmp_path, {f"{name}/a": TEXT for name in given}, "chars")
    assert str(refusal.value) == f"{tmp_path}: {missing}, expected all three or none"


# One split in time


def test_one_file_is_split_by_80_10_10(tmp_path: Path) -> None:
    assert sizes_of(load_file(tmp_path, TEXT)) == [80, 10, 10]


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
        (79, 79),
        (81, 81),
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


def test_a_cut_snaps_to_the_nearest_session_end(tmp_path: Path) -> None:
    files = {"a": "ab" * 39, "b": "b", "c": "ba" * 10 + "b"}
    assert sizes_of(load_files(tmp_path, files, "chars"))[0] == 79


def test_both_cuts_snap(tmp_path: Path) -> None:
    files = {"a": "ab" * 39, "b": "ab" * 7, "c": "ba" * 4}
    assert sizes_of(load_files(tmp_path, files, "chars")) == [78, 14, 8]


def test_a_session_that_is_cut_is_one_in_each_part(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, {"a": "ab" * 20, "b": "ab" * 30}, "chars")
    starts = [split.starts.tolist() for split in corpus.splits().values()]
    assert starts == [[0, 40], [0], [0]]


@pytest.mark.parametrize(
    "shares",
    [
        (0.8, 0.2, 0.0),
        (0.9, 0.2, -0.1),
        (0.8, 0.1, 0.2),
        (0.5, 0.1, 0.1),
    ],
)
def test_shares_that_are_no_split_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError) as refusal:
        Source(data="x", split=shares)
    assert str(refusal.value) == (
        f"split is {list(shares)}: expected three shares above 0, 1 in all"
    )


def test_an_unknown_kind_of_symbols_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="symbols is 'char': did you mean 'chars'"):
        Source(data="x", symbols="char")


def test_a_relative_path_is_resolved_to_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source(data="a.txt", symbols="ids", split=(0.6, 0.2, 0.2))
    expected = Source(data=str(tmp_path / "a.txt"), symbols="ids", split=(0.6, 0.2, 0.2))
    assert source.resolve() == expected


def test_the_name_of_a_sample_is_no_path() -> None:
    assert Source(data="python-docs").resolve().data == "python-docs"


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


def test_digits_are_characters_if_asked_for(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, ids([12, 3] * 20), "chars")
    assert corpus.alphabet.symbols == ("\n", "1", "2", "3")
    assert corpus.decided.startswith("--symbols chars: a symbol is a character")


# Line ends, byte-order marks, large ids


def test_windows_line_ends_do_not_change_ids(tmp_path: Path) -> None:
    unix = load_file(tmp_path, "1 2\n3 4\n5\n" * 20)
    windows = load_file(tmp_path, "1 2\r\n3 4\r\n5\r\n" * 20)
    assert windows.digest == unix.digest


def test_windows_line_ends_of_a_text_are_characters(tmp_path: Path) -> None:
    text = "ab\r\n" * 25
    assert symbols_of(load_file(tmp_path, text)) == list(text)


@pytest.mark.parametrize("content", [TEXT, ids([1, 2, 3] * 20)])
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_a_byte_order_mark_is_no_symbol(
    tmp_path: Path, content: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = load_file(tmp_path, content).digest
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    assert load_file(tmp_path, b"\xef\xbb\xbf" + content.encode()).digest == bare


@pytest.mark.parametrize(
    "numbers",
    [
        # around the size of the look-up table
        [(1 << 21) - 1, 1 << 21, (1 << 21) + 1, 0],
        # the longest ids, beside short ones
        [10**18 - 1, 7, 10**17, 10**18 - 2],
        [0, 1 << 32, 1 << 33, (1 << 32) + 1],
    ],
)
@pytest.mark.parametrize("block", [8, 1 << 20])
def test_large_ids_keep_their_values(
    tmp_path: Path, numbers: list[int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    corpus = load_file(tmp_path, ids(numbers * 20))
    assert symbols_of(corpus) == numbers * 20
    assert corpus.alphabet.symbols == tuple(sorted(numbers))


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


def test_more_than_65536_ids_keep_their_values(tmp_path: Path) -> None:
    numbers = list(range(70_000)) * 2
    assert symbols_of(load_file(tmp_path, ids(numbers))) == numbers


# Files of several blocks

MULTIBYTE = "aß漢🎵\n" * 20


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
    assert sessions_of(corpus, corpus.train)[0] == first.tolist()
    assert corpus.train.starts[1] == len(first)


# Refusals


def test_a_missing_path_is_refused_with_the_samples(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load(Source(data=str(tmp_path / "none")))
    assert str(refusal.value) == (
        f"data '{tmp_path / 'none'}': no such file or folder, and no sample "
        "(python-docs, workflow-log)"
    )


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "") == "FILE: found an empty file, expected symbols"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({".hidden": "abc"}, "no files"),
        ({"a": ""}, "an empty file"),
        ({"a": "", "b": ""}, "empty files"),
    ],
)
def test_a_folder_without_content_is_refused(
    tmp_path: Path, files: dict[str, str], found: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load_files(tmp_path, files, "auto")
    assert str(refusal.value) == f"{tmp_path}: found {found}, expected symbols"


def test_a_split_folder_without_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_files(tmp_path, FOLDERS | {"validation/a": ""}, "chars")
    assert str(refusal.value) == (
        f"{tmp_path / 'validation'}: found an empty file, expected symbols"
    )


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        # a byte that begins no character, in the first line and in the third
        (b"ab\xffcd\n", "FILE:1: found the byte 0xff"),
        (b"ab\ncd\nef\xfe\ngh\n", "FILE:3: found the byte 0xfe"),
        # Latin-1
        ("ab\ncafé\n".encode("latin-1"), "FILE:2: found the byte 0xe9"),
        # a character that is cut by a line's end, and by the file's
        (b"ab\n\xe6\xbc\ncd\n", "FILE:2: found the byte 0xe6"),
        (b"ab\ncd\n\xe6\xbc", "FILE:3: found the byte 0xe6"),
        # half a surrogate pair
        (b"ab\n\n\xed\xa0\x80\n", "FILE:3: found the byte 0xed"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_with_their_line(
    tmp_path: Path, content: bytes, place: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    assert refusal_of(tmp_path, content) == f"{place}, expected text in UTF-8"


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        # negative, a fraction, a power, one digit too many
        ("1\n2\n-3\n4\n", "FILE:3: found '-3'"),
        ("1\n2.5\n", "FILE:2: found '2.5'"),
        ("1 2\n1 1e5\n3 4\n", "FILE:2: found '1e5'"),
        (f"1\n{10**18}\n", f"FILE:2: found '{10**18}'"),
        # ids and words mixed, after blank lines too
        ("1 2 3\n\n\n4 login 5\n", "FILE:4: found 'login'"),
        ("1,2,3\n", "FILE:1: found '1,2,3'"),
        # Windows line ends
        ("1\r\n2\r\nx\r\n", "FILE:3: found 'x'"),
        # digits of another script, and bytes of none
        ("1\n٣\n", "FILE:2: found '٣'"),
        (b"1\n2\n\xff\n", "FILE:3: found the byte 0xff"),
        # a word too long to show
        ("1\n" + "9" * 41 + "\n", "FILE:2: found '" + "9" * 40 + "...'"),
    ],
)
def test_what_is_no_id_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, place: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    expected = f"{place}, expected an event id: an integer from 0 of at most 18 digits"
    assert refusal_of(tmp_path, content, "ids") == expected


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("1\n2\n-3\n" * 5, "FILE:3: found '-3'"),
        ("0.5\n1.5\n" * 5, "FILE:1: found '0.5'"),
        ("1 2 3 login\n" * 5, "FILE:1: found 'login'"),
    ],
)
def test_auto_takes_ids_with_mistakes_for_ids(tmp_path: Path, content: str, place: str) -> None:
    assert refusal_of(tmp_path, content).startswith(place)


def test_the_file_of_a_folder_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        load_files(tmp_path, {"a": ids([1, 2]), "b": ids([1, 2]) + "x\n"}, "auto")
    assert str(refusal.value).startswith(f"{tmp_path / 'b'}:3: found 'x', expected ")


@pytest.mark.parametrize("content", ["aaaaaaaaaaaaaaaaaaaa", ids([7] * 20)])
def test_an_alphabet_of_one_symbol_is_refused(tmp_path: Path, content: str) -> None:
    assert refusal_of(tmp_path, content) == (
        "data: its training data have 1 distinct symbol(s), expected at least 2"
    )


def test_data_too_short_for_three_splits_are_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path, "abc") == "data: the test split has no symbols; all have 3"


def test_a_split_of_one_window_has_no_room_for_its_target(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, TEXT)
    with pytest.raises(InputError) as refusal:
        corpus.check_windows(10)
    assert str(refusal.value) == (
        "data: the validation split has 10 symbols, expected more than "
        "the longest sequence_length of the space, 10"
    )


def test_a_split_of_one_window_and_its_target_is_long_enough(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, TEXT)
    corpus.check_windows(9)
    assert min(sizes_of(corpus)) == 10


# Whatever the file

near_ids = st.text("0123456789 \n\r\t-.", max_size=200).map(str.encode)


@given(st.binary(max_size=200) | near_ids, st.sampled_from(["auto", "chars", "ids"]))
@settings(max_examples=300)
def test_any_bytes_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, symbols: str
) -> None:
    try:
        corpus = load_file(tmp_path_factory.getbasetemp(), content, symbols)
    except InputError as refusal:
        assert "data" in str(refusal)
    else:
        assert len(corpus.alphabet.symbols) >= 2
        assert min(sizes_of(corpus)) >= 1


@given(st.text(min_size=10, max_size=60), st.integers(1, 9))
def test_any_text_is_kept_character_by_character(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int
) -> None:
    # twice, so that the training data have every symbol
    whole = ("ab" + text) * 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", block)
        corpus = load_file(tmp_path_factory.getbasetemp(), whole, "chars")
    assert symbols_of(corpus) == list(whole)


lines_of_ids = st.lists(
    st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=4), min_size=1, max_size=6
)


@given(lines_of_ids, st.integers(1, 30))
def test_any_lines_of_ids_are_kept_id_by_id(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[int]], block: int
) -> None:
    every = [[1, 2], *lines] * 10  # so that the training data have every id
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", block)
        text = "".join(" ".join(map(str, line)) + "\n" for line in every)
        corpus = load_file(tmp_path_factory.getbasetemp(), text, "ids")
    assert symbols_of(corpus) == [number for line in every for number in line]
    whole = sessions_of(corpus, corpus.train)[:-1]
    assert whole == every[: len(whole)]


# Memory

#: prints the bytes by which loading a file raises the process's peak
MEASURE = """
import re, sys
from pathlib import Path
from lstm_sweep.models.data import corpus, source

def peak():
    # not ru_maxrss, which a child process takes over from its parent
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1])

before = peak()
loaded = corpus.load(source.Source(data=sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_text_takes_at_most_five_bytes_a_character(tmp_path: Path) -> None:
    line = "the quick brown fox jumps over the lazy dog\n"
    size = 20_000_000
    file = tmp_path / "long.txt"
    file.write_text((line * math.ceil(size / len(line)))[:size])
    command = [sys.executable, "-c", MEASURE, str(file)]
    root = Path(reader.__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    # a code takes at least one byte, or nothing was measured
    assert size < int(done.stdout) < 5 * size + 30_000_000
