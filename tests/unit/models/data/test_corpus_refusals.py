"""Data that are refused, and any bytes that are loaded or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.data import reader
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from tests.unit.models.data.corpus_files import (
    FOLDERS,
    TEXT,
    ids,
    load_file,
    load_files,
    refusal_of,
    sessions_of,
    sizes_of,
    symbols_of,
)

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
    assert refusal_of(tmp_path, content, "ids").partition("; of a table")[0] == expected


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
    assert refusal_of(tmp_path, "abc") == (
        "data: the test split has no symbols; all have 3, expected more of them, or a larger share "
        "for this split"
    )


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
    whole = ("ab" + text.replace("\r", "\n")) * 2
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
