"""Parses a hyperas template and removes what uses hyperas itself."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from lstm_sweep.models.errors import cut
from lstm_sweep.spaces.template.scopes import Definition, functions, loaded

Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Parsed:
    """A template without the code that uses hyperas."""

    tree: ast.Module
    #: what was removed, for users
    notes: tuple[str, ...]
    #: names of the functions that `optim.minimize` was given as `data` and `model`
    roles: dict[str, str]


def parse(source: str, path: str) -> Parsed:
    """Parse a file and remove its imports and calls of hyperas."""
    tree = ast.parse(source, path)
    own = _own_names(tree)
    roles, notes, cleaner = _roles(tree, own), _cut_driver(tree, own), _WithoutHyperas(tree)
    return Parsed(cleaner.visit(tree), (*notes, *cleaner.notes), roles)


def _is_hyperas(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "hyperas" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hyperas"


def _own_names(tree: ast.Module) -> set[str]:
    """Names imported from hyperas, except its distributions, and definitions that use them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "hyperas.distributions":
            continue
        if isinstance(node, Import) and _is_hyperas(node):
            names |= {a.asname or a.name.partition(".")[0] for a in node.names if _of(node, a)}
    defined = [node for node in tree.body if isinstance(node, Definition)]
    while more := [one for one in defined if one.name not in names and loaded(one) & names]:
        names |= {one.name for one in more}
    return names


def _of(node: Import, alias: ast.alias) -> bool:
    return isinstance(node, ast.ImportFrom) or alias.name.partition(".")[0] == "hyperas"


def _roles(tree: ast.Module, own: set[str]) -> dict[str, str]:
    """Functions of the file that are passed to `optim.minimize(model, data)` or a similar call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and loaded(node.func) & own:
            first = ("model", "data") if ast.unparse(node.func).endswith("minimize") else ()
            given: dict[str, ast.expr] = dict(zip(first, node.args, strict=False))
            given |= {word.arg: word.value for word in node.keywords if word.arg}
            named = {role: given.get(role) for role in ("model", "data")}
            found = {role: one.id for role, one in named.items() if isinstance(one, ast.Name)}
            if set(found.values()) & set(functions(tree)):
                return {role: name for role, name in found.items() if name in functions(tree)}
    return {}


def _cut_driver(tree: ast.Module, own: set[str]) -> tuple[str, ...]:
    """Remove the search by hyperas and `__main__` blocks, and what follows, except definitions.

    Imports are kept, those of `__main__` blocks too. Returns a note for users on each removal.
    """
    kept, notes, cutting = list[ast.stmt](), list[str](), False
    for node in tree.body:
        if _is_main(node):
            notes.append(f"line {node.lineno}: what stands under __name__ == '__main__' is ignored")
            kept += [one for one in ast.walk(node) if isinstance(one, Import)]
            cutting = cutting or bool(loaded(node) & own)
        elif _defines(node) or not (cutting or loaded(node) & own):
            kept.append(node)
        elif not cutting:
            cutting = True
            notes.append(f"line {node.lineno}: {_call(node)} is ignored, and what is done after it")
    tree.body = kept
    return tuple(notes)


def _defines(node: ast.stmt) -> bool:
    """Whether a statement is a definition, an import, or a `try` with only these."""
    if isinstance(node, ast.Try):
        return all(isinstance(one, Definition | Import) for one in node.body)
    return isinstance(node, Definition | Import)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in loaded(node.test)


def _call(node: ast.stmt) -> str:
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    return f"{cut(ast.unparse(calls[0].func), 40)}(...)" if calls else cut(ast.unparse(node), 40)


class _WithoutHyperas(ast.NodeTransformer):
    """Removes imports of hyperas, which needs an old Keras, and commands of IPython."""

    def __init__(self, tree: ast.Module) -> None:
        self.notes: list[str] = []
        found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = [one for node in found if _is_hyperas(node) for one in node.names]
        #: names of `hyperas.distributions.conditional`, which returns its argument
        self._conditional = {
            "conditional" if one.name == "*" else one.asname or one.name
            for one in names
            if one.name in ("conditional", "*")
        }

    def visit_Import(self, node: ast.Import) -> ast.AST:
        rest = [alias for alias in node.names if alias.name.partition(".")[0] != "hyperas"]
        return ast.copy_location(ast.Import(rest) if rest else ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if _is_hyperas(node) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = isinstance(node.func, ast.Name) and node.func.id in self._conditional
        return node.args[0] if named and len(node.args) == 1 else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if not is_magic(node.value):
            return self.generic_visit(node)
        self.notes.append(f"line {node.lineno}: {cut(ast.unparse(node), 60)} is ignored")
        return ast.copy_location(ast.Pass(), node)


def is_magic(node: ast.AST, *, cell: bool = False) -> bool:
    """Whether a call is what nbconvert makes of a line command, or with `cell` a cell command."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name("get_ipython")), attr=name)):
            return name.endswith("cell_magic") == cell
    return False
