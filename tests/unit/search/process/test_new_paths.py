"""What may become the folder of a bundle, or the file of a report."""

from __future__ import annotations

import errno
import os
import platform
import shutil
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.files import (
    OWNER,
    REPORT_MARK,
    become,
    new_folder,
    new_report,
    scratch_beside,
    write_report,
)


def test_a_folder_is_new_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    assert new_folder("a/b") == tmp_path / "a" / "b" and new_folder("empty").name == "empty"
    for bad in ("", ".", "file", "file/x", "dangling", "a\0b", "x" * 300):
        with pytest.raises(InputError, match="expected a new"):
            new_folder(bad)
    scratch = scratch_beside(tmp_path / "deep" / "to")
    assert (scratch.parent, scratch.stat().st_mode & 0o777) == (tmp_path / "deep", 0o755)
    with pytest.raises(InputError, match="expected a folder to write to"):
        scratch_beside(tmp_path / "file" / "to")


def test_what_a_killed_program_has_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    mine = scratch_beside(tmp_path / "to[1]")
    owner = OWNER.match(mine.name, len(f".to[1]-lstm-sweep-{platform.node()}-"))
    assert owner is not None
    pid, started = owner.groups()
    ended = mine.with_name(mine.name.replace(f"-{pid}-{started}-", f"-{pid}-{int(started) + 1}-"))
    elsewhere = mine.with_name(ended.name.replace(platform.node(), "other-host"))
    for left in (ended, elsewhere):
        (left / "bundle").mkdir(parents=True)
    second = scratch_beside(tmp_path / "to[1]")
    assert set(tmp_path.iterdir()) == {mine, elsewhere, second}


def test_an_empty_folder_gets_what_was_made_and_stays(tmp_path: Path) -> None:
    def made() -> Path:
        folder = scratch_beside(tmp_path / "to") / "bundle"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("of the bundle", encoding="utf-8")
        return folder

    new, empty, full = (tmp_path / name for name in ("new", "empty", "full"))
    empty.mkdir()
    full.mkdir()
    was = empty.stat().st_ino
    for to in (new, empty):
        become(made(), to)
        assert (to / "deep" / "file").read_text(encoding="utf-8") == "of the bundle"
    assert empty.stat().st_ino == was
    (full / "file").touch()
    bundle = made()
    with pytest.raises(InputError, match=r"full'?: found something there, expected a new"):
        become(bundle, full)
    assert [one.name for one in full.iterdir()] == ["file"] and bundle.exists()
    with pytest.raises(InputError, match="expected a folder to write to"):
        become(bundle, full / "file" / "below")


def test_an_empty_folder_stays_empty_if_not_all_can_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, to = tmp_path / "made", tmp_path / "to"
    to.mkdir()
    for name in ("a", "b", "c"):
        (made / name).mkdir(parents=True)
        (made / name / "file").touch()
    move = shutil.move

    def full(part: Path, place: Path) -> None:
        move(part, place)
        if len(list(to.iterdir())) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(InputError, match="No space left on device, expected a folder to write to"):
        become(made, to)
    assert list(to.iterdir()) == []


def test_a_report_replaces_a_report_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    for html in (REPORT_MARK, f"{REPORT_MARK} again"):
        assert new_report(str(file)) == file
        write_report(file, html)
        assert file.read_text(encoding="utf-8") == html
    file.write_text("a page of somebody", encoding="utf-8")
    for bad in (str(file), str(tmp_path), str(tmp_path / "none" / "x.html"), "", "a\0b"):
        with pytest.raises(InputError, match="expected a new file, or a report to replace"):
            new_report(bad)
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
