"""A test of one module stands where that does, under its name: search/trial.py, test_trial.py.

Tests that are too many for one file are several by subject, such as `test_policy_ladder.py` and
`test_policy_memory.py` of policy.py; what they share is a module beside them. The `_` around the
name of a module are left out: lstm_sweep/_launch.py, test_launch.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

UNIT = Path(__file__).parent
ROOT = UNIT.parents[1]
PACKAGES = ("lstm_sweep", "models", "spaces", "search", "benchmarks")
FILES = sorted(
    file.relative_to(UNIT).as_posix()
    for package in PACKAGES
    for file in (UNIT / package).rglob("*.py")
)
TESTS = [file for file in FILES if Path(file).name.startswith("test_")]
HELPERS = [file for file in FILES if file not in TESTS]


def test_there_are_tests_of_each_package() -> None:
    assert {test.partition("/")[0] for test in TESTS} == set(PACKAGES)


def modules_of(test: str) -> list[Path]:
    """Modules that a test file may be of: by its whole name, or by the first words of it."""
    folder, _, name = test.removesuffix(".py").rpartition("/")
    words = name.split("_")[1:]
    names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
    return [module for module in (ROOT / folder).glob("*.py") if module.stem.strip("_") in names]


@pytest.mark.parametrize("test", TESTS)
def test_a_test_stands_at_the_place_of_its_module(test: str) -> None:
    assert modules_of(test), f"found no module of {test}"


def test_what_is_no_test_is_shared_by_tests_beside_it() -> None:
    for helper in HELPERS:
        module = f"tests.unit.{helper.removesuffix('.py').replace('/', '.')}"
        beside = (UNIT / helper).parent.glob("test_*.py")
        users = [t for t in beside if f"from {module} import" in t.read_text(encoding="utf-8")]
        assert len(users) > 1, f"{helper}: imported beside it by {len(users)}, expected several"
