from __future__ import annotations

import os
from pathlib import Path

import pytest

from lstm_sweep.search.process.files import replace_text


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
