"""Functions and names in the syntax tree of a template: definitions, uses, constants, arguments."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Set

#: methods that change a list or a dict
CHANGING = ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Functions at the top level of a module, by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def loaded(node: ast.AST) -> set[str]:
    """Names that are read anywhere within a node."""
    names = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return {one.id for one in names if isinstance(one.ctx, ast.Load)}


def stored(scope: ast.AST) -> Counter[str]:
    """Count how often each name is bound in a module or function, without its arguments."""
    found = Counter[str]()
    for node in _statements(scope):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found[name] += 1
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                found[name] += 1
            case ast.ExceptHandler(name=str(name)):
                found[name] += 1
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found.update(one.asname or one.name.partition(".")[0] for one in aliases)
    return found


def constants(scope: ast.Module | ast.FunctionDef) -> dict[str, ast.expr]:
    """Expressions of names that a scope assigns once, unconditionally, and never changes."""
    once, changed = stored(scope), set(_changed(scope))
    found: dict[str, ast.expr] = {}
    for statement in scope.body:
        match statement:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                pairs = list(zip(names, values, strict=False))
            case ast.Assign(targets=[target], value=value):
                pairs = [(target, value)]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = [(target, value)]
            case _:
                continue
        found |= {one.id: value for one, value in pairs if isinstance(one, ast.Name)}
    return {name: one for name, one in found.items() if once[name] == 1 and name not in changed}


def _changed(scope: ast.AST) -> Iterator[str]:
    """Names of lists and dicts that are changed in place."""
    for node in ast.walk(scope):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if method in CHANGING:
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                yield name


def arguments(function: ast.FunctionDef) -> list[str]:
    """Positional arguments of a function, in their order."""
    return [one.arg for one in [*function.args.posonlyargs, *function.args.args]]


def required(function: ast.FunctionDef) -> list[str]:
    """Arguments of a function that have no default."""
    positional = arguments(function)
    words = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    needed = positional[: len(positional) - len(function.args.defaults)]
    return [*needed, *(word.arg for word, default in words if default is None)]


def returned(function: ast.FunctionDef) -> list[tuple[str, ...]]:
    """Names in each `return` of a function, an empty string for other expressions."""
    values = [node.value for node in _statements(function) if isinstance(node, ast.Return)]
    return [_names(value) for value in values if value is not None]


def _statements(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes of a scope except those inside its functions, classes and lambdas."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, Definition | ast.Lambda | ast.arguments):
            yield from _statements(node)


def _names(value: ast.expr) -> tuple[str, ...]:
    elements = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
    return tuple(node.id if isinstance(node, ast.Name) else "" for node in elements)


def reached(tree: ast.Module, *names: str) -> set[str]:
    """Functions and classes at the top level that are used, directly or not.

    They are used by those in `names`, which are included, or by the module's other statements.
    """
    defined = {node.name: node for node in tree.body if isinstance(node, Definition)}
    found, more = set[str](), set(names)
    for node in tree.body:
        more |= set() if isinstance(node, Definition) else loaded(node)
    while new := (more & set(defined)) - found:
        found |= new
        more = set[str]().union(*(loaded(defined[name]) for name in new))
    return found


def share(tree: ast.Module, data: ast.FunctionDef) -> None:
    """Declare those names of `data` as global that the rest of the file reads.

    hyperas copies the body of `data` in front of `create_model`. Names that the file or Python
    defines keep their meaning, unless `data` returns them.
    """
    rest = [node for node in tree.body if node is not data]
    kept = set(stored(tree)) | set(dir(builtins))
    kept -= set[str]().union(*returned(data))
    wanted = set[str]().union(*map(loaded, rest)) & set(stored(data)) - kept
    names = wanted - set(_bound_otherwise(data))
    if names:
        data.body.insert(0, ast.copy_location(ast.Global(sorted(names)), data.body[0]))


def _bound_otherwise(function: ast.FunctionDef) -> Iterator[str]:
    """Names of a function that cannot be declared global."""
    for node in ast.walk(function):
        match node:
            case ast.arg(arg=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Nonlocal(names=names) | ast.Global(names=names):
                yield from names


def drop(function: ast.FunctionDef, names: Set[str]) -> None:
    """Remove arguments in `names`, which have no default, from a function."""
    given = function.args
    for some in (given.posonlyargs, given.args):
        some[:] = [one for one in some if one.arg not in names]
    words = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    kept = [(word, default) for word, default in words if word.arg not in names]
    given.kwonlyargs = [word for word, _ in kept]
    given.kw_defaults = [default for _, default in kept]
