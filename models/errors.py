"""Wrong input: the one line that a user sees of it, and checks of fields and paths that make it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import Any

#: largest number of characters of a quoted value, of a text that is printed, and of a message
LONGEST_VALUE, LONGEST_SHOWN, LONGEST = 120, 600, 1_000


class InputError(ValueError):
    """Wrong input of a user; the message says what was found, what is expected, and where.

    It is one line of at most `LONGEST` characters: control characters are escaped, and the middle
    of a long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_line(message))


class NoRoomError(OSError):
    """No room on this machine for files that the program works with; the message says where."""


def escaped(text: str, kept: str = "") -> str:
    """A text without control characters, but for those that are `kept`."""
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in text)


def _line(message: str) -> str:
    text = escaped(message)
    return text if len(text) <= LONGEST else f"{text[:700]} ... {text[-290:]}"


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def plain(text: object) -> str:
    """A text in one short line, with control characters escaped."""
    return escaped(cut(str(text), LONGEST_SHOWN))


def shown(value: object) -> str:
    if isinstance(value, str):
        return repr(cut(value))
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # of a huge integer, or a list nested too deeply
        return f"{type(value).__name__} too large to show"


def nearest(name: object, known: Iterable[str]) -> str:
    """Return `did you mean 'layers'?`, or an empty string if no known name is similar."""
    import difflib

    given = name[:LONGEST_VALUE] if isinstance(name, str) else ""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def one_of(name: object, known: Iterable[str]) -> str:
    """List the known names, with a similar one first: `did you mean 'layers'? possible: ...`."""
    names = list(known)
    return f"{nearest(name, names)} possible: {', '.join(names)}".lstrip()


#: the largest number that a field takes
LARGEST = 2**64


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number, also one of NumPy; booleans are none."""
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool)


def check_kind(name: str, value: object, *, whole: bool = False) -> None:
    if not is_number(value, whole=whole):
        noun = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {shown(value)}: expected {noun}")


def check_range(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    check_kind(name, value, whole=whole)
    if not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}: expected {low:,} to {high:,}")


def path_text(name: str, value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}: expected a path")
    return value


def check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} is {shown(value)}: expected a text")


def check_switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}: expected true or false")


def check_word(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        hint = nearest(value, allowed)
        raise InputError(
            f"{name} is {shown(value)}: expected one of "
            f"{', '.join(allowed)}{f'; {hint}' if hint else ''}"
        )


def resolved(given: str | Path) -> Path:
    """The absolute path of what is named, without `~` and links; nothing has to be there.

    Raises:
        OSError: it may not be looked at, its name is too long, or links lead in a circle.
        RuntimeError: there is no such user.
        ValueError: it has a null character.
    """
    path = Path(given).expanduser()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
    return path.resolve()


def why_not(error: OSError | RuntimeError | ValueError) -> str:
    """Why a path cannot be used, from an error of `resolved` or of a function that opens it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return "embedded null byte"
    return cut(str(error))


@contextlib.contextmanager
def refusing(where: str, expected: str) -> Iterator[None]:
    """Refuse a file or folder, which `where` names, if there is an `OSError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{where}: {why_not(error)}, {expected}") from None
