from __future__ import annotations

import pytest

from lstm_sweep.models.errors import LONGEST, InputError, one_of, shown


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
