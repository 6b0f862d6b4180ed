from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.models.yaml_file import read_yaml


def test_yaml_is_read_as_plain_values(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("größe: [1, 2.5, x]\n", encoding="utf-8")
    assert read_yaml(file) == {"größe": [1, 2.5, "x"]}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        # a bracket that is not closed is noticed at the end
        (b"a: 1\nb: [1, 2\n", ":3"),
        # a tag that would make a Python object
        (b"a: 1\nb: !!python/object/apply:os.getcwd []\n", ":2"),
        (b"a: 1\n\tb: 2\n", ":2"),
        (b"a: \xff\n", ": found bytes that are not UTF-8"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_its_place(
    tmp_path: Path, content: bytes, line: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_yaml(file)
    assert str(refusal.value).startswith(f"{file}{line}")
    assert str(refusal.value).endswith("expected a YAML file")


def test_a_missing_yaml_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: No such file or directory, expected a YAML"):
        read_yaml(tmp_path / "none.yaml")


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\n'a': 2\n", ":2: found 'a' twice, first in line 1, expected each field once"),
        ("a: {b: 1, c: 2,\n b: 3}\n", ":2: found 'b' twice, first in line 1, expected each field"),
        ("a: &x 1\nb: *x\n", ":2: found the alias '*x', expected its values"),
        ("[" * 21 + "]" * 21, ":1: found lists or mappings nested too deeply, expected at most 20"),
        ("a: \0\n", ":1: found the character U+0000, expected a YAML file"),
        ("a: !!bool maybe\n", ":1: found 'maybe', expected a value of tag:yaml.org,2002:bool"),
        ("#" * 65_537, ": the file is too long, expected a YAML file of at most 65,536 bytes"),
    ],
)
def test_a_file_that_means_something_else_than_it_seems_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        read_yaml(file)
    assert str(refusal.value).startswith(f"{file}{message}")


def test_twenty_levels_are_not_too_many(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("[" * 19 + "1" + "]" * 19, encoding="utf-8")
    value = read_yaml(file)
    for _ in range(19):
        assert isinstance(value, list)
        value = value[0]
    assert value == 1
