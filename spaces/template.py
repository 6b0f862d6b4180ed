"""A hyperas template: a Python file in which hyperparameters are written `{{choice([16, 32])}}`.

To Python that is a set within a set, which no program can make, since sets cannot hold sets. So
such a file has a syntax tree, and where a set within a set stands in it, there is a hyperparameter.
The values of a config are put in their places there, and all else stays as it is, line numbers too.
hyperas itself is not needed: imports of it are left out, and so is what calls `optim.minimize`.
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

from models.errors import InputError, cut, nearest
from spaces import cudnn, distribution, removed, tree
from spaces.dimension import Dimension, Value
from spaces.distribution import Distribution
from spaces.space import Space

#: bytes of a template, at most
BYTES = 1 << 20
#: characters of a config, at most: a run keeps it in one tag
LONGEST_CONFIG = 7_500
EXPECTED = "expected a Python file with {{...}} in it"
#: epochs of a trial, at most: how many there are stands in the template
EPOCHS = 100_000
#: names that Keras has no longer and that one line tells, beside the first, at most
MOST_NAMES = 6


@dataclass(frozen=True)
class TemplateConfig:
    """One point of a template's space: a value for each label."""

    #: its loss is what the template returns, whatever an epoch's validation loss is
    returns_loss: ClassVar[bool] = True
    #: its fields are the template's
    epochs: ClassVar[int] = EPOCHS

    values: tuple[tuple[str, Value], ...]

    def to_dict(self) -> dict[str, Value]:
        """All values by their labels, in order of the file."""
        return dict(self.values)

    def evolve(self, **changes: Value) -> Self:
        """Return a copy with some values replaced."""
        return self.from_dict({**self.to_dict(), **changes})

    def table_columns(self) -> dict[str, str]:
        """What tables show: headings and texts."""
        values = (f"{shown_label(label)} {_short(value)}" for label, value in self.values)
        return {"hyperparameters": ", ".join(values)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Value]) -> Self:
        """Make a config from plain values."""
        return cls(tuple(values.items()))


def shown_label(label: str) -> str:
    """A label as people read it: `units:12` is `units (line 12)`, `units:12:2` the second there."""
    argument, line, *place = label.split(":")
    return f"{argument} (line {line}{', ' if place else ''}{f'no. {place[0]}' if place else ''})"


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else cut(str(value), 40)


class TemplateSpace(Space):
    """The hyperparameters of a template by their labels."""

    def __init__(self, dimensions: Mapping[str, Dimension], rate: str | None = None) -> None:
        self._dimensions = dict(dimensions)
        self.rate = rate

    def replace(self, **dimensions: Dimension) -> TemplateSpace:
        """Return a space in which some dimensions are others."""
        return TemplateSpace({**self._dimensions, **dimensions}, self.rate)

    def config(self, values: Mapping[str, Any]) -> TemplateConfig:
        """The config with these values."""
        return TemplateConfig.from_dict(values)

    @property
    def epochs(self) -> int:
        """Epochs of a trial, at most."""
        return EPOCHS


@dataclass(frozen=True)
class Hyperparameter:
    """A `{{...}}` of a template."""

    #: `argument:line`, and `:2` if it is the second of that name there
    label: str
    line: int
    distribution: Distribution
    #: at which place of all templates of the file
    place: int


@dataclass(frozen=True)
class Template:
    """A template; it has been read and is one."""

    path: Path
    source: str
    #: where it stands, as the user has named it
    where: str

    @classmethod
    def read(cls, given: str) -> Self:
        """Read a template from a file.

        Raises:
            InputError: it cannot be read, or is no template; the message names file and line.
        """
        template = cls(*_read(given))
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
        """Fingerprint of the file, 16 hexadecimal digits."""
        return hashlib.blake2b(self.source.encode(), digest_size=8).hexdigest()

    def space(self, rate: str | None = None) -> TemplateSpace:
        """What may vary; `rate` is the argument or the label that is a learning rate.

        Raises:
            InputError: no hyperparameter is called `rate`, or several are.
        """
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
                f"expected a list or a range of numbers above 0"
            )
        some = "no hyperparameter" if not fitting else f"{len(fitting)} hyperparameters"
        raise InputError(
            f"--learning-rate-field {cut(name)}: {some} of {self.where} of this name, expected one "
            f"of {', '.join(self.hyperparameters)}"
        )

    # what is in it

    @cached_property
    def _parsed(self) -> tree.Parsed:
        return tree.parse(self.source, str(self.path))

    @cached_property
    def _functions(self) -> dict[str, ast.FunctionDef]:
        return tree.functions(self._parsed.tree)

    def _known(self, within: str) -> dict[str, ast.expr]:
        """What names stand for in a function, as far as the text tells; "": in none.

        As with hyperas, names of `data` are known too, unless the file has them for others.
        """
        module, data = self._parsed.tree, self._functions.get(self.data)
        known = tree.constants(data) if data else {}
        known = {name: one for name, one in known.items() if name not in tree.stored(module)}
        known |= tree.constants(module)
        if function := self._functions.get(within):
            given = set(tree.arguments(function)) - set(self.returned)
            hidden = given | set(tree.stored(function))
            known = {name: one for name, one in known.items() if name not in hidden}
            known |= tree.constants(function)
        return known

    @cached_property
    def _places(self) -> dict[int, tree.Place]:
        """The templates that `create_model` comes to, by their places among all."""
        reached = {"", *tree.reached(self._parsed.tree, self.data, self.model)}
        places = enumerate(tree.templates(self._parsed.tree))
        return {number: place for number, place in places if place.within in reached}

    @cached_property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """All hyperparameters by their labels, in order of the file."""
        within = {place.within for place in self._places.values()}
        known = {function: self._known(function) for function in within}
        found: dict[str, Hyperparameter] = {}
        for number, place in self._places.items():
            line, count = place.node.lineno, 1
            first = label = f"{place.argument}:{line}"
            while label in found:
                count += 1
                label = f"{first}:{count}"
            try:
                read = distribution.read(label, tree.inner(place.node), known[place.within])
            except InputError as error:
                raise self._wrong(line, str(error)) from None
            found[label] = Hyperparameter(label, line, read, number)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the file is ignored, or is other than one would think."""
        places = enumerate(tree.templates(self._parsed.tree))
        unused = {one.within: one.node.lineno for n, one in places if n not in self._places}
        noted = [one for one in self.hyperparameters.values() if one.distribution.note]
        return (
            *self._parsed.notes,
            *(f"line {line}: {name} has {{{{...}}}}, but {self.model} does not use it"
              for name, line in unused.items()),
            *(f"line {one.line}: {one.distribution.note}" for one in noted),
            *(f"line {line}: {name} has no effect in Keras 3, expected {instead}"
              for line, name, instead in sorted(removed.ignored(self._parsed.tree))),
        )  # fmt: skip

    @property
    def gpu_notes(self) -> tuple[str, ...]:
        """What of the file takes many times as long as it need on a GPU."""
        return tuple(
            f"line {line}: {layer} with {cut(written, 80)} does without cuDNN, expected {needed}"
            for line, layer, written, needed in sorted(cudnn.leaving(self._parsed.tree))
        )

    @property
    def data(self) -> str:
        """Name of the function that gives the data."""
        return self._parsed.roles.get("data", "data")

    @property
    def model(self) -> str:
        """Name of the function that builds and trains."""
        named = self._parsed.roles.get("model", "create_model")
        others = {place.within for place in tree.templates(self._parsed.tree)} & set(
            self._functions
        )
        return others.pop() if named not in self._functions and len(others) == 1 else named

    @cached_property
    def returned(self) -> tuple[str, ...]:
        """Names of what `data` returns, an empty one for what has none; () if nothing is sure."""
        data = self._functions.get(self.data)
        found = set(tree.returned(data)) if data else set()
        return found.pop() if len(found) == 1 else ()

    @cached_property
    def _dropped(self) -> set[str]:
        """Arguments of `create_model` that nothing is given to.

        hyperas gives it no arguments at all: names in it are those of `data`. What goes neither by
        name nor by position is left to that.
        """
        model, names = self._functions[self.model], self.returned
        needed, positional = tree.required(model), tree.arguments(model)
        if len(names) < 2 or len(needed) < 2 or model.args.vararg or set(needed) <= set(names):
            return set()
        alike, inner = [name.casefold() for name in names], set[str]()
        if set(needed) & set(names):  # where one goes by its name, so do others that `data` has
            inner = set(tree.stored(self._functions[self.data]))
        moved = any(
            name.casefold() != own and (name.casefold() in alike or (own and name in inner))
            for name, own in zip(positional, alike, strict=False)
        )
        by_place = len(needed) <= len(names) <= len(positional) and not moved
        return set() if by_place else set(needed) - set(names)

    def code(self, values: Mapping[str, Value]) -> CodeType:
        """The file as a program, with a value in place of each hyperparameter."""
        by_place = {one.place: one for one in self.hyperparameters.values()}

        def value(place: int, node: ast.Set) -> ast.expr:
            if place not in by_place:
                return node
            one = by_place[place]
            chosen, options = values[one.label], one.distribution.options
            if options:
                return copy.deepcopy(one.distribution.expressions[options.index(chosen)])
            return ast.copy_location(ast.Constant(chosen), node)

        parsed = tree.parse(self.source, str(self.path)).tree
        functions = tree.functions(parsed)
        tree.drop(functions[self.model], self._dropped)
        tree.share(parsed, functions[self.data])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = ast.fix_missing_locations(tree.filled(parsed, value))
            return compile(program, str(self.path), "exec", dont_inherit=True)

    # whether it is one

    def _check(self) -> None:
        self._check_names()
        for node, problem in tree.misplaced(self._parsed.tree):
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

    def _check_names(self) -> None:
        """All names that Keras has no longer are named at once."""
        found = dict[str, tuple[int, str]]()
        for line, name, instead in sorted(removed.removed_names(self._parsed.tree)):
            found.setdefault(name, (line, f"expected {instead}"))
        if not found:
            return
        (name, (line, problem)), *rest = found.items()
        more = "".join(f"; line {at}: {name}, {what}" for name, (at, what) in rest[:MOST_NAMES])
        more += f"; and {len(rest) - MOST_NAMES} more" if len(rest) > MOST_NAMES else ""
        raise self._wrong(line, f"{name} is not in Keras 3, {problem} in its place{more}")

    def _check_size(self) -> None:
        """A config must not be too long for the run that keeps it."""
        longest = {
            label: max(map(str, one.distribution.options), key=len, default="-0.00000123e-10")
            for label, one in self.hyperparameters.items()
        }
        if len(json.dumps(longest)) > LONGEST_CONFIG:
            count = len(longest)
            raise self._wrong(1, f"{count} hyperparameters, expected fewer, or shorter options")

    def _check_data(self, data: ast.FunctionDef, model: ast.FunctionDef) -> None:
        """What `data` returns must suit what `create_model` takes."""
        if tree.required(data):
            raise self._wrong(data.lineno, f"{data.name} takes arguments, expected none")
        if not tree.returned(data):
            raise self._wrong(data.lineno, f"{data.name} returns nothing, expected data")
        if lost := self._dropped & tree.loaded(model) - set(tree.stored(data)):
            found = ", ".join(name or "..." for name in self.returned)
            raise self._wrong(
                model.lineno,
                f"{model.name} takes {', '.join(tree.required(model))}, but {data.name} returns "
                f"{found}: nothing is {', '.join(sorted(lost))}, expected as many, or the same "
                f"names, in the same order",
            )


def _not_python(error: SyntaxError) -> str:
    line = (error.text or "").strip()
    if line[:1] in ("%", "!"):
        return f"{cut(line, 40)} is a command of a notebook, expected Python alone"
    return f"{error.msg}, expected Python 3"


def _content(given: str, where: str) -> tuple[Path, bytes]:
    """The absolute path of a file, and what is in it, but not much more than is allowed."""
    try:
        path = Path(given).expanduser().resolve()
        kinds = {"a folder": path.is_dir(), "a device or pipe": path.exists()}
        if not path.is_file():
            found = next((kind for kind, is_one in kinds.items() if is_one), "no such file")
            raise FileNotFoundError(0, found)
        with path.open("rb") as file:
            return path, file.read(BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or cut(str(error))
        raise InputError(f"{where}: {why}, {EXPECTED}") from None


def _read(given: str) -> tuple[Path, str, str]:
    """The absolute path of a file, its text, and how it is named."""
    where = cut(given, 300)
    if not given:
        raise InputError(f"template is '': {EXPECTED}")
    path, content = _content(given, where)
    if len(content) > BYTES:
        raise InputError(f"{where}: the file is too long, expected at most {BYTES:,} bytes")
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
