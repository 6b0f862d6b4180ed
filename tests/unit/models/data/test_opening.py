"""Data that a service reads for others lie below its folders, whatever is put in their place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.data import corpus
from lstm_sweep.models.data.opening import open_data, open_only_below
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError

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
