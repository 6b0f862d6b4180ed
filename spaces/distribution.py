"""Hyperopt's distributions as templates write them: a call in a syntax tree -> Dimension.

Where Hyperopt draws something else than one would think, it is put right. `quniform(2, 11, 4)` is 4
or 8 alike: Hyperopt's never is 2 and sometimes 12. Both ends of `uniformint` and of `quniform` are
as likely as the rest. `randint` has an order, and takes keywords. Whole steps give whole numbers,
as layers need them, and options that are numbers have their order too.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from models.errors import InputError, cut, one_of, shown
from spaces.dimension import DIGITS, MOST_STEPS, Dimension, Listed, Range, Value

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
FUNCTIONS = {"log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp,
             "sqrt": math.sqrt}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}
#: share of the draws of a distribution without ends that is cut off at each side
TAIL = 1e-6
#: characters of an option's text, at most
LONGEST_OPTION = 100

Names = Mapping[str, ast.expr]


@dataclass(frozen=True)
class Numbers(Range):
    """Numbers of a range: whole ones if their steps are."""

    @property
    def kind(self) -> type[int] | type[float]:
        """Type of the numbers."""
        return _kind(self.step, self.low)


@dataclass(frozen=True)
class Normal(Dimension):
    """Numbers around `mu`, or whose logarithm is; raw numbers are shares of the draws below.

    With a `step` they are its multiples, otherwise they are rounded to `DIGITS` digits.
    """

    field: str
    mu: float
    sigma: float
    step: float | None = None
    log: bool = False

    def expression(self) -> Any:
        from hyperopt import hp

        return hp.uniform(self.field, *self.ends)

    @property
    def ends(self) -> tuple[float, float]:
        return (0.0, 1.0)

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.uniform())

    def at(self, share: float) -> float:
        return share

    def between(self, low: float, high: float) -> Dimension | None:
        return self  # it has no ends to be moved

    def decode(self, raw: float) -> Value:
        number = NormalDist(self.mu, self.sigma).inv_cdf(min(max(raw, TAIL), 1 - TAIL))
        number = math.exp(number) if self.log else number
        if self.step:
            number = _clean(round(number / self.step) * self.step)
        else:
            number = float(f"{number:.{DIGITS}g}")
        return _kind(self.step)(number)

    def encode(self, value: Value) -> float:
        number = float(value)
        if self.log:
            number = math.log(number) if number > 0 else -math.inf
        return NormalDist(self.mu, self.sigma).cdf(number)

    def values(self) -> list[Value] | None:
        return None

    def describe(self) -> dict[str, Value]:
        written: dict[str, Value] = {"mu": self.mu, "sigma": self.sigma}
        if self.step:
            written["step"] = self.step
        return written | {"scale": "log" if self.log else "linear"}

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.decode(self.encode(value)) == value


@dataclass(frozen=True)
class Weighted(Listed):
    """Listed words, of which some are more likely."""

    weights: tuple[float, ...] = ()

    def expression(self) -> Any:
        from hyperopt import hp

        return hp.pchoice(self.field, [(weight, i) for i, weight in enumerate(self.weights)])

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.options), p=self.weights))

    def at(self, share: float) -> float:
        below = np.cumsum(self.weights)[:-1]
        return float(np.searchsorted(below, share, side="right"))


def _clean(number: float) -> float:
    """Take the traces of binary arithmetic off."""
    return float(f"{number:.10g}")


def _kind(step: float | None, low: float = 0.0) -> type[int] | type[float]:
    return int if step and step == int(step) and low == int(low) else float


@dataclass(frozen=True)
class Distribution:
    """A dimension, and where its values stand if they were listed."""

    dimension: Dimension
    #: what stands for each option, in the order of the file; empty for a range
    options: tuple[Value, ...] = ()


def read(label: str, call: ast.expr, names: Names) -> Distribution:
    """The distribution that a call such as `uniform(0, 1)` describes.

    `names` has what is assigned to a name once, at the top of the file.

    Raises:
        InputError: it is none, or its arguments are not what it takes.
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


def number(node: ast.expr, names: Names) -> int | float | None:
    """The number that an expression is, as far as it needs nothing but arithmetic; else None."""
    try:
        found = _number(node, names)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return found if isinstance(found, int | float) and math.isfinite(found) else None


def _number(node: ast.expr, names: Names) -> int | float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _number(node.operand, names)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        return _arithmetic(node.op, _number(node.left, names), _number(node.right, names))
    if isinstance(node, ast.Call) and not node.keywords:
        function = FUNCTIONS[ast.unparse(node.func).rpartition(".")[2]]
        return function(*(_number(argument, names) for argument in node.args))
    if isinstance(node, ast.Name) and node.id in names:
        rest = {name: value for name, value in names.items() if name != node.id}
        return _number(names[node.id], rest)
    if isinstance(node, ast.Attribute) and node.attr in CONSTANTS:
        return CONSTANTS[node.attr]
    raise ValueError


def _arithmetic(operator: ast.operator, left: int | float, right: int | float) -> int | float:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Div):
        return left / right
    if isinstance(operator, ast.FloorDiv):
        return left // right
    if isinstance(operator, ast.Pow):
        found = float(left) ** float(right)  # of floats: one of integers may never end
        whole = isinstance(left, int) and isinstance(right, int) and right >= 0
        return int(found) if whole and abs(found) < 2**53 else found
    raise ValueError


# --- listed options -------------------------------------------------------------------------------


def _elements(name: str, node: ast.expr, names: Names) -> list[ast.expr]:
    """The options of a choice, written there or assigned to a name at the top of the file."""
    if isinstance(node, ast.Name) and node.id in names:
        node = names[node.id]
    found = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    if not found or any(isinstance(one, ast.Starred) for one in found):
        expected = "[(0.3, 16), (0.7, 32)]" if name == "pchoice" else "[16, 32]"
        raise InputError(f"options of {name} are {_text(node)}: expected a list such as {expected}")
    return found


def options_of(call: ast.Call, names: Names) -> list[ast.expr]:
    """The expressions among which a `choice` or `pchoice` chooses."""
    name = ast.unparse(call.func).rpartition(".")[2]
    [options] = _bind(name, call).values()
    found = _elements(name, options, names)
    return [_pair(one)[1] for one in found] if name == "pchoice" else found


def _pair(node: ast.expr) -> tuple[ast.expr, ast.expr]:
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 2:
        return node.elts[0], node.elts[1]
    raise InputError(f"options of pchoice have {_text(node)}: expected pairs such as (0.3, 16)")


def _listed(label: str, name: str, elements: list[ast.expr], names: Names) -> Distribution:
    if name == "choice":
        numbers = [number(one, names) for one in elements]
        sizes = [one for one in numbers if one is not None]
        values: Sequence[Value] = sizes if len(sizes) == len(elements) else _texts(elements)
        _check_once(name, values)
        ordered = values if isinstance(values[0], str) else sorted(sizes)
        return Distribution(Listed(label, tuple(ordered)), tuple(values))
    pairs = [_pair(one) for one in elements]
    shares = [number(share, names) for share, _ in pairs]
    known = [share for share in shares if share is not None and share > 0]
    if len(known) < len(shares) or abs(sum(known) - 1) > 1e-6:
        given = ", ".join(ast.unparse(share) for share, _ in pairs)
        raise InputError(f"shares of pchoice are {cut(given)}: expected some above 0, 1 in all")
    texts = tuple(_texts([option for _, option in pairs]))
    _check_once(name, texts)
    weights = tuple(share / sum(known) for share in known)
    return Distribution(Weighted(label, texts, weights), texts)


def _texts(elements: Sequence[ast.expr]) -> list[str]:
    texts = [ast.unparse(one) for one in elements]
    return [
        text if len(text) <= LONGEST_OPTION else f"{text[:LONGEST_OPTION]}... (option {place})"
        for place, text in enumerate(texts, start=1)
    ]


def _check_once(name: str, values: Sequence[Value]) -> None:
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise InputError(f"{name} lists {shown(twice[0])} twice: expected each option once")


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
        return _clean(math.exp(low)), _clean(math.exp(high))
    except OverflowError:
        raise InputError(
            f"{name} from {low:g} to {high:g} is too wide: it takes logarithms, expected such as "
            f"{name}(log(0.0001), log(0.1))"
        ) from None


def _stepped(label: str, name: str, low: float, high: float, step: float, log: bool) -> Dimension:
    """Multiples of a step from `low` to `high`, both included."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if first > last:
        raise InputError(
            f"{name} from {low:g} to {high:g} has no multiple of {step:g}: expected one at least"
        )
    if last - first > MOST_STEPS:
        raise InputError(
            f"{name} from {low:g} to {high:g} has {last - first:,} steps: expected at most "
            f"{MOST_STEPS:,}"
        )
    kind = _kind(step)
    ends = [_clean(place * step) for place in (first, last)]
    if first == last:
        return Listed(label, (kind(ends[0]),))
    return Numbers(label, ends[0], ends[1], step, log)
