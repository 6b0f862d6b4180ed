"""Paths as users name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.errors import resolved


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, below one whose name has a word of a message."""
    folder = tmp_path / "embedded null"
    folder.mkdir()
    (folder / "ring").symlink_to("ring")
    (folder / "nowhere").symlink_to("nothing")
    (folder / "file").write_text("x")
    monkeypatch.chdir(folder)
    return folder.resolve()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("file", "file"),
        ("file/x", "file/x"),
        ("none/x", "none/x"),
        ("nowhere", "nothing"),
        ("", ""),
    ],
)
def test_a_path_is_made_absolute_whether_or_not_it_is_there(
    place: Path, given: str, found: str
) -> None:
    assert resolved(given) == place / found


def test_links_that_lead_in_a_circle_are_never_a_place_for_new_files(place: Path) -> None:
    from lstm_sweep.models.errors import InputError
    from lstm_sweep.search.process.files import new_folder, new_report

    checks: list[Callable[[str], Path]] = [new_folder, new_report]
    for check in checks:
        for given in ("ring", "ring/x"):
            with pytest.raises(InputError, match="Too many levels of symbolic links"):
                check(given)
    assert (place / "ring").is_symlink()
