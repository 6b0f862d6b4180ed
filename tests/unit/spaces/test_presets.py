"""Spaces by their names, and those in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space


@pytest.mark.parametrize("name, space", [("default", presets.DEFAULT), ("quick", presets.QUICK)])
def test_declared_spaces_have_names(name: str, space: Space) -> None:
    assert presets.named(name) is space


def test_an_unknown_space_is_refused_with_the_declared_ones() -> None:
    with pytest.raises(InputError, match=r"space 'defualt': no such file.*\(default, quick\)"):
        presets.named("defualt")


def test_a_space_may_be_a_file_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.yaml").write_text("layers: 2\n", encoding="utf-8")
    assert presets.named("~/my.yaml")["layers"].values() == [2]
    with pytest.raises(InputError, match=r"space '~/none.yaml': no such file"):
        presets.named("~/none.yaml")
