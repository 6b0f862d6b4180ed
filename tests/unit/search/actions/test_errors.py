"""Every refusal of the API and of the commands says what to try."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.search.actions import references

ROOT = Path(__file__).resolve().parents[4]
#: words by which a message says what to try
ADVICE = ("expected", "possible: ", "--help", "lstm-sweep ", "`resume` goes on")
TYPED = {
    name for name, value in vars(references).items()
    if isinstance(value, type) and issubclass(value, Exception)
} | {"NameTakenError"}  # fmt: skip
#: functions that list what is possible, or say how to go on
ADVISING = {"one_of", "resuming", "how_to_go_on", "_elsewhere"}


def raised() -> Iterator[tuple[str, ast.Call, str]]:
    """Where a typed error is raised, the call that makes it, and all text in that."""
    folders = ("actions",)
    files = [file for name in folders for file in (ROOT / "search" / name).glob("*.py")]
    for file in sorted([*files, ROOT / "search/cli/main.py", ROOT / "search/cli/parsers.py"]):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            made = node.exc
            if isinstance(made.func, ast.Name) and made.func.id in TYPED:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", made, text_of(made)


def text_of(call: ast.Call) -> str:
    """All texts in a call, one after the other."""
    values = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    return " ".join(value for value in values if isinstance(value, str))


def says_what_to_try(call: ast.Call, text: str) -> bool:
    """Whether a message advises, by its own words or those of a function or error in it."""
    names = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
    handed_on = {"error", "expected", "advice", "why"}
    return any(word in text for word in ADVICE) or bool(names & (ADVISING | handed_on))


FOUND = list(raised())


@pytest.mark.parametrize(("call", "text"), [one[1:] for one in FOUND], ids=[o[0] for o in FOUND])
def test_a_refusal_says_what_to_try(call: ast.Call, text: str) -> None:
    assert says_what_to_try(call, text), text
