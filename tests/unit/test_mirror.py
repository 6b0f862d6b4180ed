"""A test of one module stands where that does: that of search/trial.py in tests/unit/search."""

from __future__ import annotations

from pathlib import Path

import pytest

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
TESTS = sorted(
    file.relative_to(UNIT).as_posix()
    for package in ("models", "spaces", "search")
    for file in (UNIT / package).rglob("*.py")
)


def test_there_are_tests_of_each_package() -> None:
    assert {test.partition("/")[0] for test in TESTS} == {"models", "spaces", "search"}


@pytest.mark.parametrize("test", TESTS)
def test_a_test_stands_at_the_place_of_its_module(test: str) -> None:
    folder, _, name = test.rpartition("/")
    assert name.startswith("test_")
    module = ROOT / folder / name.removeprefix("test_")
    assert module.is_file(), f"found no {module.relative_to(ROOT)}"
