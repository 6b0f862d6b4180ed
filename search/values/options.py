"""`Option`: one thing that a sweep can be told, and the kinds of values that options take.

Command line, sweep files, requests of a service and Python check a value by its kind, so that they
refuse it with the same sentence. Only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.source import FIELD, SYMBOLS, Source, is_field, near_one, regex
from lstm_sweep.models.errors import LARGEST, InputError, nearest, resolved, shown, why_not
from lstm_sweep.spaces import PRESET_NAMES

#: in place of a value: what suits the data or this machine
AUTO = "auto"
#: kinds of tasks: what follows a sequence, which class it has, or what a template says
CORPUS, CLASSES, TEMPLATE = "symbols", "classes", "template"

Schema = dict[str, Any]
#: names of sweeps, and what means one or a trial of it
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
REFERENCE = re.compile(rf"{NAME.pattern}(/[0-9]{{1,18}})?")


@dataclass(frozen=True)
class Kind:
    """What values an option takes; a refusal begins with the place where a value was given."""

    #: what stands for a value in the help of the command line
    metavar: str
    #: what JSON may hold, as JSON Schema
    schema: Schema
    #: the value as a spec has it, by its place
    take: Callable[[str, Any], Any]
    #: the value of what was typed, by its place; paths and names of files are not looked at yet
    read: Callable[[str, str], Any]
    #: words that may be typed, if they are few
    words: tuple[str, ...] = ()


def _refused(place: str, value: object, expected: str, known: Collection[str] = ()) -> InputError:
    near = nearest(value, known)
    return InputError(f"{place} is {shown(value)}: expected {expected}{near and f'; {near}'}")


def number(
    low: float,
    high: int = LARGEST,
    *,
    whole: bool = True,
    above: bool = False,
    auto: bool = False,
) -> Kind:
    """A number from `low` to `high`, larger than `low` with `above`; `auto` may stand for one."""
    noun = f"{'auto or ' if auto else ''}{'a whole number' if whole else 'a number'}"
    expected = f"{noun} {'above' if above else 'from'} {low:g}"

    def take(place: str, value: Any) -> Any:
        if auto and isinstance(value, str) and value == AUTO:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _refused(place, value, expected)
        if isinstance(value, int) and value > high:
            given = value if value <= LARGEST else "too large"
            raise InputError(f"{place} is {given}: expected {expected} to {high}")
        is_whole = isinstance(value, int) or not whole
        if not low <= value <= high or (above and value == low) or not is_whole:
            raise InputError(f"{place} is {value!r}: expected {expected}")
        return value

    def read(place: str, text: str) -> Any:
        value: Any = text
        with contextlib.suppress(ValueError):  # what is no number is refused as a text
            value = int(text) if whole else float(text)
        return take(place, value)

    least = "exclusiveMinimum" if above else "minimum"
    schema = {"type": "integer" if whole else "number", least: low, "maximum": high}
    word = {"type": "string", "enum": [AUTO]}
    return Kind("N", {"anyOf": [schema, word]} if auto else schema, take, read)


def switch(*, auto: bool = False) -> Kind:
    """True or false, which are also `on` and `off`; `auto` may stand for one."""
    words = (AUTO, "on", "off") if auto else ("on", "off")
    expected = "auto, " if auto else ""

    def take(place: str, value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value if value == AUTO else value == "on"
        if not isinstance(value, bool):
            raise _refused(place, value, f"{expected}true or false")
        return value

    def read(place: str, text: str) -> Any:
        if text not in words:
            raise _refused(place, text, f"{expected}on or off")
        return take(place, text)

    schema = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [*words]}]}
    return Kind("|".join(words), schema, take, read, words)


def word(words: Collection[str]) -> Kind:

    def take(place: str, value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise _refused(place, value, f"one of {', '.join(words)}", words)
        return value

    schema = {"type": "string", "enum": [*words]}
    return Kind("|".join(words), schema, take, take, tuple(words))


def symbols() -> Kind:

    def take(place: str, value: Any) -> Any:
        if is_field(value):
            return value
        if not isinstance(value, str) or value not in SYMBOLS:
            expected = f"one of {', '.join(SYMBOLS)}, or {FIELD}NAME"
            raise _refused(place, value, expected, SYMBOLS)
        return value

    of_field = {"type": "string", "pattern": f"^{FIELD}.+"}
    schema = {"anyOf": [{"type": "string", "enum": [*SYMBOLS]}, of_field]}
    return Kind(f"{'|'.join(SYMBOLS)}|{FIELD}NAME", schema, take, take)


def text(expected: str, metavar: str = "NAME", like: re.Pattern[str] | None = None) -> Kind:

    def take(place: str, value: Any) -> Any:
        fits = like.fullmatch if like else bool
        if not isinstance(value, str) or not fits(value):
            raise _refused(place, value, expected)
        return value

    more = {"pattern": f"^{like.pattern}$"} if like else {"minLength": 1}
    return Kind(metavar, {"type": "string", **more}, take, take)


def column() -> Kind:
    """A column of a table: its name, or its number from 0, which is a text from then on."""
    named = text("the name of a column, or its number from 0", "COLUMN")
    number = {"type": "integer", "minimum": 0}

    def take(place: str, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return named.take(place, str(value) if is_number else value)

    return Kind(named.metavar, {"anyOf": [named.schema, number]}, take, named.read)


def expression(expected: str) -> Kind:
    named = text(expected, "REGEX")

    def take(place: str, value: Any) -> Any:
        return regex(place, named.take(place, value)).pattern

    return Kind(named.metavar, named.schema, take, named.read)


def data() -> Kind:
    """A path, which is absolute from then on, or the name of a sample."""
    path = text("a path or the name of a sample", "PATH_OR_SAMPLE")

    def take(place: str, value: Any) -> Any:
        source = Source(data=path.take(place, value))
        try:
            return source.resolve().data
        except InputError as error:
            raise InputError(f"{place}{str(error).removeprefix('data')}") from None

    return Kind(path.metavar, path.schema, take, path.read)


def path(expected: str, metavar: str, word: str | None = None) -> Kind:
    """A path, which is absolute from then on, or a word in place of one."""
    named = text(expected, metavar)

    def take(place: str, value: Any) -> Any:
        try:
            return value if value == word else str(resolved(named.take(place, value)))
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{place} is {shown(value)}: {why_not(error)}") from None

    return Kind(metavar, named.schema, take, named.read)


def is_reference(value: object) -> bool:
    """Whether a value means a sweep or a trial, not a folder."""
    return isinstance(value, str) and bool(REFERENCE.fullmatch(value)) and not Path(value).is_dir()


def network() -> Kind:
    """A sweep, a trial of one, or the folder of a bundle, which is absolute from then on."""
    folder = path("a sweep, SWEEP/NUMBER, or a folder written by `export`", "NAME_OR_BUNDLE")

    def take(place: str, value: Any) -> Any:
        return value if is_reference(value) else folder.take(place, value)

    return Kind(folder.metavar, folder.schema, take, folder.read)


def shares() -> Kind:
    share = number(0, whole=False, above=True)

    def take(place: str, value: Any) -> Any:
        parts = value if isinstance(value, list | tuple) and len(value) == 3 else [0, 0, 0]
        with contextlib.suppress(InputError):
            first, second, third = (share.take(place, part) for part in parts)
            total = 1.0 if near_one((first, second, third)) else first + second + third
            return (first / total, second / total, third / total)
        raise _refused(place, value, "three shares above 0, such as [8, 1, 1]")

    def read(place: str, text: str) -> Any:
        try:
            return take(place, [float(part) for part in text.split(",")])
        except ValueError:
            raise _refused(place, text, "three shares above 0, such as 8,1,1") from None

    schema = {"type": "array", "items": share.schema, "minItems": 3, "maxItems": 3}
    return Kind("A,B,C", schema, take, read)


def space() -> Kind:

    def take(place: str, value: Any) -> Any:
        from lstm_sweep.spaces import presets
        from lstm_sweep.spaces.space import Space, from_mapping

        if isinstance(value, Space):
            return value
        return presets.named(value, place) if isinstance(value, str) else from_mapping(value, place)

    dimensions = {"type": "object", "description": "dimensions, as in a space file"}
    schema = {"anyOf": [{"type": "string", "enum": [*PRESET_NAMES]}, dimensions]}
    return Kind("NAME_OR_FILE", schema, take, lambda _, text: text, PRESET_NAMES)


def template() -> Kind:

    def take(place: str, value: Any) -> Any:
        from lstm_sweep.spaces.template.template import Template

        if isinstance(value, Template):
            return value
        if not isinstance(value, str):
            raise _refused(place, value, "a path")
        return Template.read(value)

    return Kind("FILE.py", {"type": "string", "minLength": 1}, take, lambda _, text: text)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing that a sweep can be told."""

    kind: Kind
    #: what it is, for people
    help: str
    default: Any
    #: what holds if it is not given, of a default of None
    unset: str = ""
    #: part of the help that it stands in
    group: str
    name: str = ""
    tasks: tuple[str, ...] = (CORPUS, CLASSES, TEMPLATE)
    #: whether it says how long and where, not what, so that `resume` may change it
    changeable: bool = False
    #: whether the help shows it at once
    common: bool = False
    #: whether it decides what the size rule says of networks
    sizes: bool = False

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def take(self, place: str, value: Any) -> Any:
        """The value as a spec has it, by the place where it was given."""
        return None if value is None and self.default is None else self.kind.take(place, value)

    def read(self, text: str) -> Any:
        return self.kind.read(self.flag, text)

    @property
    def default_text(self) -> str:
        """What holds if it is not given, for people; empty if nothing does."""
        default = self.default
        if default is None:
            return self.unset
        if isinstance(default, bool):
            return "on" if default else "off"
        shares = default if isinstance(default, tuple) else (default,)
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in shares)

    @property
    def described(self) -> str:
        return self.help + (f" (default: {self.default_text})" if self.default_text else "")

    def schema(self) -> Schema:
        kind = self.kind.schema
        if self.default is None:
            kind = {"anyOf": [*kind.get("anyOf", [kind]), {"type": "null"}]}
        default = [*self.default] if isinstance(self.default, tuple) else self.default
        unset = f"; null: {self.unset}" if self.unset else ""
        return {**kind, "default": default, "description": f"{self.help}{unset}"}


def option(default: Any, kind: Kind, help: str, *, make: Any = None, **more: Any) -> Any:
    """A field that is an option; `make` makes what its default stands for, the rest is its own."""
    made = Option(kind=kind, help=help, default=default, **more)
    if make:
        return field(default_factory=make, metadata={"option": made})
    return field(default=default, metadata={"option": made})
