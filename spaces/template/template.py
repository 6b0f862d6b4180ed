"""A hyperas template: a Python file in which hyperparameters are written `{{choice([16, 32])}}`.

Such a *placeholder* is valid syntax, a set that contains a set, but never a valid value. So the
file can be parsed, and each placeholder is replaced in the syntax tree by a config's value;
everything else is unchanged, line numbers too. hyperas itself is not needed: its imports are
removed, and so is the call of `optim.minimize`.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar, Self

from lstm_sweep.models.errors import InputError, cut, nearest, resolved, why_not
from lstm_sweep.spaces.dimension import Dimension, Value
from lstm_sweep.spaces.space import Space
from lstm_sweep.spaces.template import distributions, syntax
from lstm_sweep.spaces.template.distributions import Distribution

#: epochs of a trial, at most; how many it trains is written in the template
EPOCHS = 100_000


@dataclass(frozen=True)
class TemplateConfig:
    """One point of a template's space: a value for each hyperparameter, by its label."""

    epochs: ClassVar[int] = EPOCHS
    planned_epochs: ClassVar[None] = None

    values: tuple[tuple[str, Value], ...]

    def to_dict(self) -> dict[str, Value]:
        return dict(self.values)

    def evolve(self, **changes: Value) -> Self:
        return self.from_dict({**self.to_dict(), **changes})

    def table_columns(self) -> dict[str, str]:
        """Columns for tables of trials: heading -> text."""
        return {"hyperparameters": self.describe()}

    def describe(self) -> str:
        values = (f"{shown_label(label)} {_short(value)}" for label, value in self.values)
        return ", ".join(values)

    def headline(self) -> str:
        """All values in a line for people, since nothing says which matter."""
        return self.describe()

    def label(self) -> str:
        """Nothing: the values may be many."""
        return ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Value]) -> Self:
        return cls(tuple(values.items()))


def shown_label(label: str) -> str:
    """Format a label for people: `units:12` as `units (line 12)`, `units:12:2` with its number."""
    argument, line, *place = label.split(":")
    return f"{argument} (line {line}{', ' if place else ''}{f'no. {place[0]}' if place else ''})"


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else cut(str(value), 40)


class TemplateSpace(Space):
    """Dimensions of the hyperparameters of a template, by their labels."""

    stands_in = "template"

    def __init__(self, dimensions: Mapping[str, Dimension], rate: str | None = None) -> None:
        """`rate` is the label of the learning rate, if one is known."""
        self._dimensions = dict(dimensions)
        self.rate = rate

    def replace(self, **dimensions: Dimension) -> TemplateSpace:
        return TemplateSpace({**self._dimensions, **dimensions}, self.rate)

    def config(self, values: Mapping[str, Any]) -> TemplateConfig:
        return TemplateConfig.from_dict(values)

    @property
    def epochs(self) -> int:
        return EPOCHS


#: largest number of characters of a config as JSON, since a run stores it in one tag
LONGEST_CONFIG = 7_500


@dataclass(frozen=True)
class Hyperparameter:
    """A placeholder that is used, with its distribution."""

    #: `argument:line`, with `:2` added for the second one of that name in a line
    label: str
    line: int
    distribution: Distribution
    #: index among all placeholders of the file
    place: int


@dataclass(frozen=True)
class Template:
    """A template that was read and checked."""

    path: Path
    source: str
    #: its path as the user has given it, for messages
    where: str

    @classmethod
    def read(cls, given: str) -> Self:
        template = cls(*read_source(given))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes in strings
                template._check()
        except SyntaxError as error:
            raise template._wrong(error.lineno or 1, _not_python(error)) from None
        except (MemoryError, RecursionError):
            raise template._wrong(1, "nested too deeply, expected a template") from None
        except InputError:
            raise
        except ValueError as error:
            raise template._wrong(1, f"{error}, expected Python 3") from None
        return template

    def __reduce__(self) -> tuple[type[Self], tuple[Path, str, str]]:
        return type(self), (self.path, self.source, self.where)

    def _wrong(self, line: int, problem: str) -> InputError:
        return InputError(f"{self.where}:{line}: {problem}")

    @cached_property
    def digest(self) -> str:
        return hashlib.blake2b(self.source.encode(), digest_size=8).hexdigest()

    def space(self, rate: str | None = None) -> TemplateSpace:
        """The space; `rate` is the label of the learning rate, or the argument it is given to."""
        dimensions = {label: h.distribution.dimension for label, h in self.hyperparameters.items()}
        return TemplateSpace(dimensions, rate and self._rate(rate))

    def _rate(self, name: str) -> str:
        fitting = [label for label in self.hyperparameters if name in (label, label.split(":")[0])]
        fitting += [label for label in self.hyperparameters if name == shown_label(label)]
        if len(fitting) == 1:
            dimension = self.hyperparameters[fitting[0]].distribution.dimension
            values = dimension.values()
            lowest = values[0] if values else getattr(dimension, "low", None)
            if isinstance(lowest, int | float) and lowest > 0:
                return fitting[0]
            raise InputError(
                f"--learning-rate-field {cut(name)}: its values are {dimension.describe()}, "
                "expected a list or a range of numbers above 0"
            )
        some = "no hyperparameter" if not fitting else f"{len(fitting)} hyperparameters"
        raise InputError(
            f"--learning-rate-field {cut(name)}: {some} of {self.where} of this name, expected "
            f"one of {', '.join(self.hyperparameters)}"
        )

    # content of the file

    @cached_property
    def _parsed(self) -> syntax.Parsed:
        return syntax.parse(self.source, str(self.path))

    @cached_property
    def _functions(self) -> dict[str, ast.FunctionDef]:
        return syntax.functions(self._parsed.tree)

    @cached_property
    def _places(self) -> dict[int, syntax.Placeholder]:
        reached = {"", *syntax.reached(self._parsed.tree, self.data, self.model)}
        places = enumerate(syntax.find_all(self._parsed.tree))
        return {number: place for number, place in places if place.within in reached}

    @cached_property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        tree = self._parsed.tree
        passed = {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)}
        hidden = passed - set(self.returned)
        known = {n: one for n, one in syntax.constants(tree).items() if n not in hidden}
        found: dict[str, Hyperparameter] = {}
        for number, place in self._places.items():
            line, count = place.node.lineno, 1
            first = label = f"{place.argument}:{line}"
            while label in found:
                count += 1
                label = f"{first}:{count}"
            try:
                read = distributions.read(label, syntax.content_of(place.node), known)
            except InputError as error:
                raise self._wrong(line, str(error)) from None
            found[label] = Hyperparameter(label, line, read, number)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        places = enumerate(syntax.find_all(self._parsed.tree))
        unused = {one.within: one.node.lineno for n, one in places if n not in self._places}
        noted = [one for one in self.hyperparameters.values() if one.distribution.note]
        return (
            *self._parsed.notes,
            *(f"line {line}: {name} has {{{{...}}}}, but {self.model} does not use it"
              for name, line in unused.items()),
            *(f"line {one.line}: {one.distribution.note}" for one in noted),
        )  # fmt: skip

    @property
    def data(self) -> str:
        return self._parsed.roles.get("data", "data")

    @property
    def model(self) -> str:
        named = self._parsed.roles.get("model", "create_model")
        others = {place.within for place in syntax.find_all(self._parsed.tree)} & set(
            self._functions
        )
        return others.pop() if named not in self._functions and len(others) == 1 else named

    @cached_property
    def returned(self) -> tuple[str, ...]:
        data = self._functions.get(self.data)
        found = set(syntax.returned(data)) if data else set()
        return found.pop() if len(found) == 1 else ()

    def code(self, values: Mapping[str, Value]) -> CodeType:
        by_place = {one.place: one for one in self.hyperparameters.values()}

        def value(place: int, node: ast.Set) -> ast.expr:
            if place not in by_place:
                return node
            one = by_place[place]
            chosen, options = values[one.label], one.distribution.options
            if options:
                return copy.deepcopy(one.distribution.expressions[options.index(chosen)])
            return ast.copy_location(ast.Constant(chosen), node)

        parsed = syntax.parse(self.source, str(self.path)).tree
        syntax.share(parsed, syntax.functions(parsed)[self.data])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = ast.fix_missing_locations(syntax.filled(parsed, value))
            return compile(program, str(self.path), "exec", dont_inherit=True)

    # checks

    def _check(self) -> None:
        for node, problem in syntax.misplaced(self._parsed.tree):
            raise self._wrong(node.lineno, problem)
        for name in (self.data, self.model):
            if name not in self._functions:
                hint = nearest(name, self._functions)
                expected = "expected data() and create_model(...) at the top level"
                raise self._wrong(1, f"no function {name}, {expected}{f'; {hint}' if hint else ''}")
        self._check_data(self._functions[self.data], self._functions[self.model])
        if not self.hyperparameters:
            raise self._wrong(1, "no hyperparameter, expected one such as {{choice([16, 32])}}")
        self._check_size()
        self.code(self.space().middle().to_dict())

    def _check_size(self) -> None:
        """Refuse a template whose configs may be too long for a tag of a run."""
        longest = {
            label: max(map(str, one.distribution.options), key=len, default="-0.00000123e-10")
            for label, one in self.hyperparameters.items()
        }
        if len(json.dumps(longest)) > LONGEST_CONFIG:
            count = len(longest)
            raise self._wrong(1, f"{count} hyperparameters, expected fewer, or shorter options")

    def _check_data(self, data: ast.FunctionDef, model: ast.FunctionDef) -> None:
        """Refuse a template if `data` returns something else than `create_model` takes."""
        if syntax.required(data):
            raise self._wrong(data.lineno, f"{data.name} takes arguments, expected none")
        if not syntax.returned(data):
            raise self._wrong(data.lineno, f"{data.name} returns nothing, expected data")
        needed, takes, names = syntax.required(model), syntax.arguments(model), self.returned
        if len(names) < 2 or set(needed) <= set(names) or model.args.vararg:
            return  # how many there are is not known, or they are passed by name
        alike = {name.casefold() for name in names}
        pairs = [(own.casefold(), name.casefold()) for own, name in zip(takes, names, strict=False)]
        moved = any(own != name and own in alike for own, name in pairs)
        inner = (set(needed) - set(names)) & set(syntax.stored(data))  # hyperas passes these
        if moved or inner or not len(needed) <= len(names) <= len(takes):
            raise self._wrong(
                model.lineno,
                f"{model.name} takes {', '.join(needed)}, but {data.name} returns "
                f"{', '.join(name or '...' for name in names)}: expected the same names, or as "
                f"many in the same order",
            )


def _not_python(error: SyntaxError) -> str:
    line = (error.text or "").strip()
    if line[:1] in ("%", "!"):
        return f"{cut(line, 40)} is a command of a notebook, expected Python alone"
    return f"{error.msg}, expected Python 3"


#: bytes of a template, at most
MAX_BYTES = 1 << 20
EXPECTED = "expected a Python file with {{...}} in it"


def read_source(given: str) -> tuple[Path, str, str]:
    """Read a template's file; return its absolute path, its text, and its name for messages."""
    where = cut(given, 300)
    if not given:
        raise InputError(f"template is '': {EXPECTED}")
    path, content = _content(given, where)
    if len(content) > MAX_BYTES:
        raise InputError(f"{where}: the file is too long, expected at most {MAX_BYTES:,} bytes")
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{where}:{line}: found bytes that are not UTF-8, {EXPECTED}") from None
    if path.suffix == ".ipynb" or source.lstrip().startswith('{"cells"'):
        raise InputError(
            f"{where}: a notebook, expected a Python file, such as "
            f"`jupyter nbconvert --to script {path.name}` makes of it"
        )
    if not source.strip():
        raise InputError(f"{where}: an empty file, {EXPECTED}")
    return path, source, where


def _content(given: str, where: str) -> tuple[Path, bytes]:
    """Absolute path and content of a file; at most one byte more than is allowed."""
    try:
        path = resolved(given)
        kinds = {"a folder": path.is_dir(), "a device or pipe": path.exists()}
        if not path.is_file():
            found = next((kind for kind, is_one in kinds.items() if is_one), "no such file")
            raise FileNotFoundError(0, found)
        with path.open("rb") as file:
            return path, file.read(MAX_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {why_not(error)}, {EXPECTED}") from None
