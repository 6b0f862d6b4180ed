"""Data that are refused, and any bytes that are loaded or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data import corpus, reader, spool
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.source import Source, file_groups, open_data, open_only_below
from lstm_sweep.models.data.spool import Spool
from lstm_sweep.models.errors import InputError, NoRoomError
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


UTF_8 = "text in UTF-8"
AN_ID = "an event id: an integer from 0 of at most 18 digits"


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "expected", "place"),
    [
        (b"ab\ncd\nef\xfe\ngh\n", UTF_8, "FILE:3: found the byte 0xfe"),
        # a character that is cut by a line's end, and by the file's
        (b"ab\n\xe6\xbc\ncd\n", UTF_8, "FILE:2: found the byte 0xe6"),
        (b"ab\ncd\n\xe6\xbc", UTF_8, "FILE:3: found the byte 0xe6"),
        # half a surrogate pair
        (b"ab\n\n\xed\xa0\x80\n", UTF_8, "FILE:3: found the byte 0xed"),
        ("1\n2\n-3\n4\n", AN_ID, "FILE:3: found '-3'"),
        (f"1\n{10**18}\n", AN_ID, f"FILE:2: found '{10**18}'"),
        # ids and words mixed, after blank lines too
        ("1 2 3\n\n\n4 login 5\n", AN_ID, "FILE:4: found 'login'"),
        # Windows line ends
        ("1\r\n2\r\nx\r\n", AN_ID, "FILE:3: found 'x'"),
        # digits of another script, and bytes of none
        ("1\n٣\n", AN_ID, "FILE:2: found '٣'"),
        (b"1\n2\n\xff\n", AN_ID, "FILE:3: found the byte 0xff"),
        # a word too long to show
        ("1\n" + "9" * 41 + "\n", AN_ID, "FILE:2: found '" + "9" * 40 + "...'"),
    ],
)
def test_what_is_no_utf_8_or_no_id_is_refused_with_its_line(
    tmp_path: Path,
    content: str | bytes,
    expected: str,
    place: str,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", block)
    said = refusal_of(tmp_path, content, "ids" if expected == AN_ID else "auto")
    assert said.partition("; of a table")[0] == f"{place}, expected {expected}"


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


#: event ids, also around the size of the look-up table
some_ids = st.integers(0, 10**18 - 1) | st.sampled_from(range((1 << 21) - 2, (1 << 21) + 2))
lines_of_ids = st.lists(st.lists(some_ids, min_size=1, max_size=4), min_size=1, max_size=6)


@given(lines_of_ids, st.integers(1, 30))
def test_any_lines_of_ids_are_kept_id_by_id(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[int]], block: int
) -> None:
    every = [[1, 2], *lines] * 10  # so that the training data have every id
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", block)
        text = "".join(" ".join(map(str, line)) + "\n" for line in every)
        corpus = load_file(tmp_path_factory.getbasetemp(), text, "ids")
    numbers = [number for line in every for number in line]
    assert symbols_of(corpus) == numbers
    assert corpus.alphabet.symbols == tuple(sorted({*numbers}))
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
    (tmp_path / "c.jsonl").write_text('{"said": "a; b", "kind": "x"}\n' * 40)
    assert "cut -d" not in load(Source(data=str(tmp_path / "c.jsonl"))).decided
    (tmp_path / "b.csv").write_text("1;2;3\n" * 40)
    with pytest.raises(InputError, match=r"cut -d';' -f2 > ids\.txt"):
        load(Source(data=str(tmp_path / "b.csv"), symbols="ids"))


# Folders of session files, and links in them


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "around" / "data"
    folder.mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("a")
    return folder


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in file_groups(folder)["all"]]


@pytest.mark.parametrize(
    ("links", "found"),
    [
        # out of the folder they are followed
        (
            {"data/disk": "../far", "data/one.txt": "../y.txt"},
            ["b.txt", "disk/deep/x.txt", "one.txt", "sub/a.txt"],
        ),
        # what is reached twice counts once, by its own name
        (
            {"data/a-latest.txt": "b.txt", "data/a-sub": "sub", "data/zzz": "sub"},
            ["b.txt", "sub/a.txt"],
        ),
        # circles end
        (
            {
                "data/self": ".", "data/sub/up": "..", "data/far": "../far", "far/back": "../data",
                "far/again": ".",
            },
            ["b.txt", "far/deep/x.txt", "sub/a.txt"],
        ),
        # hidden ones are passed over
        ({"data/.lock": "nowhere", "data/.up": ".."}, ["b.txt", "sub/a.txt"]),
    ],
)  # fmt: skip
def test_links_are_followed_once(data: Path, links: dict[str, str], found: list[str]) -> None:
    (data.parent / "far" / "deep").mkdir(parents=True)
    for far in ("far/deep/x.txt", "y.txt"):
        (data.parent / far).write_text("far")
    for link, target in links.items():
        (data.parent / link).symlink_to(target)
    assert names(data) == found


@pytest.mark.parametrize("target", ["..", "/", "../.."])
def test_a_link_to_a_folder_around_the_data_is_refused(data: Path, target: str) -> None:
    (data / "sub" / "link").symlink_to(data / target)
    with pytest.raises(InputError, match=r"sub/link: found a link to .*, which holds .*data"):
        file_groups(data)


def test_the_folder_itself_may_be_a_link_and_so_may_its_splits(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    assert names(tmp_path / "link") == ["b.txt", "sub/a.txt"]
    splits = tmp_path / "splits"
    splits.mkdir()
    for name in ("train", "validation", "test"):
        (splits / name).symlink_to(data)
    assert {split: len(files) for split, files in file_groups(splits).items()} == {
        "train": 2, "validation": 2, "test": 2,
    }  # fmt: skip


SECRET = "ghp_Abc123SECRET"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder below which alone data are opened; a secret is beside it."""
    root = tmp_path / "root"
    (root / "logs").mkdir(parents=True)
    (root / "logs/a.txt").write_text("sun moon\n" * 200)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.txt").write_text(f"{SECRET}\n" * 200)
    (root / "within").symlink_to(root / "logs")
    open_only_below([tmp_path / "none", root])
    return root


def test_files_below_the_folders_are_read_links_within_them_included(root: Path) -> None:
    for name in ("logs/a.txt", "within/a.txt"):
        with open_data(root / name) as file:
            assert file.read(3) == b"sun"
    found = corpus.load(Source(data=str(root / "within")))
    assert len(found.train) and "moon" not in found.decided, "it quotes no word for others"


def replace_file(root: Path) -> None:
    (root / "logs/a.txt").unlink()
    (root / "logs/a.txt").symlink_to(root.parent / "out/a.txt")


def replace_folder(root: Path) -> None:
    (root / "logs").rename(root / "was")
    (root / "logs").symlink_to(root.parent / "out")


def replace_by_pipe(root: Path) -> None:
    (root / "logs/a.txt").unlink()
    os.mkfifo(root / "logs/a.txt")


@pytest.mark.parametrize("swap", [replace_file, replace_folder, replace_by_pipe])
@pytest.mark.parametrize("is_checked", [False, True])
def test_what_is_swapped_before_or_after_it_is_checked_is_refused(
    root: Path, swap: Callable[[Path], None], is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = os.path.realpath

    def swapped(path: Path) -> str:
        real = find(path)
        monkeypatch.setattr(os.path, "realpath", find)
        swap(root)
        return real

    if is_checked:
        monkeypatch.setattr(os.path, "realpath", swapped)
    else:
        swap(root)
    with pytest.raises(InputError, match=r"leads out|found no file"):
        open_data(root / "logs/a.txt")


def test_files_elsewhere_are_refused_and_without_folders_all_are(root: Path) -> None:
    elsewhere = root.parent / "out/a.txt"
    with pytest.raises(InputError, match=r"'a\.txt': it leads out of the folders") as refused:
        corpus.load(Source(data=str(elsewhere)))
    assert str(root.parent) not in str(refused.value)
    open_only_below([])
    with pytest.raises(InputError, match="leads out"):
        open_data(root / "logs/a.txt")


@pytest.mark.parametrize(
    "content", [f"1 2 3\n4 {SECRET}\n".encode(), b"1 2 3\n" + b"\xff" + SECRET.encode()]
)
def test_an_error_quotes_no_word_of_what_is_read_for_others(root: Path, content: bytes) -> None:
    (root / "logs/a.txt").write_bytes(content * 100)
    for symbols in ("ids", "auto"):
        with pytest.raises(InputError, match=r"a\.txt:2: found another .*expected") as refused:
            corpus.load(Source(data=str(root / "logs"), symbols=symbols))
        assert SECRET not in str(refused.value)
        assert "ff" not in str(refused.value)


def test_a_large_spool_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spool, "KEPT_BYTES", 1_000)
    written = Spool()
    written.append(np.arange(60_000, dtype=np.uint16))
    assert written.joined()[-1] == 59_999
    assert not list(tmp_path.iterdir())  # it has no name, so it goes even if the process is killed


#: a file may have so many bytes, as on a disk that is full then
ON_A_FULL_DISK = """
import resource
import numpy as np
from lstm_sweep.models.data import spool
from lstm_sweep.models.errors import NoRoomError

for kept, most, joined in (500, 100, False), (500, 5_500, False), (500, 5_500, True):
    spool.KEPT_BYTES = kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    written = spool.Spool()
    try:
        for _ in range(6):
            written.append(np.zeros(1_000, np.uint8))
        written.joined() if joined else list(written)
    except NoRoomError as error:
        print(error)
    del written
"""


def test_a_full_disk_is_one_line() -> None:
    """When codes go from memory to a file, or are read or joined with what was buffered."""
    command = [sys.executable, "-c", ON_A_FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 3
    for line in said:
        assert line.startswith(tempfile.gettempdir())
        assert "File too large, expected room for all symbols of the data" in line
    # closing the file fails too, and nobody needs to know
    assert not done.stderr


def test_without_a_folder_for_temporary_files_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such/folder"])
    Spool().append(np.arange(60_000, dtype=np.uint16))  # that needs no folder
    monkeypatch.setattr(spool, "KEPT_BYTES", 1_000)
    with pytest.raises(NoRoomError, match="No usable temporary directory found"):
        Spool().append(np.arange(60_000, dtype=np.uint16))
