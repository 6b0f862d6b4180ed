from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lstm_sweep.search.process import workdir


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lstm-sweep"


def test_the_folder_of_a_sweep_is_found_again_and_is_the_users_alone(root: Path) -> None:
    folder = workdir.open_folder("abc")
    (folder / "3").mkdir()
    assert workdir.open_folder("abc") == folder == root / "abc"
    assert (folder / "3").is_dir()
    assert root.stat().st_mode & 0o077 == 0


def test_only_what_is_named_stays(root: Path) -> None:
    folder = workdir.open_folder("abc")
    for name in ("3", "4", "corpus"):
        (folder / name).mkdir()
    (folder / "picture.png").touch()
    workdir.clear(folder, {"3", "9"})
    assert [path.name for path in folder.iterdir()] == ["3"]
    workdir.clear(folder, set())
    assert not folder.exists()
    workdir.clear(folder, set())


def test_what_nobody_resumed_is_let_go_after_a_week(root: Path) -> None:
    old, recent = workdir.open_folder("old"), workdir.open_folder("recent")
    week_ago = time.time() - workdir.KEPT_S - 60
    os.utime(old, (week_ago, week_ago))
    workdir.open_folder("new")
    assert (old.exists(), recent.exists()) == (False, True)


def test_what_trials_share_outlives_their_sweep_and_is_let_go_after_a_week(root: Path) -> None:
    graphs = workdir.graphs()
    assert graphs == root / "graphs"
    graphs.mkdir()
    old, recent = graphs / "old.graph", graphs / "recent.graph"
    for file in (old, recent):
        file.touch()
    os.utime(old, (0, 0))
    os.utime(graphs, (0, 0))
    workdir.clear(workdir.open_folder("abc"), set())
    assert list(graphs.iterdir()) == [recent]


def test_without_a_home_nothing_is_shared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_home: None
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    assert workdir.graphs() is None
    folder = workdir.open_folder("abc")
    workdir.clear(folder, set())
    assert not folder.parent.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_id", ["../x", "/etc", "", ".", "a/b"])
def test_no_id_leads_out_of_the_folder(run_id: str) -> None:
    with pytest.raises(ValueError, match="expected letters and digits"):
        workdir.open_folder(run_id)


def test_a_link_in_place_of_a_folder_is_taken_away(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    workdir.open_folder("abc")
    (root / "linked").symlink_to(precious)
    folder = workdir.open_folder("linked")
    assert not folder.is_symlink()
    (folder / "inner").symlink_to(precious)
    workdir.clear(folder, set())
    assert not folder.exists()
    assert (precious / "file").exists()


def test_a_folder_that_others_may_write_is_not_used(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    root.chmod(0o777)
    assert workdir.graphs() is None
    folder = workdir.open_folder("abc")
    assert not folder.is_relative_to(tmp_path)
    assert folder.parent.stat().st_mode & 0o077 == 0
    workdir.clear(folder, set())
    assert not folder.parent.exists()
