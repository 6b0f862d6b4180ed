"""Evaluates constant expressions of a template statically, without running the file.

Hyperopt takes any sequence as options: `range(16, 65, 16)`, `np.linspace(0, 1, 5)`, `[64] * 2`, the
name of a list. Running the file would import Keras, which takes ten seconds. Supported are
literals, arithmetic, comparisons, comprehensions, names that are assigned once, and the functions
and methods listed at the end.
"""

from __future__ import annotations

import ast
import copy
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

#: largest number of items of a sequence
MAX_ITEMS = 10_000

Names = Mapping[str, ast.expr]


class NotConstantError(ValueError):
    """An expression cannot be evaluated statically."""


#: errors that evaluating an unsupported or wrong expression may raise
ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def number(node: ast.expr, names: Names) -> int | float | None:
    """Evaluate an expression; None if it is not constant or not a finite number."""
    try:
        found = _value(node, names)
    except ERRORS:
        return None
    found = found.item() if isinstance(found, np.generic) else found
    fits = isinstance(found, int | float) and not isinstance(found, bool)
    return found if fits and math.isfinite(found) else None


def elements(node: ast.expr, names: Names) -> list[ast.expr]:
    """Elements of a sequence, each as an expression, which may be of any kind.

    Raises:
        NotConstantError: the sequence is not constant.
    """
    try:
        try:
            return _written_elements(node, names)
        except NotConstantError:
            return [_literal(one) for one in _items(_value(node, names))]
    except ERRORS as error:
        raise NotConstantError(str(error)) from None


# --- sequences whose elements need not be constant ------------------------------------------------


def _written_elements(node: ast.expr, names: Names) -> list[ast.expr]:
    """Elements of a list, tuple, sum, repetition, comprehension or dict view."""
    found: list[ast.expr] = []
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for one in items:
                found += elements(one.value, names) if isinstance(one, ast.Starred) else [one]
        case ast.Name(id=name) if name in names:
            found = _written_elements(names[name], _without(names, name))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _written_elements(left, names) + _written_elements(right, names)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            some, times = (left, right) if number(left, names) is None else (right, left)
            found = _repeated(_written_elements(some, names), number(times, names))
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
            raise NotConstantError
    return _items(found)


def _without(names: Names, name: str) -> Names:
    """Names without `name`, for its own expression: prevents endless recursion."""
    return {known: value for known, value in names.items() if known != name}


def _repeated(found: list[ast.expr], times: int | float | None) -> list[ast.expr]:
    if not isinstance(times, int) or len(found) * times > MAX_ITEMS:
        raise NotConstantError
    return found * times


def _table(node: ast.expr, names: Names) -> ast.Dict:
    found = names.get(node.id) if isinstance(node, ast.Name) else node
    if not isinstance(found, ast.Dict):
        raise NotConstantError
    return found


def _keys(node: ast.expr, names: Names) -> list[ast.expr]:
    try:
        return [key for key in _table(node, names).keys if key]
    except NotConstantError:
        return []


def _bindings(generators: list[ast.comprehension], names: Names) -> Iterator[dict[str, ast.expr]]:
    """Bindings of a comprehension's variables in each of its iterations."""
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
    raise NotConstantError


class _Bound(ast.NodeTransformer):
    """Replaces names by the expressions that they are bound to."""

    def __init__(self, bound: Names) -> None:
        self._bound = bound

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self._bound[node.id]) if node.id in self._bound else node


def _folded(node: ast.expr, names: Names) -> ast.expr:
    """Replace an expression by its value if it is constant."""
    try:
        return _literal(_value(node, names))
    except ERRORS:
        return node


def _literal(value: Any) -> ast.expr:
    """Return the literal of a value."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    node = ast.parse(repr(value), mode="eval").body
    if ast.literal_eval(node) != value:  # NaN, or a value without a literal
        raise NotConstantError
    return node


# --- constants ------------------------------------------------------------------------------------


def _items(value: Any) -> list[Any]:
    """The items of an iterable, at most `MAX_ITEMS`; strings are refused."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise NotConstantError
    if hasattr(value, "__len__") and len(value) > MAX_ITEMS:
        raise NotConstantError
    return list(value)


def _value(node: ast.expr, names: Names) -> Any:  # noqa: C901 - one case a kind of node
    """Evaluate an expression; raises one of `ERRORS` if it is not constant."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List() | ast.Tuple() | ast.ListComp() | ast.GeneratorExp():
            found = [_value(one, names) for one in _written_elements(node, names)]
            return tuple(found) if isinstance(node, ast.Tuple) else found
        case ast.Dict(keys=keys, values=values):
            if None in keys:
                raise NotConstantError
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
                raise NotConstantError
            return _called(function, positional, named, names)
    raise NotConstantError


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
            raise NotConstantError
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return FUNCTIONS[name](*given, **named)
    raise NotConstantError


def _arithmetic(sign: ast.operator, left: Any, right: Any) -> Any:
    """Apply an operator to numbers, arrays or sequences; refuses results that are too large."""
    sizes = [len(side) for side in (left, right) if isinstance(side, list | tuple | str)]
    numbers = [side for side in (left, right) if isinstance(side, int | float)]
    if sizes and sum(sizes) * max([1, *numbers]) > MAX_ITEMS:
        raise NotConstantError
    if isinstance(sign, ast.Pow) and len(numbers) == 2:
        found = float(left) ** float(right)  # of floats, since integers may take for ever
        whole = isinstance(left, int) and isinstance(right, int) and right >= 0
        return int(found) if whole and abs(found) < 2**53 else found
    return BINARY[type(sign)](left, right)


def _arange(*ends: Any, dtype: Any = None, **named: Any) -> Any:
    ends = (*ends, *(named[name] for name in ("start", "stop", "step") if name in named))
    low, high, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
    if (high - low) / step > MAX_ITEMS:
        raise NotConstantError
    found = np.arange(low, high, step)
    return found if dtype is None else found.astype(dtype)


def _spaced(space: Callable[..., Any]) -> Callable[..., Any]:
    def spaced(low: Any, high: Any, num: int = 50, **named: Any) -> Any:
        if num > MAX_ITEMS:
            raise NotConstantError
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
#: functions of Python, math and NumPy, by the last part of their names
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
