"""`Wording`: a text that the Python API and the command line word differently."""

from __future__ import annotations

from typing import Any


class Wording(str):
    """A text as Python has it, `length`, and in `command_line` as people type it, `--length`.

    `worded` keeps both through a concatenation; an f-string keeps that of Python alone.
    """

    #: the same in the words of the command line
    command_line: str

    def __new__(cls, python: str, command_line: str | None = None) -> Wording:
        """Without `command_line` both are the same."""
        made = super().__new__(cls, python)
        made.command_line = python if command_line is None else command_line
        return made


def option(name: str, value: str | None = None) -> Wording:
    """An argument: `length` or `size_rule='warn'`, on the command line `--size-rule warn`."""
    typed = f"--{name.replace('_', '-')}"
    if value is None:
        return Wording(name, typed)
    return Wording(f"{name}={value!r}", f"{typed} {value}")


def worded(*parts: object) -> Wording:
    """The concatenation of texts, or of errors, in both wordings."""
    return Wording("".join(map(str, parts)), "".join(map(for_command_line, parts)))


def for_command_line(text: object) -> str:
    """A text or an error in the words of the command line."""
    own = getattr(text, "command_line", None)
    return own if isinstance(own, str) else str(text)


def values_text(described: Any) -> str:
    """The values of a dimension for people, as a space describes it: `32, 64` or `0.001 to 0.1`."""
    if isinstance(described, dict) and described.keys() >= {"low", "high"}:
        steps = f" by {described['step']:g}" if "step" in described else ""
        return f"{described['low']:g} to {described['high']:g}{steps}"
    listed = described if isinstance(described, list) else [described]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in listed)
