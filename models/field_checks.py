"""Checks of single fields of a spec; messages name the field, its value and what was expected."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

from lstm_sweep.models.errors import InputError, nearest, shown

#: the largest number that a field takes
LARGEST = 2**64


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number, also one of NumPy; booleans are none."""
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool)


def check_kind(name: str, value: object, *, whole: bool = False) -> None:
    """Refuse what is no number, or no whole one; NumPy's are taken as well."""
    if not is_number(value, whole=whole):
        noun = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {shown(value)}: expected {noun}")


def check_range(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    """Refuse what is no number from `low` to `high`; NumPy's are taken as well."""
    check_kind(name, value, whole=whole)
    if not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}: expected {low:,} to {high:,}")


def path_text(name: str, value: object) -> str:
    """A path as a text; refuses what is none."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}: expected a path")
    return value


def check_text(name: str, value: object) -> None:
    """Refuse what is no text."""
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}: expected a text")


def check_switch(name: str, value: object, *, or_else: str = "") -> None:
    """Refuse what is neither true nor false; `or_else` is a word that may stand for one."""
    if not isinstance(value, bool):
        noun = f"{or_else}, " if or_else else ""
        raise InputError(f"{name} is {shown(value)}: expected {noun}true or false")


def check_word(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse what is none of the words that are allowed."""
    if value not in allowed:
        hint = nearest(value, allowed)
        raise InputError(
            f"{name} is {shown(value)}: expected one of "
            f"{', '.join(allowed)}{f'; {hint}' if hint else ''}"
        )
