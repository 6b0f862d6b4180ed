"""The syntax tree of a hyperas template: its functions and names, its placeholders `{{...}}`.

What uses hyperas itself is removed.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lstm_sweep.models.errors import cut

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Parsed:
    """A template without the code that uses hyperas."""

    tree: ast.Module
    #: what was removed, for users
    notes: tuple[str, ...]
    #: names of the functions that `optim.minimize` was given as `data` and `model`
    roles: dict[str, str]


def parse(source: str, path: str) -> Parsed:
    tree = ast.parse(source, path)
    own = _own_names(tree)
    roles, notes = _roles(tree, own), _cut_search(tree, own)
    return Parsed(_WithoutHyperas().visit(tree), notes, roles)


def _of_hyperas(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "hyperas"


def _own_names(tree: ast.Module) -> set[str]:
    """Names imported from hyperas, except its distributions, and definitions that use them."""
    names = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {one.asname or "hyperas" for one in aliases if _of_hyperas(one.name)}
            case ast.ImportFrom(module=module, names=aliases):
                if _of_hyperas(module) and module != "hyperas.distributions":
                    names |= {one.asname or one.name for one in aliases}
    defined = [node for node in tree.body if isinstance(node, Definition)]
    while more := {one.name for one in defined if loaded(one) & names} - names:
        names |= more
    return names


def _roles(tree: ast.Module, own: set[str]) -> dict[str, str]:
    """Functions of the file that are passed to `optim.minimize(model, data)` or a similar call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and loaded(node.func) & own:
            given: dict[str, ast.expr] = dict(zip(("model", "data"), node.args, strict=False))
            given |= {word.arg: word.value for word in node.keywords if word.arg}
            names = {role: one.id for role, one in given.items() if isinstance(one, ast.Name)}
            if found := {role: name for role, name in names.items() if name in functions(tree)}:
                return found
    return {}


def _cut_search(tree: ast.Module, own: set[str]) -> tuple[str, ...]:
    """Remove hyperas's search, or `__main__`, and what follows, but definitions and imports."""
    kept, notes = list[ast.stmt](), tuple[str, ...]()
    for node in tree.body:
        is_main = isinstance(node, ast.If) and "__name__" in loaded(node.test)
        searches = is_main or bool(loaded(node) & own)
        if isinstance(node, Definition | ast.Import | ast.ImportFrom) or not (notes or searches):
            kept.append(node)
        elif not notes:
            calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
            what = f"{cut(ast.unparse(calls[0]), 40)}(...)" if calls else cut(ast.unparse(node), 40)
            what = "what stands under __name__ == '__main__'" if is_main else what
            notes = (f"line {node.lineno}: {what} is ignored, and what is done after it",)
    tree.body = kept
    return notes


class _WithoutHyperas(ast.NodeTransformer):
    """Removes imports of hyperas, which needs an old Keras, and commands of IPython."""

    def visit_Import(self, node: ast.Import) -> ast.AST:
        rest = [alias for alias in node.names if not _of_hyperas(alias.name)]
        return ast.copy_location(ast.Import(rest) if rest else ast.Pass(), node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if _of_hyperas(node.module) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace a call of hyperas's `conditional`, which returns its argument."""
        self.generic_visit(node)
        named = isinstance(node.func, ast.Name) and node.func.id == "conditional"
        return node.args[0] if named and len(node.args) == 1 else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        command = magic(node.value)
        if command and not command.endswith("cell_magic"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def magic(node: ast.AST) -> str:
    """The name of a command of IPython, as nbconvert writes it; empty for other nodes."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name("get_ipython")), attr=name)):
            return name
    return ""


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
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
            case ast.ExceptHandler(name=str(name)):
                found[name] += 1
            case ast.alias(name=name, asname=other):
                found[other or name.partition(".")[0]] += 1
            case _ if isinstance(node, Definition):
                found[node.name] += 1
    return found


#: methods that change a list or a dict
CHANGING = ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update")


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What is assigned to names that are bound once in the file, by a module or a function."""
    found, often = dict[str, ast.expr](), Counter[str]()
    scopes: list[ast.Module | ast.FunctionDef] = [tree, *functions(tree).values()]
    for scope in scopes:
        often += stored(scope)
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
    changed = set(_changed(tree))
    return {name: one for name, one in found.items() if often[name] == 1 and name not in changed}


def _changed(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=method) if method in CHANGING:
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                yield name


def arguments(function: ast.FunctionDef) -> list[str]:
    return [one.arg for one in [*function.args.posonlyargs, *function.args.args]]


def required(function: ast.FunctionDef) -> list[str]:
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
    """Functions and classes at the top level that `names` or other statements use somehow."""
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
    if names := set[str]().union(*map(loaded, rest)) & set(stored(data)) - kept:
        data.body.insert(0, ast.copy_location(ast.Global(sorted(names)), data.body[0]))


#: functions that only convert or limit a value, so the name is that of what they are passed to
PASSING = ("int", "float", "round", "abs", "min", "max", "str", "bool")


def is_placeholder(node: ast.AST) -> bool:
    """Whether a node is a placeholder `{{...}}`: a set whose only element is a set."""
    return isinstance(node, ast.Set) and len(node.elts) == 1 and isinstance(node.elts[0], ast.Set)


def content_of(node: ast.Set) -> ast.expr:
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
        elif isinstance(node, ast.Starred) and is_placeholder(node.value):
            yield node.value, "*{{...}} names no argument, expected one {{...}} for each"
        elif isinstance(node, ast.Call) and magic(node).endswith("cell_magic"):
            yield node, "a command of a notebook's cell, expected the lines of the cell themselves"


def _argument(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> str:
    """Name of the argument, function or variable that the value of an expression goes to."""
    match parents[node]:
        case ast.keyword(arg=str(name)):
            return name
        case ast.Call(func=function) as above if function is not node:
            name = ast.unparse(function).rpartition(".")[2]
            if name in PASSING:
                return _argument(above, parents)
            return name if name.isidentifier() else "argument"
        case (
            ast.Assign(targets=[target, *_])
            | ast.AnnAssign(target=target)
            | ast.AugAssign(target=target)
            | ast.NamedExpr(target=target)
        ):
            name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
            return name or "value"
        case ast.Dict(keys=keys, values=values) as above:
            key = next(
                (key for key, value in zip(keys, values, strict=True) if value is node), None
            )
            if isinstance(key, ast.Constant) and str(key.value).isidentifier():
                return str(key.value)
            return _argument(above, parents)
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if test is node:
            return "if"
        case ast.expr() | ast.keyword() as above:
            return _argument(above, parents)
        case above:
            return type(above).__name__.lower()


def filled(tree: ast.Module, value: Callable[[int, ast.Set], ast.expr]) -> ast.Module:
    """Replace each placeholder by `value(number, node)`; numbers count in the order of the file."""
    places = {id(found.node): place for place, found in enumerate(find_all(tree))}

    class Filler(ast.NodeTransformer):
        def visit_Set(self, node: ast.Set) -> ast.AST:
            place = places.get(id(node))
            return self.generic_visit(node) if place is None else value(place, node)

    filled: ast.Module = Filler().visit(tree)
    return filled
