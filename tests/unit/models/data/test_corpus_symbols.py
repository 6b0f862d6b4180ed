"""Characters or ids, line ends, byte-order marks, large ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.data import reader
from tests.unit.models.data.corpus_files import TEXT, ids, load_file, symbols_of

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


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_line_ends_of_a_text_are_line_feeds_which_is_said(
    tmp_path: Path, end: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    unix, windows = (load_file(tmp_path, f"ab{one}{one}c{one}" * 25) for one in ("\n", end))
    assert windows.digest == unix.digest
    assert windows.decided == f"{unix.decided}; CR LF is read as LF"


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
