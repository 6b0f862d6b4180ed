"""Folders of session files, and links in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.data.source import file_groups
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


def test_a_link_to_itself_is_one_to_nothing(data: Path) -> None:
    (data / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"loop: found a link to nothing"):
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
