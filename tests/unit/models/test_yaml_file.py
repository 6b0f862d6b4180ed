from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.documents import read_yaml


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("True", True),
        ("010", "010"),
        ("1:30", "1:30"),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("0", 0),
        ("2.5e-3", 0.0025),
        ("=", "="),
    ],
)
def test_words_that_old_yaml_takes_for_something_else_are_words(
    tmp_path: Path, written: str, value: object
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {written}\n", encoding="utf-8")
    assert read_yaml(file) == {"a": value}


def test_twenty_levels_are_not_too_many(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("[" * 19 + "1" + "]" * 19, encoding="utf-8")
    value = read_yaml(file)
    for _ in range(19):
        assert isinstance(value, list)
        value = value[0]
    assert value == 1
