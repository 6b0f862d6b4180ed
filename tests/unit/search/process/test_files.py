"""What may become the folder of a bundle, or the file of a report."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import time
from pathlib import Path

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


def test_what_another_program_writes_to_the_folder_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, to = tmp_path / "made", tmp_path / "to"
    to.mkdir()
    for name in ("a", "b"):
        (made / name).mkdir(parents=True)
    move = shutil.move

    def slow(part: Path, place: Path) -> None:
        move(part, place)
        for name in {"a", "b", "c"} - {part.name}:
            (to / name).mkdir()
            (to / name / "theirs").touch()

    monkeypatch.setattr(shutil, "move", slow)
    with pytest.raises(InputError, match="File exists, expected a folder to write to"):
        become(made, to)
    assert len(list(to.glob("*/theirs"))) == len(list(to.iterdir())) == 2


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


def test_a_folder_is_locked_for_others_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with locked(folder):
        assert is_locked(folder)
    assert not is_locked(folder)
    with pytest.raises(KeyError), locked(folder):
        raise KeyError
    assert not is_locked(folder)


def test_without_locks_the_folder_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int, kind: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", fail)
    entered = False
    with locked(tmp_path):
        entered = True
    assert entered


def wrapped(cause: Exception, text: str = "wrapped") -> Exception:
    try:
        raise RuntimeError(text) from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.ENOSPC, "No space left on device"), NO_SPACE),
        (OSError(errno.EDQUOT, "quota"), NO_SPACE),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to write"),
        (OSError(errno.EROFS, "Read-only file system"), "it cannot be written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "a file where a folder"),
        (sqlite3.OperationalError("database or disk is full"), NO_SPACE),
        (sqlite3.OperationalError("attempt to write a readonly database"), "it cannot be written"),
        (sqlite3.OperationalError("Could not decode to UTF-8 column"), "is no text"),
        (wrapped(OSError(errno.ENOSPC, "x")), NO_SPACE),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), NO_SPACE),
    ],
    ids=repr,
)
def test_a_permanent_error_is_named(error: Exception, why: str) -> None:
    assert why in permanent_reason(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), ConnectionResetError(), OSError(errno.EAGAIN, "again")], ids=repr
)
def test_other_errors_are_not_permanent(error: Exception) -> None:
    assert permanent_reason(error) == ""


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

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "two", lasting=True)
    assert file.read_text(encoding="utf-8") == "one"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lstm-sweep"


def test_the_folder_of_a_sweep_is_found_again_and_is_the_users_alone(root: Path) -> None:
    folder = files.open_folder("abc")
    (folder / "3").mkdir()
    assert files.open_folder("abc") == folder == root / "abc"
    assert (folder / "3").is_dir()
    assert root.stat().st_mode & 0o077 == 0


def test_only_what_is_named_stays(root: Path) -> None:
    folder = files.open_folder("abc")
    for name in ("3", "4", "corpus"):
        (folder / name).mkdir()
    (folder / "picture.png").touch()
    files.clear(folder, {"3", "9"})
    assert [path.name for path in folder.iterdir()] == ["3"]
    files.clear(folder, set())
    assert not folder.exists()
    files.clear(folder, set())


def test_what_nobody_resumed_is_let_go_after_a_week(root: Path) -> None:
    old, recent = files.open_folder("old"), files.open_folder("recent")
    week_ago = time.time() - files.KEPT_S - 60
    os.utime(old, (week_ago, week_ago))
    files.open_folder("new")
    assert (old.exists(), recent.exists()) == (False, True)


def test_what_trials_share_outlives_their_sweep_and_is_let_go_after_a_week(root: Path) -> None:
    graphs = files.graphs()
    assert graphs == root / "graphs"
    graphs.mkdir()
    old, recent = graphs / "old.graph", graphs / "recent.graph"
    for file in (old, recent):
        file.touch()
    os.utime(old, (0, 0))
    os.utime(graphs, (0, 0))
    files.clear(files.open_folder("abc"), set())
    assert list(graphs.iterdir()) == [recent]


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
