"""Evaluates constant expressions of a template statically, without running the file.

Options may be a list, the name of one, or a range of numbers: `range(16, 65, 16)`,
`np.linspace(0, 1, 5)`, `[2 ** i for i in range(4, 9)]`. Running the file would import Keras, which
takes ten seconds. Supported are literals, arithmetic, names that are assigned once, comprehensions
over one variable, and the functions listed at the end.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: largest number of items of a sequence
MAX_ITEMS = 10_000

Names = Mapping[str, ast.expr]


class NotConstantError(ValueError):
    """An expression cannot be evaluated statically."""


#: errors that evaluating an unsupported or wrong expression may raise
ERRORS = (ArithmeticError, LookupError, TypeError, ValueError)


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
    """Elements of a sequence, each as an expression, which need not be constant.

    Raises:
        NotConstantError: the sequence is not constant.
    """
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            parts = (
                elements(one.value, names) if isinstance(one, ast.Starred) else [one]
                for one in items
            )
            return [one for part in parts for one in part]
        case ast.Name(id=name) if name in names:
            return elements(names[name], _without(names, name))
        case ast.Dict(keys=keys):
            return [key for key in keys if key]
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[given], keywords=[]):
            return elements(given, names)
        case ast.Call(func=ast.Attribute(value=given, attr="keys" | "tolist"), args=[]):
            return elements(given, names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            try:
                return elements(left, names) + elements(right, names)
            except NotConstantError:  # the sum of an array and a number
                pass
    try:
        return [_literal(one) for one in _items(_value(node, names))]
    except ERRORS as error:
        raise NotConstantError(str(error)) from None


def _without(names: Names, name: str) -> Names:
    """Names without `name`, for its own expression: prevents endless recursion."""
    return {known: value for known, value in names.items() if known != name}


def _literal(value: Any) -> ast.expr:
    """Return the literal of a value."""
    node = ast.parse(repr(value), mode="eval").body
    if ast.literal_eval(node) != value:  # NaN, or a value without a literal
        raise NotConstantError
    return node


def _items(value: Any) -> list[Any]:
    """The items of a sequence or an array, at most `MAX_ITEMS`."""
    if not isinstance(value, list | range | np.ndarray) or len(value) > MAX_ITEMS:
        raise NotConstantError
    return value.tolist() if isinstance(value, np.ndarray) else list(value)


def _value(node: ast.expr, names: Names) -> Any:
    """Evaluate an expression; raises one of `ERRORS` if it is not constant."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(one, names) for one in items]
        case ast.ListComp(
            elt=each, generators=[ast.comprehension(target=ast.Name(id=name), iter=over, ifs=[])]
        ):
            items = elements(over, names)
            return [_value(each, {**names, name: one}) for one in items[:MAX_ITEMS]]
        case ast.Name(id=name) if name in names:
            return _value(names[name], _without(names, name))
        case ast.Attribute(attr=name, value=ast.Name()) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand):
            return UNARY[type(sign)](_value(operand, names))
        case ast.BinOp(left=left, op=sign, right=right):
            return _arithmetic(sign, _value(left, names), _value(right, names))
        case ast.Call(func=ast.Attribute(value=given, attr="astype"), args=[ast.Name(id="int")]):
            return _value(given, names).astype(int)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            named = {str(word.arg): _value(word.value, names) for word in node.keywords}
            return FUNCTIONS[name](*(_value(one, names) for one in node.args), **named)
    raise NotConstantError


def _arithmetic(sign: ast.operator, left: Any, right: Any) -> Any:
    if not all(isinstance(side, int | float | np.ndarray | np.generic) for side in (left, right)):
        raise NotConstantError
    if isinstance(sign, ast.Pow) and isinstance(left, int) and isinstance(right, int):
        found = float(left) ** float(right)  # of floats, since integers may take for ever
        return int(found) if right >= 0 and abs(found) < 2**53 else found
    return BINARY[type(sign)](left, right)


def _arange(*ends: Any, **named: Any) -> Any:
    ends = (*ends, *(named[name] for name in ("start", "stop", "step") if name in named))
    low, high, step = (0, ends[0], 1) if len(ends) == 1 else (*ends, 1)[:3]
    if (high - low) / step > MAX_ITEMS:
        raise NotConstantError
    return np.arange(low, high, step)


def _spaced(space: Callable[..., Any]) -> Callable[..., Any]:
    def spaced(low: Any, high: Any, num: int = 50) -> Any:
        if num > MAX_ITEMS:
            raise NotConstantError
        return space(low, high, num)

    return spaced


CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}
UNARY: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Pow: operator.pow,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
#: functions of Python, math and NumPy, by the last part of their names
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp, "sqrt": math.sqrt,
    "int": int, "float": float, "round": round, "power": np.power, "range": range,
    "array": np.array, "arange": _arange, "linspace": _spaced(np.linspace),
    "logspace": _spaced(np.logspace),
}  # fmt: skip
