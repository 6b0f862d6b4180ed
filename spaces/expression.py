"""What an expression of a template is, as far as its text tells; nothing of the file is run for it.

Hyperopt takes any sequence as options: `range(16, 65, 16)`, `np.linspace(0, 1, 5)`, `[64] * 2`, a
list that has a name. To run the file would mean to import Keras, which takes ten seconds. So here
is what computes alone: literals, arithmetic, names that are assigned once, and some functions.
"""

from __future__ import annotations

import ast
import copy
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

#: items of a sequence, at most
MOST = 10_000

Names = Mapping[str, ast.expr]


class UntoldError(ValueError):
    """The text does not tell what an expression is."""


#: what goes wrong where an expression is worked out that its text does not tell
ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def number(node: ast.expr, names: Names) -> int | float | None:
    """The number that an expression is; None if it is none, or cannot be told."""
    try:
        found = _value(node, names)
    except ERRORS:
        return None
    found = found.item() if isinstance(found, np.generic) else found
    fits = isinstance(found, int | float) and not isinstance(found, bool)
    return found if fits and math.isfinite(found) else None


def elements(node: ast.expr, names: Names) -> list[ast.expr]:
    """The elements of a sequence, each as an expression.

    Raises:
        UntoldError: the text does not tell them.
    """
    try:
        try:
            return _spelled(node, names)
        except UntoldError:
            return [_written(one) for one in _items(_value(node, names))]
    except ERRORS as error:
        raise UntoldError(str(error)) from None


# --- elements as they are written -----------------------------------------------------------------


def _spelled(node: ast.expr, names: Names) -> list[ast.expr]:
    """The elements of a list that is written out, which may be anything."""
    found: list[ast.expr] = []
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for one in items:
                found += elements(one.value, names) if isinstance(one, ast.Starred) else [one]
        case ast.Name(id=name) if name in names:
            found = _spelled(names[name], _without(names, name))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _spelled(left, names) + _spelled(right, names)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            some, times = (left, right) if number(left, names) is None else (right, left)
            found = _repeated(_spelled(some, names), number(times, names))
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[given], keywords=[]):
            found = _keys(given, names) or elements(given, names)
        case ast.Call(func=ast.Attribute(value=given, attr="keys" | "values" as which), args=[]):
            table = _table(given, names)
            found = [key for key in table.keys if key] if which == "keys" else table.values
        case (
            ast.ListComp(elt=each, generators=generators)
            | ast.GeneratorExp(elt=each, generators=generators)
        ):
            for bound in _bindings(generators, names):
                found.append(_folded(_Bound(bound).visit(copy.deepcopy(each)), names))
        case _:
            raise UntoldError
    return _items(found)


def _without(names: Names, name: str) -> Names:
    """Names without one whose own value is looked at: it cannot be there."""
    return {known: value for known, value in names.items() if known != name}


def _repeated(found: list[ast.expr], times: int | float | None) -> list[ast.expr]:
    if not isinstance(times, int) or len(found) * times > MOST:
        raise UntoldError
    return found * times


def _table(node: ast.expr, names: Names) -> ast.Dict:
    found = names.get(node.id) if isinstance(node, ast.Name) else node
    if not isinstance(found, ast.Dict):
        raise UntoldError
    return found


def _keys(node: ast.expr, names: Names) -> list[ast.expr]:
    try:
        return [key for key in _table(node, names).keys if key]
    except UntoldError:
        return []


def _bindings(generators: list[ast.comprehension], names: Names) -> Iterator[dict[str, ast.expr]]:
    """What the names of a comprehension stand for, in each round."""
    if not generators:
        yield {}
        return
    first, *rest = generators
    for one in elements(first.iter, names):
        bound = _matched(first.target, one)
        if all(_value(condition, {**names, **bound}) for condition in first.ifs):
            for more in _bindings(rest, {**names, **bound}):
                yield {**bound, **more}


def _matched(target: ast.expr, one: ast.expr) -> dict[str, ast.expr]:
    match target, one:
        case ast.Name(id=name), _:
            return {name: one}
        case ast.Tuple(elts=targets), ast.Tuple(elts=parts) | ast.List(elts=parts):
            pairs = zip(targets, parts, strict=True)
            return {name: part for pair in pairs for name, part in _matched(*pair).items()}
    raise UntoldError


class _Bound(ast.NodeTransformer):
    """Puts what names stand for in their places."""

    def __init__(self, bound: Names) -> None:
        self._bound = bound

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self._bound[node.id]) if node.id in self._bound else node


def _folded(node: ast.expr, names: Names) -> ast.expr:
    """An expression as its value, if that is told."""
    try:
        return _written(_value(node, names))
    except ERRORS:
        return node


def _written(value: Any) -> ast.expr:
    """A value as it would be written."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    node = ast.parse(repr(value), mode="eval").body
    if ast.literal_eval(node) != value:  # such as NaN, or what is no literal
        raise UntoldError
    return node


# --- values ---------------------------------------------------------------------------------------


def _items(value: Any) -> list[Any]:
    """The items of a sequence, not too many."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise UntoldError
    if hasattr(value, "__len__") and len(value) > MOST:
        raise UntoldError
    return list(value)


def _value(node: ast.expr, names: Names) -> Any:
    """What an expression is; one of `ERRORS` if that is not told."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List() | ast.Tuple() | ast.ListComp() | ast.GeneratorExp():
            found = [_value(one, names) for one in _spelled(node, names)]
            return tuple(found) if isinstance(node, ast.Tuple) else found
        case ast.Dict(keys=keys, values=values):
            if None in keys:
                raise UntoldError
            pairs = zip(keys, values, strict=True)
            return {_value(key, names): _value(one, names) for key, one in pairs if key}
        case ast.Name(id=name) if name in names:
            return _value(names[name], _without(names, name))
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
        case ast.Attribute(attr=name, value=ast.Name()) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand):
            return UNARY[type(sign)](_value(operand, names))
        case ast.BinOp(left=left, op=sign, right=right):
            return _arithmetic(sign, _value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return COMPARISONS[type(sign)](_value(left, names), _value(right, names))
        case ast.Subscript(value=given, slice=place):
            return _value(given, names)[_place(place, names)]
        case ast.Call(func=function, args=given, keywords=words):
            positional = [_value(one, names) for one in given]
            named = {word.arg: _value(word.value, names) for word in words if word.arg}
            if len(named) < len(words):
                raise UntoldError
            return _called(function, positional, named, names)
    raise UntoldError


def _place(node: ast.expr, names: Names) -> Any:
    if not isinstance(node, ast.Slice):
        return _value(node, names)
    ends = (node.lower, node.upper, node.step)
    return slice(*(None if end is None else _value(end, names) for end in ends))


def _called(function: ast.expr, given: list[Any], named: dict[str | Any, Any], names: Names) -> Any:
    match function:
        case ast.Attribute(value=value, attr=name) if name in METHODS:
            return METHODS[name](_value(value, names), *given)
        case ast.Name(id=name) if name in names:
            raise UntoldError
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return FUNCTIONS[name](*given, **named)
    raise UntoldError


def _arithmetic(sign: ast.operator, left: Any, right: Any) -> Any:
    """Of numbers, of arrays, and of lists."""
    sizes = [len(side) for side in (left, right) if isinstance(side, list | tuple | str)]
    numbers = [side for side in (left, right) if isinstance(side, int | float)]
    if sizes and sum(sizes) * max([1, *numbers]) > MOST:
        raise UntoldError
    if isinstance(sign, ast.Pow) and len(numbers) == 2:
        found = float(left) ** float(right)  # of floats: one of integers may never end
        whole = isinstance(left, int) and isinstance(right, int) and right >= 0
        return int(found) if whole and abs(found) < 2**53 else found
    return BINARY[type(sign)](left, right)


def _arange(*ends: Any, dtype: Any = None, **named: Any) -> Any:
    ends = (*ends, *(named[name] for name in ("start", "stop", "step") if name in named))
    low, high, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
    if (high - low) / step > MOST:
        raise UntoldError
    found = np.arange(low, high, step)
    return found if dtype is None else found.astype(dtype)


def _spaced(space: Callable[..., Any]) -> Callable[..., Any]:
    def spaced(low: Any, high: Any, num: int = 50, **named: Any) -> Any:
        if num > MOST:
            raise UntoldError
        return space(low, high, num, **named)

    return spaced


CONSTANTS: Mapping[str, Any] = {
    "pi": math.pi, "e": math.e, "int32": int, "int64": int, "float32": float, "float64": float,
}  # fmt: skip
TYPES: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
UNARY: Mapping[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right, ast.NotIn: lambda left, right: left not in right,
}  # fmt: skip
#: of Python, math and NumPy, by their last names
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp, "sqrt": math.sqrt,
    "floor": math.floor, "ceil": math.ceil, **TYPES,
    "abs": abs, "round": round, "min": min, "max": max, "sum": sum, "len": len, "range": range,
    "list": _items, "tuple": lambda given: tuple(_items(given)), "sorted": sorted,
    "set": lambda given: list(dict.fromkeys(_items(given))),
    "reversed": lambda given: _items(given)[::-1],
    "zip": lambda *given: list(zip(*map(_items, given), strict=False)),
    "enumerate": lambda given, start=0: list(enumerate(_items(given), start)),
    "array": np.array, "asarray": np.asarray, "arange": _arange, "linspace": _spaced(np.linspace),
    "logspace": _spaced(np.logspace), "geomspace": _spaced(np.geomspace), "power": np.power,
    "unique": np.unique, "concatenate": np.concatenate, "append": np.append,
}  # fmt: skip
METHODS: Mapping[str, Callable[..., Any]] = {
    "tolist": lambda value: value.tolist(),
    "astype": lambda value, kind: value.astype(kind),
    "keys": lambda value: list(value.keys()),
    "values": lambda value: list(value.values()),
    "items": lambda value: list(value.items()),
    "copy": lambda value: value.copy(),
}
