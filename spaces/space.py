"""`Space`: what may vary, as a mapping from fields to dimensions, and how users write it."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lstm_sweep.models.config import (
    CLASS_LIMITS,
    LIMITS,
    ClassConfig,
    Config,
    Limit,
    TrialConfig,
    check_field,
)
from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import InputError, cut, one_of, shown
from lstm_sweep.spaces.dimension import (
    AUTO,
    BY_CORPUS,
    CLASS_BY_CORPUS,
    ByCorpus,
    CorpusFacts,
    Dimension,
    Listed,
    Range,
)

#: largest number of steps of a range
MOST_STEPS = 100_000
#: a range as it is written elsewhere, such as 64-128 or 0.1:0.5
BETWEEN = re.compile(r"([0-9.]+(?:e-?[0-9]+)?) *(?:-|:|–|—|to) *([0-9.]+(?:e-?[0-9]+)?)")
RANGE_KEYS = ("low", "high", "step", "scale")
SCALES = ("linear", "log")


def parse_dimension(
    field: str, given: object, where: str, of: type[Space] | None = None
) -> Dimension:
    """Read a value, a list, `low..high`, a mapping with `low` and `high`, or `auto`.

    In a string, values of a list are separated by commas. `where` begins the message of an error,
    and `of` is the kind of space.
    """
    of = of or Space
    if isinstance(given, str) and given.strip() == AUTO and field in of.by_corpus:
        return of.by_corpus[field]
    try:
        check_field(field, of.points_are.limits)
        limit = of.points_are.limits[field]
        if isinstance(given, Mapping):
            return _range_from_mapping(field, given, limit)
        if isinstance(given, str) and ".." in given:
            low, _, high = given.partition("..")
            ends = _number(field, low, limit), _number(field, high, limit)
            return _range(field, *ends, limit)
        if isinstance(given, str):
            given = [part.strip() for part in given.split(",") if part.strip()]
        return _listed(field, given if isinstance(given, list | tuple) else [given], limit)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _listed(field: str, given: Sequence[object], limit: Limit) -> Listed:
    if not given:
        raise InputError(f"{field} has no values: expected {limit}")
    is_text = limit.kind is str
    read = (_number(field, v, limit) if isinstance(v, str) and not is_text else v for v in given)
    values = [limit.check(field, _whole(limit, value)) for value in read]
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise InputError(f"{field} lists {twice[0]!r} twice: expected each value once")
    return Listed(field, tuple(values if is_text else sorted(values)))


def _whole(limit: Limit, given: object) -> object:
    """A value; a whole number as one if the field takes these alone."""
    is_whole = limit.kind is int and isinstance(given, float) and abs(given) < 1e15
    return int(given) if is_whole and given == int(given) else given  # type: ignore[call-overload]


def _number(field: str, given: object, limit: Limit) -> float:
    text = given.strip() if isinstance(given, str) else shown(given)
    hint = ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
        if (ends := BETWEEN.fullmatch(text)) and limit.kind is not str:
            hint = f"; did you mean {ends[1]}..{ends[2]}?"
    if not math.isfinite(number) or limit.kind is str:
        raise InputError(f"{field} is {shown(text)}: expected {limit}{hint}")
    return number


def _range_from_mapping(field: str, given: Mapping[object, object], limit: Limit) -> Dimension:
    for key in given:
        if key not in RANGE_KEYS:
            raise InputError(f"{field} has {shown(key)}: {one_of(key, RANGE_KEYS)}")
    if missing := [key for key in ("low", "high") if key not in given]:
        raise InputError(f"{field} has no '{missing[0]}': expected low and high")
    low, high = (_number(field, given[key], limit) for key in ("low", "high"))
    step = _number(field, given["step"], limit) if "step" in given else None
    scale = given.get("scale")
    if scale is not None and scale not in SCALES:
        raise InputError(f"{field} has scale {shown(scale)}: expected {' or '.join(SCALES)}")
    return _range(field, low, high, limit, step, scale)


def _range(
    field: str,
    low: float,
    high: float,
    limit: Limit,
    step: float | None = None,
    scale: object = None,
) -> Dimension:
    if limit.kind is str:
        raise InputError(f"{field} is a range: expected {limit}")
    if low > high:
        raise InputError(f"{field} from {low:g} to {high:g} is empty: {limit}, low first")
    low, high = (float(limit.check(field, _whole(limit, number))) for number in (low, high))
    if low == high:
        return _listed(field, [low], limit)
    if step is None and limit.kind is int:
        step = 1.0
    if step is not None:
        steps = (high - low) / step if step > 0 else 0.0
        whole = limit.kind is float or step == int(step)
        fits = math.isfinite(steps) and round(steps) >= 1 and abs(steps - round(steps)) < 1e-9
        if not (whole and fits and steps <= MOST_STEPS):
            leads = "one that leads from the low end to the high end"
            raise InputError(
                f"{field} from {low:g} to {high:g} has step {step:g}: expected "
                f"{f'at most {MOST_STEPS:,} steps' if whole and fits else leads}"
            )
    log = scale == "log" or (scale is None and limit.ratio)
    if log and low <= 0:
        raise InputError(f"{field} from {low:g} on a log scale: expected low above 0")
    return Range(field, low, high, step, log)


#: largest number of configs of a space whose points are listed
LISTABLE = 10_000
#: configs that a space remembers, so that they are not made and checked again
REMEMBERED = 1 << 14


class Space(Mapping[str, Dimension]):
    """A mapping from every field of `TrialConfig` to its dimension.

    Fields that are not given have their default as the only value.
    """

    #: what its points are, and what stands for `auto`, by field
    points_are: type[TrialConfig] = TrialConfig
    by_corpus: Mapping[str, Dimension] = BY_CORPUS

    #: name of the field that is the learning rate; None if it is not known
    rate: str | None = "learning_rate"
    #: what it is written in, if not in the fields of a sweep: its dimensions are not replaced then
    stands_in: str = ""

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        for name in dimensions:
            check_field(name, self.points_are.limits)
        #: dimensions that are not their field's default alone
        self.given = dict(dimensions)
        self._dimensions: dict[str, Dimension] = {
            name: dimensions.get(name, Listed(name, (default,)))
            for name, default in self.points_are().to_dict().items()
        }

    def __getitem__(self, field: str) -> Dimension:
        return self._dimensions[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __hash__(self) -> int:
        return hash(tuple(self._dimensions.items()))

    @cached_property
    def varying(self) -> dict[str, Dimension]:
        return {
            name: dimension
            for name, dimension in self.items()
            if (values := dimension.values()) is None or len(values) > 1
        }

    @cached_property
    def _single(self) -> dict[str, Any]:
        """The value of each field that does not vary, and one of each other."""
        return {name: dimension.decode(0.0) for name, dimension in self.items()}

    @cached_property
    def _decoded(self) -> dict[tuple[Any, ...], Config]:
        """Configs by the values of the fields that vary; a search meets most of them again."""
        return {}

    def replace(self, **dimensions: Dimension) -> Space:
        return type(self)({**self.given, **dimensions})

    def settled(self, facts: CorpusFacts) -> Space:
        settled = {n: d.settled(facts) for n, d in self.items() if isinstance(d, ByCorpus)}
        return self.replace(**settled) if settled else self

    def config(self, values: Mapping[str, Any]) -> Config:
        return self.points_are.from_dict(values)

    @property
    def epochs(self) -> int:
        return int(self.largest("epochs"))

    def admits(self, config: Config) -> bool:
        return all(value in self[name] for name, value in config.to_dict().items())

    def expression(self) -> dict[str, Any]:
        return {name: dimension.expression() for name, dimension in self.varying.items()}

    def decode(self, point: Mapping[str, float]) -> Config:
        drawn = [dimension.decode(point[name]) for name, dimension in self.varying.items()]
        key = (*map(type, drawn), *drawn)
        found = self._decoded.get(key)
        if found is None:
            if len(self._decoded) >= REMEMBERED:  # other threads may do so as well
                self._decoded.clear()
            varying = dict(zip(self.varying, drawn, strict=True))
            found = self._decoded[key] = self.config(self._single | varying)
        return found

    def encode(self, config: Config) -> dict[str, float]:
        values = config.to_dict()
        return {name: dimension.encode(values[name]) for name, dimension in self.varying.items()}

    def sample(self, rng: np.random.Generator) -> Config:
        return self.decode({name: d.draw(rng) for name, d in self.varying.items()})

    def middle(self) -> Config:
        return self.decode({name: d.at(0.5) for name, d in self.varying.items()})

    def size(self) -> int | None:
        """Number of points; None if a dimension is continuous."""
        counts = [dimension.values() for dimension in self.values()]
        if any(values is None for values in counts):
            return None
        return math.prod(len(values or ()) for values in counts)

    def points(self) -> Iterator[Config]:
        axes = [dimension.values() or [] for dimension in self.values()]
        for values in itertools.product(*axes):
            yield self.config(dict(zip(self, values, strict=True)))

    def largest(self, field: str) -> int | float:
        dimension = self[field]
        values = dimension.values()
        top = values[-1] if values is not None else getattr(dimension, "high", None)
        if not isinstance(top, int | float):
            raise TypeError(f"{field} has no largest value")
        return top

    def describe(self) -> dict[str, Any]:
        """The space as plain values, one value for a field that does not vary."""
        return {
            name: written if name in self.varying else dimension.decode(0.0)
            for name, dimension in self.items()
            if (written := dimension.describe()) is not None
        }

    def digest(self) -> str:
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class ClassSpace(Space):
    """A mapping from every field of `ClassConfig` to its dimension."""

    points_are = ClassConfig
    by_corpus = CLASS_BY_CORPUS


def space_of(fields: Iterable[object]) -> type[Space]:
    """The kind of space that has these fields: that of classes if one is of these alone."""
    return ClassSpace if {*fields} & (CLASS_LIMITS.keys() - LIMITS.keys()) else Space


def from_mapping(given: object, where: str) -> Space:
    """Make a space from a mapping of fields to values; other fields keep their defaults."""
    if not isinstance(given, Mapping) or not given:
        noun = f"a {type(given).__name__}" if given else "nothing"
        raise InputError(f"{where}: found {noun}, expected a mapping of fields to values")
    of = space_of(given)
    return of({str(name): parse_dimension(str(name), v, where, of) for name, v in given.items()})


def from_file(path: Path) -> Space:
    return from_mapping(read_yaml(path), str(path))


def with_settings(space: Space, settings: list[str]) -> Space:
    """Apply settings `FIELD=VALUES`, such as `layer_size=32,64` or `dropout=0..0.5`."""
    for setting in settings:
        name, equals, values = setting.partition("=")
        where = f"--set {cut(setting)}"
        if not equals:
            raise InputError(f"{where}: expected FIELD=VALUES; fields: {', '.join(space)}")
        name = name.strip()
        space = space.replace(**{name: parse_dimension(name, values, where, type(space))})
    return space
