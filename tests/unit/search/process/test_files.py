"""What may become the folder of a bundle, or the file of a report."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process import files
from lstm_sweep.search.process.files import (
    NO_SPACE,
    REPORT_MARK,
    become,
    locked,
    new_folder,
    new_report,
    permanent_reason,
    replace_text,
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
    with scratch_beside(tmp_path / "deep" / "to") as scratch:
        assert scratch.parent == tmp_path / "deep"
    assert list((tmp_path / "deep").iterdir()) == []
    with (
        pytest.raises(InputError, match="expected a folder to write to"),
        scratch_beside(tmp_path / "file" / "to"),
    ):
        pass


def test_an_empty_folder_gets_what_was_made_and_stays(tmp_path: Path) -> None:
    def made() -> Path:
        folder = tmp_path / "scratch" / "bundle"
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


@pytest.mark.parametrize(
    ("meanwhile", "problem", "left"),
    [
        # nothing else is in the folder then
        (lambda to, moved: full(to), "No space left on device", 0),
        # what another program writes there stays
        (lambda to, moved: theirs(to, moved), "File exists", 2),
    ],
    ids=["full", "theirs"],
)
def test_an_empty_folder_gets_nothing_if_not_all_can_be_moved(
    meanwhile: Callable[[Path, Path], None],
    problem: str,
    left: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, to = tmp_path / "made", tmp_path / "to"
    to.mkdir()
    for name in ("a", "b"):
        (made / name).mkdir(parents=True)
        (made / name / "file").touch()
    move = shutil.move

    def moved(part: Path, place: Path) -> None:
        move(part, place)
        meanwhile(to, part)

    monkeypatch.setattr(shutil, "move", moved)
    with pytest.raises(InputError, match=f"{problem}, expected a folder to write to"):
        become(made, to)
    assert len(list(to.glob("*/theirs"))) == len(list(to.iterdir())) == left


def full(to: Path) -> None:
    if len(list(to.iterdir())) == 2:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def theirs(to: Path, moved: Path) -> None:
    for name in {"a", "b", "c"} - {moved.name}:
        (to / name).mkdir()
        (to / name / "theirs").touch()


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


def is_locked(folder: Path) -> bool:
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(number)
    return False


def test_a_folder_is_locked_for_others_until_the_end_where_there_are_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        assert is_locked(folder)
    assert not is_locked(folder)
    with pytest.raises(KeyError), locked(folder):
        raise KeyError
    assert not is_locked(folder)
    monkeypatch.setattr(fcntl, "flock", mock.Mock(side_effect=OSError("no locks here")))
    with pytest.raises(KeyError), locked(folder):
        raise KeyError


def wrapped(cause: Exception, text: str = "wrapped") -> Exception:
    try:
        raise RuntimeError(text) from cause
    except RuntimeError as error:
        return error


NOT_WRITTEN = "it cannot be written"
NO_FOLDER = "there is a file where a folder is expected"


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), NO_SPACE),
        (OSError(errno.EDQUOT, "quota"), NO_SPACE),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to write"),
        (OSError(errno.EROFS, "Read-only file system"), NOT_WRITTEN),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), NO_FOLDER),
        (sqlite3.OperationalError("database or disk is full"), NO_SPACE),
        (sqlite3.OperationalError("attempt to write a readonly database"), NOT_WRITTEN),
        (sqlite3.OperationalError("Could not decode to UTF-8"), "something in it is no text"),
        (wrapped(OSError(errno.ENOSPC, "x")), NO_SPACE),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), NO_SPACE),
        # these are not permanent
        (ValueError("x"), ""),
        (ConnectionResetError(), ""),
        (OSError(errno.EAGAIN, "again"), ""),
    ],
    ids=repr,
)
def test_a_permanent_error_is_named(error: Exception, why: str) -> None:
    assert permanent_reason(error) == why


@pytest.mark.parametrize("lasting", [True, False])
def test_a_file_has_one_text_or_the_other(
    lasting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "a", list[str]()
    replace_text(file, "one")
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(file.read_text(encoding="utf-8")))
    replace_text(file, "two", lasting=lasting)
    assert file.read_text(encoding="utf-8") == "two"
    assert synced == ["one"] * lasting  # on the disk before it is in the place of the other
    assert list(tmp_path.iterdir()) == [file]


def test_a_text_that_cannot_be_written_leaves_the_other_and_no_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    replace_text(file, "one")

    no_space = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", mock.Mock(side_effect=no_space))
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "two", lasting=True)
    assert file.read_text(encoding="utf-8") == "one"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lstm-sweep"


def test_the_folder_of_a_sweep_is_found_again_with_what_is_named_and_is_the_users_alone(
    root: Path,
) -> None:
    folder = files.open_folder("abc")
    for name in ("3", "4", "corpus"):
        (folder / name).mkdir()
    (folder / "picture.png").touch()
    assert files.open_folder("abc") == folder == root / "abc"
    assert len(list(folder.iterdir())) == 4
    assert root.stat().st_mode & 0o077 == 0
    files.clear(folder, {"3", "9"})
    assert [path.name for path in folder.iterdir()] == ["3"]
    for _ in range(2):
        files.clear(folder, set())
        assert not folder.exists()


def test_what_nobody_resumed_or_shared_is_let_go_after_a_week(root: Path) -> None:
    """What trials share outlives their sweep."""
    graphs = files.graphs()
    assert graphs == root / "graphs"
    graphs.mkdir()
    old, recent = (
        [files.open_folder(name), graphs / f"{name}.graph"] for name in ("old", "recent")
    )
    week_ago = time.time() - files.KEPT_S - 60
    for path in (old[1], recent[1]):
        path.touch()
    for path in (*old, graphs):
        os.utime(path, (week_ago, week_ago))
    files.clear(files.open_folder("new"), set())
    assert [path.exists() for path in (*old, *recent)] == [False, False, True, True]


def test_without_a_home_nothing_is_shared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_home: None
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    assert files.graphs() is None
    folder = files.open_folder("abc")
    files.clear(folder, set())
    assert not folder.parent.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_id", ["../x", "/etc", "", ".", "a/b"])
def test_no_id_leads_out_of_the_folder(run_id: str) -> None:
    with pytest.raises(ValueError, match="expected letters and digits"):
        files.open_folder(run_id)


def test_a_link_in_place_of_a_folder_is_taken_away(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    files.open_folder("abc")
    (root / "linked").symlink_to(precious)
    folder = files.open_folder("linked")
    assert not folder.is_symlink()
    (folder / "inner").symlink_to(precious)
    files.clear(folder, set())
    assert not folder.exists()
    assert (precious / "file").exists()


def test_a_folder_that_others_may_write_is_not_used(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    assert files.graphs() is None
    folder = files.open_folder("abc")
    assert not folder.is_relative_to(tmp_path)
    assert folder.parent.stat().st_mode & 0o077 == 0
    files.clear(folder, set())
    assert not folder.parent.exists()
