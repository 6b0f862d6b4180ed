"""Programs that the documents show name what the package has: methods, properties, arguments."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep import SweepFields
from tests.unit.documents import blocks

PROGRAMS = [one for one in blocks("python") if "import lstm_sweep as ls" in one[1]]


class Names:
    """Follows values of the package's types through a program, and notes what they do not have."""

    def __init__(self, program: str) -> None:
        self._types: dict[str, Any] = {"ls": ls}
        self.found = 0
        self.missing = list[str]()
        for statement in ast.parse(program).body:
            for node in _inside_out(statement):
                if isinstance(node, ast.Attribute | ast.Call):
                    self._look_up(node)
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self._types[statement.targets[0].id] = self._type_of(statement.value)

    def _type_of(self, node: ast.expr) -> Any:
        """The module, class or function that an expression is, or is of; None if not known."""
        if isinstance(node, ast.Name):
            return self._types.get(node.id)
        if isinstance(node, ast.Attribute):
            member = _member(self._type_of(node.value), node.attr)
            return _returned(member.fget) if isinstance(member, property) else member
        if isinstance(node, ast.Call):
            called = self._type_of(node.func)
            return _returned(called) if inspect.isfunction(called) else None
        return None

    def _look_up(self, node: ast.Attribute | ast.Call) -> None:
        if isinstance(node, ast.Attribute):
            owner = self._type_of(node.value)
            if owner is ls or inspect.isclass(owner):
                self._note(node.attr, _member(owner, node.attr) is not None)
        elif inspect.isfunction(called := self._type_of(node.func)):
            known = inspect.signature(called).parameters
            for keyword in node.keywords:
                fields = SweepFields.__annotations__ if "fields" in known else {}
                self._note(f"{keyword.arg}=", keyword.arg in {*known, *fields})

    def _note(self, name: str, is_there: bool) -> None:
        self.found += 1
        if not is_there:
            self.missing.append(name)


def _inside_out(statement: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(statement):
        yield from _inside_out(child)
    yield statement


def _member(owner: Any, name: str) -> Any:
    """A member of the module or of a class; a field of a dataclass is what it is annotated with."""
    found = inspect.getattr_static(owner, name, None) if owner is not None else None
    if owner is ls and name in ls.__all__:
        return getattr(ls, name)
    if found is None and inspect.isclass(owner):
        own = getattr(owner, "__annotations__", {})
        made = inspect.getsource(owner.__init__) if not own else ""
        return object if name in own or f"self.{name} = " in made else None
    return found


def _returned(function: Any) -> Any:
    """The class of the package that a function returns; None for others."""
    name = str(inspect.signature(function).return_annotation)
    return getattr(ls, name) if name in ls.__all__ else None


@pytest.mark.parametrize(("page", "program"), PROGRAMS, ids=[page for page, _ in PROGRAMS])
def test_they_name_what_there_is(page: str, program: str) -> None:
    names = Names(program)
    assert not names.missing, f"{page}: {names.missing}"
    assert names.found > 0


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ("ls.lunch()", "lunch"),
        ("ls.launch(trails=3)", "trails="),
        ("sweep = ls.sweep('s')\nprint(sweep.beste.config)", "beste"),
        ("print(ls.sweep('s').status().eta)", "eta"),
        ("model = ls.launch().best.export('to', formal='keras')", "formal="),
        ("model = ls.load('to')\nmodel.generate('a', warmth=1)", "warmth="),
        ("print(ls.sweep('s').best.rerun().judgement)", "judgement"),
    ],
)
def test_a_name_that_is_not_there_is_noticed(program: str, missing: str) -> None:
    assert Names(program).missing == [missing]


@pytest.mark.parametrize(
    "program",
    [
        "s = ls.sweep('s')\nprint(s.name, s.best.config, s.status().eta_seconds, s.trials())",
        "print(ls.load('to').folder, ls.sweep('s').best.rerun(set={}).verdict)",
        "ls.launch(data='a', store='b', size_rule='off').resume(trials=3)",
    ],
)
def test_names_that_are_there_pass(program: str) -> None:
    assert not Names(program).missing
