"""Reads a call of one of Hyperopt's distributions in a template's syntax tree as a `Dimension`.

It differs from Hyperopt on purpose in a few points. `quniform(2, 11, 4)` gives 4 or 8, equally
likely, where Hyperopt also gives 12. Both ends of `uniformint` and `quniform` are as likely as
other values. `randint` is ordered and takes keywords. Integer steps give integers, as layers need
them. Options that are numbers are ordered.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from typing_extensions import override

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
    """Read a call such as `uniform(0, 1)`.

    `names` has the expressions of names that are assigned once.

    Raises:
        InputError: it is not a call of a distribution, or has wrong arguments.
    """
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
        return _listed(label, name, _elements(name, options, names), names)
    given = {key: number(node, names) for key, node in arguments.items()}
    for key, value in given.items():
        if value is None:
            raise InputError(f"{key} of {name} is {_text(arguments[key])}: expected a number")
    numbers = {key: value for key, value in given.items() if value is not None}
    low, high = numbers.get("low", 0), numbers.get("high", 0)
    if low > high and name.endswith("uniform"):  # as in NumPy
        note = f"{name} goes from {high:g} to {low:g}"
        return Distribution(_ranged(label, name, numbers | {"low": high, "high": low}), note=note)
    return Distribution(_ranged(label, name, numbers))


def _text(node: ast.expr) -> str:
    return shown(ast.unparse(node))


def _bind(name: str, call: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call by their names."""
    expected = SIGNATURES[name]
    if name == "randint" and len(call.args) == 1 and not call.keywords:
        return {"high": call.args[0]}
    given = dict(zip(expected, call.args, strict=False))
    extra = len(call.args) > len(expected) or any(isinstance(a, ast.Starred) for a in call.args)
    for word in call.keywords:
        key = word.arg or ""
        extra = extra or key not in expected or key in given
        given[key] = word.value
    needed = {"high"} if name == "randint" else set(expected)
    if extra or not needed <= set(given):
        raise InputError(f"found {cut(ast.unparse(call))}, expected {name}({', '.join(expected)})")
    return given


# --- listed options -------------------------------------------------------------------------------


def _elements(name: str, node: ast.expr, names: Names) -> list[ast.expr]:
    """The options of a choice, written out or worked out."""
    try:
        found = elements(node, names)
    except NotConstantError:
        found = []
    if not found:
        expected = "[(0.3, 16), (0.7, 32)]" if name == "pchoice" else "[16, 32]"
        raise InputError(
            f"options of {name} are {_text(node)}: expected a list such as {expected}, a name of "
            f"one, or a range of numbers"
        )
    return found


def _pair(node: ast.expr) -> tuple[ast.expr, ast.expr]:
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 2:
        return node.elts[0], node.elts[1]
    raise InputError(f"options of pchoice have {_text(node)}: expected pairs such as (0.3, 16)")


def _listed(label: str, name: str, found: list[ast.expr], names: Names) -> Distribution:
    if name == "pchoice":
        pairs = [_pair(one) for one in found]
        return _weighted(label, name, [one for _, one in pairs], _shares(pairs, names))
    numbers = [number(one, names) for one in found]
    sizes = [one for one in numbers if one is not None]
    values: Sequence[Value] = sizes if len(sizes) == len(found) else _texts(found)
    counts = Counter(values)
    if len(set(counts.values())) > 1:
        return _weighted(label, name, found, [1 / len(found)] * len(found))
    known = dict(reversed([*zip(values, found, strict=True)]))  # of equal options, the first
    options = tuple(counts)
    ordered = options if isinstance(options[0], str) else tuple(sorted(set(sizes)))
    return Distribution(Listed(label, ordered), options, tuple(known[one] for one in options))


def _shares(pairs: list[tuple[ast.expr, ast.expr]], names: Names) -> list[float]:
    shares = [number(share, names) for share, _ in pairs]
    known = [float(share) for share in shares if share is not None and share > 0]
    if len(known) < len(shares) or abs(sum(known) - 1) > 1e-6:
        given = ", ".join(ast.unparse(share) for share, _ in pairs)
        raise InputError(f"shares of pchoice are {cut(given)}: expected some above 0, 1 in all")
    return [share / sum(known) for share in known]


def _weighted(
    label: str, name: str, found: Sequence[ast.expr], shares: Sequence[float]
) -> Distribution:
    """Options with unequal probabilities; those of equal options are added."""
    weights: dict[str, float] = {}
    expressions: dict[str, ast.expr] = {}
    for text, one, share in zip(_texts(found), found, shares, strict=True):
        weights[text] = weights.get(text, 0.0) + share
        expressions.setdefault(text, one)
    options, twice = tuple(weights), len(weights) < len(found)
    likely = ", ".join(f"{text} {share:.0%}" for text, share in weights.items())
    note = f"{name} lists some options more than once, as likely as that: {cut(likely, 80)}"
    dimension = Weighted(label, options, tuple(weights.values()))
    return Distribution(dimension, options, tuple(expressions.values()), note if twice else "")


def _texts(found: Sequence[ast.expr]) -> list[str]:
    """Text of each option; equal for equal options, and different for long ones that differ."""
    texts = [ast.unparse(one) for one in found]
    return [
        text
        if len(text) <= LONGEST_OPTION
        else f"{text[:LONGEST_OPTION]}... (option {texts.index(text) + 1})"
        for text in texts
    ]


# --- ranges ---------------------------------------------------------------------------------------


def _ranged(label: str, name: str, given: Mapping[str, int | float]) -> Dimension:
    step = float(given["q"]) if "q" in given else None
    if step is not None and step <= 0:
        raise InputError(f"q of {name} is {step:g}: expected a number above 0")
    if name.endswith("normal"):
        mu, sigma = float(given["mu"]), float(given["sigma"])
        if sigma <= 0:
            raise InputError(f"sigma of {name} is {sigma:g}: expected a number above 0")
        dimension = Normal(label, mu, sigma, step, log="log" in name)
        _check_finite(name, dimension)
        return dimension
    low, high = float(given.get("low", 0)), float(given["high"])
    if name in ("randint", "uniformint"):
        if low != int(low) or high != int(high):
            raise InputError(f"{name} from {low:g} to {high:g}: expected whole numbers")
        step, high = 1.0, high - (name == "randint")  # the upper end of randint is left out
    elif not low < high:
        raise InputError(f"{name} from {low:g} to {high:g}: expected the low end below the high")
    log = "log" in name
    if log:
        low, high = _exponentials(name, low, high)
    return (
        _stepped(label, name, low, high, step, log) if step else Numbers(label, low, high, log=log)
    )


def _check_finite(name: str, dimension: Normal) -> None:
    try:
        for share in (0.0, 1.0):
            dimension.decode(share)
    except (OverflowError, ValueError):
        raise InputError(
            f"{name} with mu {dimension.mu:g} and sigma {dimension.sigma:g} is too wide: it takes "
            f"logarithms, expected such as lognormal(-7, 2)"
        ) from None


def _exponentials(name: str, low: float, high: float) -> tuple[float, float]:
    try:
        return clean(math.exp(low)), clean(math.exp(high))
    except OverflowError:
        raise InputError(
            f"{name} from {low:g} to {high:g} is too wide: it takes logarithms, expected such as "
            f"{name}(log(0.0001), log(0.1))"
        ) from None


def _stepped(label: str, name: str, low: float, high: float, step: float, log: bool) -> Dimension:
    """The multiples of `step` between `low` and `high`, both included."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if log:  # 0 has no logarithm
        first = max(1, first)
    if first > last:
        raise InputError(
            f"{name} from {low:g} to {high:g} has no multiple of {step:g}: expected one at least"
        )
    if last - first > MOST_STEPS:
        raise InputError(
            f"{name} from {low:g} to {high:g} has {last - first:,} steps: expected at most "
            f"{MOST_STEPS:,}"
        )
    kind = number_type(step)
    ends = [clean(place * step) for place in (first, last)]
    if first == last:
        return Listed(label, (kind(ends[0]),))
    return Numbers(label, ends[0], ends[1], step, log)


#: share of the draws of a normal distribution that is cut off at each side
TAIL = 1e-6


@dataclass(frozen=True)
class Numbers(Range):
    """A range whose numbers are integers if its step and lower end are."""

    @property
    @override
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

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        return hp.uniform(self.field, *self.ends)

    @property
    @override
    def ends(self) -> tuple[float, float]:
        return (0.0, 1.0)

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform())

    @override
    def at(self, share: float) -> float:
        return share

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        return self  # it has no ends

    @override
    def decode(self, raw: float) -> Value:
        number = NormalDist(self.mu, self.sigma).inv_cdf(min(max(raw, TAIL), 1 - TAIL))
        number = math.exp(number) if self.log else number
        if self.step:
            number = clean(round(number / self.step) * self.step)
        else:
            number = float(f"{number:.{DIGITS}g}")
        return number_type(self.step)(number)

    @override
    def encode(self, value: Value) -> float:
        number = float(value)
        if self.log:
            number = math.log(number) if number > 0 else -math.inf
        return NormalDist(self.mu, self.sigma).cdf(number)

    @override
    def values(self) -> list[Value] | None:
        return None

    @override
    def describe(self) -> dict[str, Value]:
        written: dict[str, Value] = {"mu": self.mu, "sigma": self.sigma}
        if self.step:
            written["step"] = self.step
        return written | {"scale": "log" if self.log else "linear"}

    @override
    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.decode(self.encode(value)) == value


@dataclass(frozen=True)
class Weighted(Listed):
    """Unordered options with unequal probabilities."""

    #: probability of each option
    weights: tuple[float, ...] = ()

    @override
    def expression(self) -> Any:
        from hyperopt import hp

        return hp.pchoice(self.field, [(weight, i) for i, weight in enumerate(self.weights)])

    @override
    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.options), p=self.weights))

    @override
    def at(self, share: float) -> float:
        below = np.cumsum(self.weights)[:-1]
        return float(np.searchsorted(below, share, side="right"))


def number_type(step: float | None, low: float = 0.0) -> type[int] | type[float]:
    """`int` if `low` and the step are whole numbers, else `float`."""
    return int if step and step == int(step) and low == int(low) else float


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
