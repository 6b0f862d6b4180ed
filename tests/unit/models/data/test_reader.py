"""Data that are refused, and any bytes that are loaded or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.data import reader
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from tests.unit.models.data.corpus_files import (
    TEXT,
    load_file,
    load_files,
    refusal_of,
    sessions_of,
    sizes_of,
    symbols_of,
)

# Refusals


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"ab\ncd\nef\xfe\ngh\n", "FILE:3: found the byte 0xfe"),
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
        ("1\n2\n-3\n4\n", "FILE:3: found '-3'"),
        (f"1\n{10**18}\n", f"FILE:2: found '{10**18}'"),
        # ids and words mixed, after blank lines too
        ("1 2 3\n\n\n4 login 5\n", "FILE:4: found 'login'"),
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


def test_a_split_has_room_for_a_window_and_its_target(tmp_path: Path) -> None:
    corpus = load_file(tmp_path, TEXT)
    assert sizes_of(corpus) == [80, 10, 10]
    corpus.check_windows(9)
    with pytest.raises(InputError) as refusal:
        corpus.check_windows(10)
    assert str(refusal.value) == (
        "data: the validation split has 10 symbols, expected more than "
        "the longest sequence_length of the space, 10"
    )


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


IDS = "1 2 3\n4 5 1\n" * 40


@pytest.mark.parametrize("content", [TEXT, IDS, "ab\r\n" * 30, "\ufeff" + TEXT])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_gzip_file_is_the_same_corpus_as_what_is_in_it(
    tmp_path: Path, content: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    plain = load_file(tmp_path, content)
    # in two parts, as logs that are packed day by day and joined are
    raw = content.encode()
    packed = load_file(tmp_path, gzip.compress(raw[:50]) + gzip.compress(raw[50:]))
    assert packed.digest == plain.digest
    assert "a gzip file is unpacked" in packed.decided


def test_gzip_files_of_a_folder_are_read_with_the_others_for_corpora_and_for_detect(
    tmp_path: Path,
) -> None:
    parts = {"a.log": IDS.encode(), "b.log": IDS.encode(), "c/d.log": IDS.encode()}
    plain = load_files(tmp_path / "plain", parts, "auto")
    packed = {"a.log": parts["a.log"], "b.log": gzip.compress(parts["b.log"])}
    packed |= {"c/d.log": gzip.compress(parts["c/d.log"])}
    found = load_files(tmp_path / "packed", packed, "auto")
    assert found.digest == plain.digest
    assert found.decided.endswith("a line is a session; 2 gzip files are unpacked")
    sessions = read_sessions(str(tmp_path / "packed"), Alphabet((1, 2, 3, 4, 5)))
    assert len(sessions) == 3 * 80


def test_what_unpacks_to_far_more_than_a_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "FREE_BYTES", 1 << 16)
    bomb = gzip.compress(b"a" * 20_000_000)
    assert "unpacks to more than 300 times its size" in refusal_of(tmp_path, bomb)
    log = "".join(f"{number} 7 7 7\n" for number in range(20_000)).encode()
    assert load_file(tmp_path, gzip.compress(log)).digest == load_file(tmp_path, log).digest


@pytest.mark.parametrize("cut", [20, -4])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    found = refusal_of(tmp_path, gzip.compress(IDS.encode())[:cut], "ids")
    assert found.startswith("FILE: is a damaged gzip file (")


def archives() -> dict[str, bytes]:
    """Packed files, and how each is called."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("a.txt", TEXT)
    with tarfile.open(fileobj=tarred, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.txt")
        info.size = len(TEXT)
        tar.addfile(info, io.BytesIO(TEXT.encode()))
    return {
        "a zip file": zipped.getvalue(),
        "a tar archive": tarred.getvalue(),
        "packed by xz": lzma.compress(TEXT.encode()),
        "packed by bzip2": bz2.compress(TEXT.encode()),
        "packed by zstd": b"\x28\xb5\x2f\xfd\x04\x00",
        "packed by gzip twice": gzip.compress(gzip.compress(TEXT.encode())),
    }


@pytest.mark.parametrize("symbols", ["auto", "chars", "ids"])
@pytest.mark.parametrize("what", archives())
def test_other_packed_files_are_named_whatever_is_asked_for(
    tmp_path: Path, what: str, symbols: str
) -> None:
    assert refusal_of(tmp_path, archives()[what], symbols) == (
        f"FILE: is {what}, expected text, event ids or a gzip file: unpack it"
    )


def test_a_table_gets_a_hint_how_to_cut_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,event,value\n" + "12:00,login,3\n" * 40)
    found = load(Source(data=str(tmp_path / "a.csv"))).decided
    assert found.endswith("cat a.csv | tail -n +2 | cut -d',' -f2 > ids.txt")
    (tmp_path / "b.csv").write_text("1;2;3\n" * 40)
    with pytest.raises(InputError, match=r"cut -d';' -f2 > ids\.txt"):
        load(Source(data=str(tmp_path / "b.csv"), symbols="ids"))
