"""Paths as users name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import LONGEST, InputError, one_of, resolved, shown


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


def test_the_nearest_name_comes_first() -> None:
    assert one_of("lairs", ["units", "layers"]) == "did you mean 'layers'? possible: units, layers"


def test_a_message_is_one_line_that_is_not_long() -> None:
    assert str(InputError("a\nb\r\x1b[0m\u2028\0é")) == r"a\nb\r\x1b[0m\u2028\x00é"
    long = str(InputError("begin" + "\n" * 10**6 + "end"))
    assert long.startswith("begin") and len(long) <= LONGEST


def test_the_end_of_a_long_message_says_what_is_expected() -> None:
    assert str(InputError("x" * 2_000 + ": expected a number")).endswith(": expected a number")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("a\n", r"'a\n'"),
        (2.5, "2.5"),
        ("x" * 500, f"'{'x' * 120}...'"),
        ([0] * 500, f"[{'0, ' * 39}0,..."),
        pytest.param(10**5000, "int too large to show", id="vast"),
    ],
)
def test_a_value_is_shown_as_it_is_written_but_not_at_length(value: object, text: str) -> None:
    assert shown(value) == text


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
