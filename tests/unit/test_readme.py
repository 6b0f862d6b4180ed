"""The map in the README is the tree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_names_every_module_once() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = text.partition("## The files")[2].partition("## Working")[0]
    named, folder = [], ""
    for line in tree.splitlines():
        if match := re.match(r"(models|spaces|search)/ ", line):
            folder = match[1]
        elif match := re.match(r"  (\S+\.py) ", line):
            named.append(f"{folder}/{match[1]}")
    found = [
        str(path.relative_to(ROOT))
        for folder in ("models", "spaces", "search")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    ]
    assert sorted(named) == sorted(found)


def test_the_picture_of_the_readme_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (ROOT / name).is_file()
