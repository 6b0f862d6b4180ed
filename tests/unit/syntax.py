"""The modules of the program and their syntax trees: what they import and call."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "spaces", "search")
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
)


@functools.cache
def nodes(module: str) -> list[ast.AST]:
    """All nodes of the syntax tree of a module."""
    return list(ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))))


def imported(module: str) -> Iterator[str]:
    """Full names of all that a module imports, wherever the statement stands."""
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(module: str) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """Names of all that a module calls, as written, with the keywords given."""
    for node in nodes(module):
        if isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords if word.arg}
            yield ast.unparse(node.func), given
