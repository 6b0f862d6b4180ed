"""Kinds of values that options of the command line take; only the standard library is imported."""

from __future__ import annotations

import argparse

from lstm_sweep.models.errors import shown


def whole(text: str, or_else: str = "") -> int:
    """A whole number; `or_else` is what else would be expected."""
    try:
        return int(text)
    except ValueError:
        expected = f"{or_else}a whole number"
        raise argparse.ArgumentTypeError(f"found {shown(text)}, expected {expected}") from None


def whole_or_auto(text: str) -> int | str:
    """A whole number, or `auto`."""
    return text if text == "auto" else whole(text, "auto or ")


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {shown(text)}, expected a number") from None


def switch(text: str) -> bool:
    """Whether it is `on`."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"found {shown(text)}, expected on or off")
    return text == "on"
