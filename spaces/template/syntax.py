"""The syntax tree of a hyperas template: its functions and names, its placeholders `{{...}}`.

What uses hyperas itself is removed.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass

from lstm_sweep.models.errors import cut

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
    """Remove hyperas's search, `__main__` blocks and what follows, but definitions and imports."""
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


#: methods that change a list or a dict
CHANGING = ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "update")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


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
    for node in ast.walk(scope):
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
