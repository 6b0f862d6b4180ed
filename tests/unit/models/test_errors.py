from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InputError, one_of, read_yaml


def test_the_nearest_name_comes_first() -> None:
    assert one_of("lairs", ["units", "layers"]) == "did you mean 'layers'? possible: units, layers"


def test_a_name_like_no_other_gets_no_hint() -> None:
    assert one_of("qqq", ["units", "layers"]) == "possible: units, layers"


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
