"""Reads a call of one of Hyperopt's distributions in a template's syntax tree as a `Dimension`.

It differs from Hyperopt on purpose in a few points. `quniform(2, 11, 4)` gives 4 or 8, equally
likely, where Hyperopt also gives 12. Both ends of `uniformint` and `quniform` are as likely as
other values. `randint` is ordered and takes keywords. Integer steps give integers, as layers need
them. Options that are numbers are ordered.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from lstm_sweep.models.errors import InputError, cut, one_of, shown
from lstm_sweep.spaces.dimension import DIGITS, Dimension, Listed, Range, Value, clean
from lstm_sweep.spaces.space import MOST_STEPS

#: names of the arguments of each distribution
SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "choice": ("options",),
    "pchoice": ("p_options",),
    "uniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "loguniform": ("low", "high"),
    "qloguniform": ("low", "high", "q"),
    "uniformint": ("low", "high"),
    "randint": ("low", "high"),
    "normal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "lognormal": ("mu", "sigma"),
    "qlognormal": ("mu", "sigma", "q"),
}
#: largest number of characters of an option's text
LONGEST_OPTION = 100

Names = Mapping[str, ast.expr]


@dataclass(frozen=True)
class Distribution:
    """A dimension and, for `choice` and `pchoice`, the options as written."""

    dimension: Dimension
    #: value of each option in a config, in the order of the file; empty for a range
    options: tuple[Value, ...] = ()
    #: expression of each option
    expressions: tuple[ast.expr, ...] = ()
    #: remark for users, or empty
    note: str = ""


def read(label: str, call: ast.expr, names: Names) -> Distribution:
    """Read a call such as `uniform(0, 1)`; `names` has expressions of names assigned once."""
    if not isinstance(call, ast.Call):
        raise InputError(
            f"found {{{{{cut(ast.unparse(call))}}}}}, expected a distribution such as "
            f"{{{{choice([16, 32])}}}} or {{{{uniform(0, 1)}}}}"
        )
    name = ast.unparse(call.func).rpartition(".")[2]
    if name not in SIGNATURES:
        raise InputError(f"{shown(name)} is no distribution, {one_of(name, SIGNATURES)}")
    arguments = _bind(name, call)
    if name in ("choice", "pchoice"):
        [options] = arguments.values()
        return _listed(label, name, options, names)
    given = dict[str, float]()
    for key, node in arguments.items():
        if (value := number(node, names)) is None:
            raise InputError(f"{key} of {name} is {_text(node)}: expected a number")
        given[key] = value
    note = ""
    if name.endswith("uniform") and given["low"] > given["high"]:  # as in NumPy
        given["low"], given["high"] = given["high"], given["low"]
        note = f"{name} goes from {given['low']:g} to {given['high']:g}"
    try:
        return Distribution(_ranged(label, name, given), note=note)
    except OverflowError:
        logs = "loguniform(log(0.0001), log(0.1)) or lognormal(-7, 2)"
        how = f"{name} takes logarithms, expected such as {logs}"
        raise InputError(
            f"{cut(ast.unparse(call))} is too wide: "
            f"{how if 'log' in name else 'expected numbers nearer to each other'}"
        ) from None


def _text(node: ast.expr) -> str:
    return shown(ast.unparse(node))


def _bind(name: str, call: ast.Call) -> dict[str, ast.expr]:
    expected = SIGNATURES[name]
    if name == "randint" and len(call.args) == 1 and not call.keywords:
        return {"low": ast.Constant(0), "high": call.args[0]}
    given = dict(zip(expected, call.args, strict=False))
    given |= {word.arg or "": word.value for word in call.keywords}
    if set(given) != set(expected) or len(call.args) + len(call.keywords) != len(expected):
        raise InputError(f"found {cut(ast.unparse(call))}, expected {name}({', '.join(expected)})")
    return given


# --- listed options -------------------------------------------------------------------------------


def _listed(label: str, name: str, node: ast.expr, names: Names) -> Distribution:
    """The options of a choice, those of `pchoice` with their shares; of equal ones the first."""
    found = elements(node, names)
    if not found:
        expected = "[(0.3, 16), (0.7, 32)]" if name == "pchoice" else "[16, 32]"
        raise InputError(
            f"options of {name} are {_text(node)}: expected a list such as {expected}, a name of "
            f"one, or a range of numbers"
        )
    shares = [1 / len(found)] * len(found)
    if name == "pchoice":
        found, shares = _pairs(found, names)
    texts = _texts(found)
    numbers = [one for one in (number(one, names) for one in found) if one is not None]
    are_numbers = len(numbers) == len(found)
    values: tuple[Value, ...] = tuple(numbers if are_numbers else texts)
    if name == "choice" and len(set(values)) == len(values):
        ordered = tuple(sorted(numbers)) if are_numbers else values
        return Distribution(Listed(label, ordered), values, tuple(found))
    weights, expressions = defaultdict[str, float](float), dict[str, ast.expr]()
    for text, one, share in zip(texts, found, shares, strict=True):
        weights[text] += share
        expressions.setdefault(text, one)
    likely = ", ".join(f"{text} {share:.0%}" for text, share in weights.items())
    note = f"{name} lists some options more than once, as likely as that: {cut(likely, 80)}"
    return Distribution(
        Weighted(label, tuple(weights), tuple(weights.values())),
        tuple(weights),
        tuple(expressions.values()),
        note if len(weights) < len(found) else "",
    )


def _pairs(found: list[ast.expr], names: Names) -> tuple[list[ast.expr], list[float]]:
    options, shares = list[ast.expr](), list[float]()
    for pair in found:
        if not (isinstance(pair, ast.Tuple | ast.List) and len(pair.elts) == 2):
            raise InputError(
                f"options of pchoice have {_text(pair)}: expected pairs such as (0.3, 16)"
            )
        shares.append(number(pair.elts[0], names) or 0.0)
        options.append(pair.elts[1])
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        given = ", ".join(ast.unparse(pair.elts[0]) for pair in found)  # type: ignore[attr-defined]
        raise InputError(f"shares of pchoice are {cut(given)}: expected some above 0, 1 in all")
    return options, [share / sum(shares) for share in shares]


def _texts(found: list[ast.expr]) -> list[str]:
    """Text of each option; equal for equal options, and different for long ones that differ."""
    texts = [ast.unparse(one) for one in found]
    return [
        text
        if len(text) <= LONGEST_OPTION
        else f"{text[:LONGEST_OPTION]}... (option {texts.index(text) + 1})"
        for text in texts
    ]


# --- ranges ---------------------------------------------------------------------------------------


def _ranged(label: str, name: str, given: Mapping[str, float]) -> Dimension:
    """The dimension of a distribution of numbers; an `OverflowError` if it is too wide."""
    step, log = float(given["q"]) if "q" in given else None, "log" in name
    if step is not None and step <= 0:
        raise InputError(f"q of {name} is {step:g}: expected a number above 0")
    if name.endswith("normal"):
        if given["sigma"] <= 0:
            raise InputError(f"sigma of {name} is {given['sigma']:g}: expected a number above 0")
        normal = Normal(label, float(given["mu"]), float(given["sigma"]), step, log)
        normal.decode(0.0), normal.decode(1.0)
        return normal
    low, high = float(given["low"]), float(given["high"])
    if name in ("randint", "uniformint"):
        if low != int(low) or high != int(high):
            raise InputError(f"{name} from {low:g} to {high:g}: expected whole numbers")
        step, high = 1.0, high - (name == "randint")  # the upper end of randint is left out
    elif not low < high:
        raise InputError(f"{name} from {low:g} to {high:g}: expected the low end below the high")
    if log:
        low, high = clean(math.exp(low)), clean(math.exp(high))
    if step is None:
        return Numbers(label, low, high, log=log)
    return _stepped(name, Numbers(label, low, high, step, log))


def _stepped(name: str, wanted: Numbers) -> Dimension:
    """The multiples of the step between both ends, which are included; 0 has no logarithm."""
    low, high, step = wanted.low, wanted.high, wanted.step or 1.0
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    first = max(1, first) if wanted.log else first
    if not first <= last <= first + MOST_STEPS:
        has = f"{last - first:,} steps: expected at most {MOST_STEPS:,}"
        none = f"no multiple of {step:g}: expected one at least"
        raise InputError(f"{name} from {low:g} to {high:g} has {none if first > last else has}")
    low, high = clean(first * step), clean(last * step)
    if first == last:
        return Listed(wanted.field, (number_type(step)(low),))
    return replace(wanted, low=low, high=high)


#: share of the draws of a normal distribution that is cut off at each side
TAIL = 1e-6


@dataclass(frozen=True)
class Numbers(Range):
    """A range whose numbers are integers if its step and lower end are."""

    @property
    def kind(self) -> type[int] | type[float]:
        return number_type(self.step, self.low)


@dataclass(frozen=True)
class Normal(Dimension):
    """A normal distribution, or with `log` a lognormal one.

    The raw number of a value is the cumulative probability up to it. Values are rounded to
    multiples of `step`, or without one to `DIGITS` significant digits.
    """

    field: str
    mu: float
    sigma: float
    step: float | None = None
    log: bool = False

    @property
    def ends(self) -> tuple[float, float]:
        return (0.0, 1.0)

    def decode(self, raw: float) -> Value:
        number = NormalDist(self.mu, self.sigma).inv_cdf(min(max(raw, TAIL), 1 - TAIL))
        number = math.exp(number) if self.log else number
        if self.step:
            number = clean(round(number / self.step) * self.step)
        else:
            number = float(f"{number:.{DIGITS}g}")
        return number_type(self.step)(number)

    def encode(self, value: Value) -> float:
        number = float(value)
        if self.log:
            number = math.log(number) if number > 0 else -math.inf
        return NormalDist(self.mu, self.sigma).cdf(number)

    def describe(self) -> dict[str, Value]:
        written: dict[str, Value] = {"mu": self.mu, "sigma": self.sigma}
        if self.step:
            written["step"] = self.step
        return written | {"scale": "log" if self.log else "linear"}


@dataclass(frozen=True)
class Weighted(Listed):
    """Unordered options with unequal probabilities."""

    #: probability of each option
    weights: tuple[float, ...] = ()

    def expression(self) -> Any:
        from hyperopt import hp

        return hp.pchoice(self.field, [(weight, i) for i, weight in enumerate(self.weights)])

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.options), p=self.weights))

    def at(self, share: float) -> float:
        below = np.cumsum(self.weights)[:-1]
        return float(np.searchsorted(below, share, side="right"))


def number_type(step: float | None, low: float = 0.0) -> type[int] | type[float]:
    return int if step and step == int(step) and low == int(low) else float


# --- what can be read without running it ----------------------------------------------------------

#: largest number of items of a sequence
MAX_ITEMS = 10_000
BINARY: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
#: functions of Python, math and NumPy, by the last part of their names
FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp, "sqrt": math.sqrt,
    "int": int, "float": float,
}  # fmt: skip
SEQUENCES: Mapping[str, Callable[..., Any]] = {
    "range": range, "arange": np.arange, "linspace": np.linspace,
}  # fmt: skip


def number(node: ast.expr, names: Names) -> int | float | None:
    """The finite number that an expression is; None if it is none, or not constant."""
    try:
        found = _number(node, names)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _number(node: ast.expr, names: Names) -> int | float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return _number(names[name], _without(names, name))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, names)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _number(operand, names)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_number(left, names), _number(right, names))
        case ast.BinOp(left=left, op=sign, right=right):
            return BINARY[type(sign)](_number(left, names), _number(right, names))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[given], keywords=[]):
            return FUNCTIONS[name](_number(given, names))
    raise TypeError(node)


def _power(left: int | float, right: int | float) -> int | float:
    found = float(left) ** float(right)  # of floats, since integers may take for ever
    if isinstance(found, complex):
        raise TypeError(left)
    whole = isinstance(left, int) and isinstance(right, int) and right >= 0
    return int(found) if whole and abs(found) < 2**53 else found


def elements(node: ast.expr, names: Names) -> list[ast.expr]:
    """Elements of a sequence, each as an expression; none if it cannot be read."""
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            lists = [elements(i.value, names) if isinstance(i, ast.Starred) else [i] for i in items]
            return [*itertools.chain(*lists)] if all(lists) else []
        case ast.ListComp(
            elt=each, generators=[ast.comprehension(target=ast.Name(id=name)) as loop]
        ):
            found = [number(each, {**names, name: one}) for one in elements(loop.iter, names)]
            return [] if loop.ifs or None in found else [ast.Constant(one) for one in found]
        case ast.Name(id=name) if name in names:
            return elements(names[name], _without(names, name))
        case ast.Dict(keys=keys):
            return [key for key in keys if key]
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[given], keywords=[]):
            return elements(given, names)
        case ast.Call(func=ast.Attribute(value=given, attr="keys" | "tolist"), args=[]):
            return elements(given, names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = elements(left, names), elements(right, names)
            return [*parts[0], *parts[1]] if all(parts) else []
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SEQUENCES:
            return [ast.Constant(one) for one in _sequence(name, node, names)]
    return []


def _sequence(name: str, call: ast.Call, names: Names) -> list[int | float]:
    """The numbers of a `range`, an `arange` or a `linspace`; none if they cannot be read."""
    try:
        given = [_number(one, names) for one in call.args]
        named = {str(word.arg): _number(word.value, names) for word in call.keywords}
        low, high, step = (0, *given, 1) if len(given) == 1 else (*given, 1)[:3]
        step = named.get("step", step)
        count = named.get("num", step) if name == "linspace" else (high - low) / step
        if not 0 < count <= MAX_ITEMS:
            return []
        return list(np.asarray(SEQUENCES[name](*given, **named)).tolist())
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return []


def _without(names: Names, name: str) -> Names:
    """Names without `name`, for its own expression: prevents endless recursion."""
    return {known: value for known, value in names.items() if known != name}
