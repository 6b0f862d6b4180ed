"""Packed files, other encodings, and tables."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from lstm_sweep.models.data import reader
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import load, read_sessions
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from tests.unit.models.data.corpus_files import TEXT, load_file, load_files, refusal_of

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


@pytest.mark.parametrize("symbols", ["auto", "chars", "ids"])
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, encoding: str, named: str, symbols: str) -> None:
    assert refusal_of(tmp_path, "caf\u00e9 12\n".encode(encoding) * 30, symbols) == (
        f"FILE: is text in {named}, expected UTF-8: `iconv -f {named} -t UTF-8` converts it"
    )


def test_bytes_of_a_binary_file_are_not_recommended_as_characters(tmp_path: Path) -> None:
    binary = refusal_of(tmp_path, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))
    assert "as binary files have" in binary and "chars" not in binary
    text = refusal_of(tmp_path, TEXT * 5 + "\0" + TEXT)
    assert "--symbols chars takes it for a character" in text


def test_a_table_gets_a_hint_how_to_cut_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,event,value\n" + "12:00,login,3\n" * 40)
    found = load(Source(data=str(tmp_path / "a.csv"))).decided
    assert found.endswith("cat a.csv | tail -n +2 | cut -d',' -f2 > ids.txt")
    (tmp_path / "b.csv").write_text("1;2;3\n" * 40)
    with pytest.raises(InputError, match=r"cut -d';' -f2 > ids\.txt"):
        load(Source(data=str(tmp_path / "b.csv"), symbols="ids"))


def test_a_text_with_commas_gets_no_hint(tmp_path: Path) -> None:
    text = "One, two, and three.\nFour, five\nsix, seven, or eight, or nine\n" * 20
    assert "table" not in load_file(tmp_path, text).decided
