"""Every refusal of the API and of the commands says what to try."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError, NoRoomError
from lstm_sweep.search.api import errors
from lstm_sweep.search.store.faults import StoreError

ROOT = Path(__file__).resolve().parents[4]
#: words by which a message says what to try
ADVICE = ("expected", "possible: ", "--help", "lstm-sweep ", "`resume` goes on")
TYPED = {
    name for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
} | {"NameTakenError"}  # fmt: skip
#: functions that list what is possible, or say how to go on
ADVISING = {"one_of", "resuming", "how_to_go_on", "_elsewhere"}


def raised() -> Iterator[tuple[str, ast.Call, str]]:
    """Where a typed error is raised, the call that makes it, and all text in that."""
    folders = ("api", "actions", "client", "commands")
    files = [file for name in folders for file in (ROOT / "search" / name).glob("*.py")]
    for file in sorted([*files, ROOT / "search/cli.py", ROOT / "search/arguments.py"]):
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


def test_there_are_refusals_of_each_kind() -> None:
    kinds = {call.func.id for _, call, _ in FOUND if isinstance(call.func, ast.Name)}
    assert {"InputError", "SweepRunsError", "SweepExistsError"} <= kinds
    assert len(FOUND) > 20


@pytest.mark.parametrize(("call", "text"), [one[1:] for one in FOUND], ids=[o[0] for o in FOUND])
def test_a_refusal_says_what_to_try(call: ast.Call, text: str) -> None:
    assert says_what_to_try(call, text), text


def test_typed_errors_are_those_that_the_program_catches() -> None:
    typed = [getattr(errors, name) for name in TYPED - {"NameTakenError"}]
    alone = {errors.ServiceEndsError, NoRoomError}
    assert all(issubclass(one, InputError | StoreError) or one in alone for one in typed)
