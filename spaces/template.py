"""A hyperas template: a Python file in which hyperparameters are written `{{choice([16, 32])}}`.

To Python that is a set within a set, which no program can make, since sets cannot hold sets. So
such a file has a syntax tree, and where a set within a set stands in it, there is a hyperparameter.
The values of a config are put in their places there, and all else stays as it is, line numbers too.
hyperas itself is not needed: imports of it are left out, and so is what calls `optim.minimize`.
"""

from __future__ import annotations

import ast
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

    def shape(self) -> dict[str, str]:
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
            problem = f"{error.msg}, expected Python 3"
            raise template._wrong(error.lineno or 1, problem) from None
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
    def _constants(self) -> dict[str, ast.expr]:
        return tree.constants(self._parsed.tree)

    @cached_property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """All hyperparameters by their labels, in order of the file."""
        found: dict[str, Hyperparameter] = {}
        for node, argument in tree.templates(self._parsed.tree):
            label, place = f"{argument}:{node.lineno}", 1
            while label in found:
                place += 1
                label = f"{argument}:{node.lineno}:{place}"
            try:
                read = distribution.read(label, tree.inner(node), self._constants)
            except InputError as error:
                raise self._wrong(node.lineno, str(error)) from None
            found[label] = Hyperparameter(label, node.lineno, read)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the file is ignored."""
        return self._parsed.notes

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
        return self._parsed.roles.get("model", "create_model")

    @cached_property
    def returned(self) -> tuple[str, ...]:
        """Names of what `data` returns, an empty one for what has none; () if nothing is sure."""
        found = set(tree.returned(tree.functions(self._parsed.tree)[self.data]))
        return found.pop() if len(found) == 1 else ()

    def code(self, values: Mapping[str, Value]) -> CodeType:
        """The file as a program, with a value in place of each hyperparameter."""
        hyperparameters = list(self.hyperparameters.values())

        def value(place: int, node: ast.Set) -> ast.expr:
            one = hyperparameters[place]
            options, call = one.distribution.options, tree.inner(node)
            if options and isinstance(call, ast.Call):
                chosen = distribution.options_of(call, self._constants)
                return chosen[options.index(values[one.label])]
            return ast.copy_location(ast.Constant(values[one.label]), node)

        parsed = tree.parse(self.source, str(self.path)).tree
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = ast.fix_missing_locations(tree.filled(parsed, value))
            return compile(program, str(self.path), "exec", dont_inherit=True)

    # whether it is one

    def _check(self) -> None:
        parsed = self._parsed.tree
        for line, name, instead in sorted(removed.removed_names(parsed)):
            raise self._wrong(line, f"{name} is not in Keras 3, expected {instead} in its place")
        for node, problem in tree.misplaced(parsed):
            raise self._wrong(node.lineno, problem)
        functions = tree.functions(parsed)
        for name in (self.data, self.model):
            if name not in functions:
                hint = nearest(name, functions)
                expected = "expected data() and create_model(...) at the top level"
                raise self._wrong(1, f"no function {name}, {expected}{f'; {hint}' if hint else ''}")
        self._check_data(functions[self.data], functions[self.model])
        if not self.hyperparameters:
            raise self._wrong(1, "no hyperparameter, expected one such as {{choice([16, 32])}}")
        self._check_size()
        self.code(self.space().middle().to_dict())

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
        needed, names = tree.required(model), self.returned
        most = len(model.args.posonlyargs) + len(model.args.args)
        fits = set(needed) <= set(names) or len(needed) <= len(names) <= most
        whole = len(needed) == 1 or len(names) < 2  # all that is returned may be one value
        if not (fits or whole or model.args.vararg):
            found = ", ".join(name or "..." for name in names)
            raise self._wrong(
                model.lineno,
                f"{model.name} takes {', '.join(needed)}, but {data.name} returns {found}: "
                f"expected as many, or the same names",
            )


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
    if not source.strip():
        raise InputError(f"{where}: an empty file, {EXPECTED}")
    return path, source, where
