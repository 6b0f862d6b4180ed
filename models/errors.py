"""Errors that users see as one line without a traceback, and how their messages quote."""

from __future__ import annotations

from collections.abc import Iterable

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
    """Shorten a text for a message."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def plain(text: object) -> str:
    """A text in one short line, with control characters escaped."""
    return escaped(cut(str(text), LONGEST_SHOWN))


def shown(value: object) -> str:
    """Return the `repr` of a value, shortened for a message."""
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
