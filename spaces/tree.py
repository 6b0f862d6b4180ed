"""The syntax tree of a hyperas template: its hyperparameters, its functions, what is hyperas's."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from models.errors import cut

#: functions that hand on what they are given
PASSING = ("int", "float", "round", "abs", "min", "max", "str", "bool")


@dataclass(frozen=True)
class Parsed:
    """A file without what is hyperas's."""

    tree: ast.Module
    #: what was left out
    notes: tuple[str, ...]
    #: the functions that `optim.minimize` was told of: `data` and `model`
    roles: dict[str, str]


def parse(source: str, path: str) -> Parsed:
    """The tree of a file, without its imports of hyperas and what calls it."""
    tree = ast.parse(source, path)
    own = _own_names(tree)
    roles, notes = _roles(tree, own), _cut_driver(tree, own)
    return Parsed(_WithoutHyperas().visit(tree), notes, roles)


# --- what is hyperas's ----------------------------------------------------------------------------


def _is_hyperas(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "hyperas" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hyperas"


def _own_names(tree: ast.Module) -> set[str]:
    """Names of hyperas, and of functions that use them; not those of its distributions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "hyperas.distributions":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom) and _is_hyperas(node):
            names |= {a.asname or a.name.partition(".")[0] for a in node.names if _of(node, a)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    while more := [f for f in functions if f.name not in names and _uses(f, names)]:
        names |= {function.name for function in more}
    return names


def _of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
    return isinstance(node, ast.ImportFrom) or alias.name.partition(".")[0] == "hyperas"


def _uses(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(one, ast.Name) and one.id in names for one in ast.walk(node))


def _roles(tree: ast.Module, own: set[str]) -> dict[str, str]:
    """The functions that `optim.minimize(model, data)` is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("minimize"):
            if not _uses(node.func, own):
                continue
            given: dict[str, ast.expr] = dict(zip(("model", "data"), node.args, strict=False))
            given |= {word.arg: word.value for word in node.keywords if word.arg}
            named = {role: given.get(role) for role in ("model", "data")}
            return {role: one.id for role, one in named.items() if isinstance(one, ast.Name)}
    return {}


def _cut_driver(tree: ast.Module, own: set[str]) -> tuple[str, ...]:
    """Leave out what searches with hyperas, and what is done with its result; say so."""
    kept, notes, cutting = list[ast.stmt](), list[str](), False
    for node in tree.body:
        defines = isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Try
        )
        if _is_main(node):
            notes.append(f"line {node.lineno}: what stands under __name__ == '__main__' is ignored")
        elif not cutting and not defines and _uses(node, own):
            cutting = True
            notes.append(f"line {node.lineno}: {_call(node)} is ignored, and what is done after it")
        elif defines or not cutting:
            kept.append(node)
    tree.body = kept
    return tuple(notes)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )


def _call(node: ast.stmt) -> str:
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    return f"{cut(ast.unparse(calls[0].func), 40)}(...)" if calls else cut(ast.unparse(node), 40)


class _WithoutHyperas(ast.NodeTransformer):
    """Leaves imports of hyperas out: it cannot be imported with Keras 3."""

    def visit_Import(self, node: ast.Import) -> ast.AST:
        rest = [alias for alias in node.names if alias.name.partition(".")[0] != "hyperas"]
        return ast.copy_location(ast.Import(rest) if rest else ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if _is_hyperas(node) else node


# --- its functions --------------------------------------------------------------------------------


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Functions at the top level by their names."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What is assigned to a name at the top level, if it is once."""
    found: dict[str, ast.expr] = {}
    twice = set()
    for statement in tree.body:
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            if isinstance(target, ast.Name) and isinstance(statement, ast.Assign):
                twice |= {target.id} & set(found)
                found[target.id] = statement.value
    return {name: node for name, node in found.items() if name not in twice}


def required(function: ast.FunctionDef) -> list[str]:
    """Arguments without which a function cannot be called."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    words = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    needed = positional[: len(positional) - len(arguments.defaults)]
    return [one.arg for one in [*needed, *(word for word, default in words if default is None)]]


def returned(function: ast.FunctionDef) -> list[tuple[str, ...]]:
    """The names in each `return` of a function with a value; what has none is an empty name."""
    values = [node.value for node in _statements(function) if isinstance(node, ast.Return)]
    return [_names(value) for value in values if value is not None]


def _statements(function: ast.AST) -> Iterator[ast.AST]:
    """Everything in a function but what is in functions and classes within it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield node
            yield from _statements(node)


def _names(value: ast.expr) -> tuple[str, ...]:
    elements = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    return tuple(node.id if isinstance(node, ast.Name) else "" for node in elements)


# --- its hyperparameters --------------------------------------------------------------------------


def is_template(node: ast.AST) -> bool:
    """Whether a node is a set that holds one set alone: `{{...}}`."""
    return isinstance(node, ast.Set) and len(node.elts) == 1 and isinstance(node.elts[0], ast.Set)


def inner(node: ast.Set) -> ast.expr:
    """What stands within the braces."""
    inside = node.elts[0]
    assert isinstance(inside, ast.Set)
    return inside.elts[0] if len(inside.elts) == 1 else inside


def templates(tree: ast.AST) -> Iterator[tuple[ast.Set, str]]:
    """Each outermost template in order of the file, and what its value is given to."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Set) and is_template(node)]
    for node in sorted(found, key=lambda node: (node.lineno, node.col_offset)):
        yield node, _argument(node, parents)


def misplaced(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Templates that stand where none can, and why."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Set) and is_template(node):
            if any(is_template(one) for one in ast.walk(inner(node))):
                yield node, "a {{...}} within a {{...}}, expected each on its own"
        elif isinstance(node, ast.keyword) and node.arg is None and is_template(node.value):
            yield node.value, "**{{...}} names no argument, expected such as units={{...}}"
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is None and is_template(value):
                    yield value, "**{{...}} names no key, expected such as 'units': {{...}}"
        elif isinstance(node, ast.Starred) and is_template(node.value):
            yield node.value, "*{{...}} names no argument, expected one {{...}} for each"


def _argument(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """What the value of an expression is given to: an argument, a function, a name."""
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
    """The tree with `value(place, template)` for each template, by its place in the file."""
    places = {id(node): place for place, (node, _) in enumerate(templates(tree))}

    class Filler(ast.NodeTransformer):
        def visit_Set(self, node: ast.Set) -> ast.AST:
            place = places.get(id(node))
            return self.generic_visit(node) if place is None else value(place, node)

    filled: ast.Module = Filler().visit(tree)
    return filled
