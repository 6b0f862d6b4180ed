"""The placeholders `{{...}}` in the syntax tree of a template."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lstm_sweep.spaces.template.syntax import is_magic

#: functions that only convert or limit a value, so the name is that of what they are passed to
PASSING = ("int", "float", "round", "abs", "min", "max", "str", "bool")


def is_placeholder(node: ast.AST) -> bool:
    """Whether a node is a placeholder `{{...}}`: a set whose only element is a set."""
    return isinstance(node, ast.Set) and len(node.elts) == 1 and isinstance(node.elts[0], ast.Set)


def content_of(node: ast.Set) -> ast.expr:
    """The expression inside the braces."""
    inside = node.elts[0]
    assert isinstance(inside, ast.Set)
    return inside.elts[0] if len(inside.elts) == 1 else inside


@dataclass(frozen=True)
class Placeholder:
    """A placeholder and where it is in the file."""

    node: ast.Set
    #: name of the argument, function or variable that its value is passed or assigned to
    argument: str
    #: name of the function or class at the top level that contains it, or empty
    within: str


def find_all(tree: ast.Module) -> list[Placeholder]:
    """All outermost placeholders, in the order of the file."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = [
        Placeholder(node, _argument(node, parents), getattr(statement, "name", ""))
        for statement in tree.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Set) and is_placeholder(node)
    ]
    return sorted(found, key=lambda place: (place.node.lineno, place.node.col_offset))


def misplaced(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield each placeholder or notebook command in a wrong place, and what is wrong."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Set) and is_placeholder(node):
            if any(is_placeholder(one) for one in ast.walk(content_of(node))):
                yield node, "a {{...}} within a {{...}}, expected each on its own"
        elif isinstance(node, ast.keyword) and node.arg is None and is_placeholder(node.value):
            yield node.value, "**{{...}} names no argument, expected such as units={{...}}"
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None and is_placeholder(value):
                    yield value, "**{{...}} names no key, expected such as 'units': {{...}}"
        elif isinstance(node, ast.Call) and is_magic(node, cell=True):
            yield node, "a command of a notebook's cell, expected the lines of the cell themselves"
        elif isinstance(node, ast.Starred) and is_placeholder(node.value):
            yield node.value, "*{{...}} names no argument, expected one {{...}} for each"


def _argument(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Name of the argument, function or variable that the value of an expression goes to."""
    above = parents[node]
    if isinstance(above, ast.keyword) and above.arg:
        return above.arg
    if isinstance(above, ast.Call) and node is not above.func:
        name = ast.unparse(above.func).rpartition(".")[2]
        if name in PASSING:
            return _argument(above, parents)
        return name if name.isidentifier() else "argument"
    if isinstance(above, ast.Assign):
        return _target(above.targets[0])
    if isinstance(above, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        return _target(above.target)
    if isinstance(above, ast.Dict):
        keys = [k for k, v in zip(above.keys, above.values, strict=True) if v is node]
        key = keys[0] if keys else None
        if isinstance(key, ast.Constant) and str(key.value).isidentifier():
            return str(key.value)
    if isinstance(above, ast.If | ast.IfExp | ast.While):
        return "if" if above.test is node else _argument(above, parents)
    if isinstance(above, ast.expr):
        return _argument(above, parents)
    return type(above).__name__.lower()


def _target(node: ast.expr) -> str:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name or "value"


def filled(tree: ast.Module, value: Callable[[int, ast.Set], ast.expr]) -> ast.Module:
    """Replace each placeholder by `value(number, node)`; numbers count in the order of the file."""
    places = {id(found.node): place for place, found in enumerate(find_all(tree))}

    class Filler(ast.NodeTransformer):
        def visit_Set(self, node: ast.Set) -> ast.AST:
            place = places.get(id(node))
            return self.generic_visit(node) if place is None else value(place, node)

    filled: ast.Module = Filler().visit(tree)
    return filled
