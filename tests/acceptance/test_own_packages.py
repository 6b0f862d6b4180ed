"""Packages of a user's that have names of this program's folders; the installed script is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import run_program

NAMES = ("models", "search", "spaces", "template")
TEMPLATE = """
import models, search, spaces, template.deeper

def data():
    return 1, 2

def create_model(a, b):
    assert (a, b) == (1, 2)
    parts = models.value + search.value + spaces.value + template.deeper.value
    return parts + {{choice([1, 2])}}
"""


@pytest.mark.full
def test_a_template_imports_packages_that_are_called_like_folders_of_the_program(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("own_packages")
    for number, name in enumerate(NAMES):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"value = {10**number}\n", encoding="utf-8")
    (folder / "template" / "deeper.py").write_text("value = 5000\n", encoding="utf-8")
    (folder / "mine.py").write_text(TEMPLATE, encoding="utf-8")
    launch = ("launch", "--template", "mine.py", "--trials", "2", "--workers", "1", "--json")
    done = run_program(*launch, cwd=folder, real=True)
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 2}
    assert done.json["best"]["val_loss"] == 5112
