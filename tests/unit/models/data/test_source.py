"""Folders of session files, and links in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.data import corpus
from lstm_sweep.models.data.source import Source, file_groups, open_data, open_only_below
from lstm_sweep.models.errors import InputError


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


def test_links_that_lead_outside_are_followed(data: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    (far / "deep").mkdir(parents=True)
    (far / "deep" / "x.txt").write_text("x")
    (tmp_path / "y.txt").write_text("y")
    (data / "disk").symlink_to(far)
    (data / "one.txt").symlink_to(tmp_path / "y.txt")
    assert names(data) == ["b.txt", "disk/deep/x.txt", "one.txt", "sub/a.txt"]


def test_what_is_reached_twice_counts_once_by_its_own_name(data: Path) -> None:
    (data / "a-latest.txt").symlink_to("b.txt")
    (data / "a-sub").symlink_to("sub")
    (data / "zzz").symlink_to("sub")
    assert names(data) == ["b.txt", "sub/a.txt"]


def test_links_in_a_circle_end(data: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (data / "self").symlink_to(data)
    (data / "sub" / "up").symlink_to("..")
    (data / "far").symlink_to(far)
    (far / "back").symlink_to(data)
    (far / "again").symlink_to(far)
    (far / "z.txt").write_text("z")
    assert names(data) == ["b.txt", "far/z.txt", "sub/a.txt"]


@pytest.mark.parametrize("target", ["..", "/", "../.."])
def test_a_link_to_a_folder_around_the_data_is_refused(data: Path, target: str) -> None:
    (data / "sub" / "link").symlink_to(data / target)
    with pytest.raises(InputError, match=r"sub/link: found a link to .*, which holds .*data"):
        file_groups(data)


def test_hidden_links_are_passed_over(data: Path) -> None:
    (data / ".lock").symlink_to("nowhere")
    (data / ".up").symlink_to("..")
    assert names(data) == ["b.txt", "sub/a.txt"]


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
    assert len(corpus.load(Source(data=str(root / "within"))).train)


def replace_file(root: Path) -> None:
    (root / "logs/a.txt").unlink()
    (root / "logs/a.txt").symlink_to(root.parent / "out/a.txt")


def replace_folder(root: Path) -> None:
    (root / "logs").rename(root / "was")
    (root / "logs").symlink_to(root.parent / "out")


def replace_by_pipe(root: Path) -> None:
    (root / "logs/a.txt").unlink()
    os.mkfifo(root / "logs/a.txt")


SWAPS = [replace_file, replace_folder, replace_by_pipe]


@pytest.mark.parametrize("swap", SWAPS)
def test_what_is_swapped_before_it_is_opened_is_refused(
    root: Path, swap: Callable[[Path], None]
) -> None:
    swap(root)
    with pytest.raises(InputError, match=r"leads out|found no file"):
        open_data(root / "logs/a.txt")


@pytest.mark.parametrize("swap", SWAPS)
def test_what_is_swapped_between_the_check_and_the_opening_is_refused(
    root: Path, swap: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = os.path.realpath

    def swapped(path: Path) -> str:
        real = find(path)
        monkeypatch.setattr(os.path, "realpath", find)
        swap(root)
        return real

    monkeypatch.setattr(os.path, "realpath", swapped)
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


def test_what_is_said_of_a_corpus_quotes_no_word_either(root: Path) -> None:
    assert "moon" not in corpus.load(Source(data=str(root / "logs"))).decided
