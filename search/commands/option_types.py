"""Kinds of values that options of the command line take; only the standard library is imported."""

from __future__ import annotations

import argparse
import re

from lstm_sweep.models.errors import InputError, shown

#: bytes of the units of sizes
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: seconds of the units of ages
AGES = {"h": 3600.0, "d": 24 * 3600.0, "w": 7 * 24 * 3600.0}


def whole(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise _refused(text, "a whole number") from None


def number(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError:
        raise _refused(text, "a number") from None


def switch(text: str) -> bool:
    """Parse `on` or `off`."""
    if text not in ("on", "off"):
        raise _refused(text, "on or off")
    return text == "on"


def _refused(text: str, expected: str) -> argparse.ArgumentTypeError:
    """What is said of a value, behind the option that it was given to."""
    return argparse.ArgumentTypeError(f"is {shown(text)}: expected {expected}")


def size(text: str) -> int:
    """Bytes, as a number with a unit: `500M`, `1.5G`."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,3})?)([KMGT]?)", text, re.ASCII)
    if not found:
        raise _refused(text, "a number and K, M, G or T, such as 500M")
    return int(float(found[1]) * UNITS[found[2]])


def check_one_format(arguments: argparse.Namespace) -> None:
    """Refuse `--csv` beside `--json`.

    Raises:
        InputError: both are given.
    """
    if getattr(arguments, "csv", False) and arguments.json:
        raise InputError("--csv is given with --json: expected one of them")


def age(text: str) -> float:
    """Seconds, as a number with a unit: `12h`, `30d`, `4w`."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([hdw])", text, re.ASCII)
    if not found:
        raise _refused(text, "a number and h, d or w, such as 30d")
    return float(found[1]) * AGES[found[2]]
