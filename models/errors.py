"""`InputError`, shown to users as one line without a traceback, and how its messages quote."""

from __future__ import annotations

from collections.abc import Iterable

#: characters of a value and of a message, at most: what was given may have megabytes
LONGEST_VALUE, LONGEST = 120, 1_000


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, what is expected, and where.

    Whatever it quotes, the message is one line that is not long.
    """

    def __init__(self, message: str) -> None:
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        super().__init__(text if len(text) <= LONGEST else f"{text[:700]} ... {text[-290:]}")


def cut(text: str, longest: int = LONGEST_VALUE) -> str:
    """A text as messages quote it: not long."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def shown(value: object) -> str:
    """A value as messages quote it: `repr`, but not long."""
    if isinstance(value, str):
        return repr(cut(value))
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits; lists without end
        return f"{type(value).__name__} too large to show"


def nearest(name: object, known: Iterable[str]) -> str:
    """`did you mean 'layers'?`, or nothing if no known name is near."""
    import difflib

    given = name[:LONGEST_VALUE] if isinstance(name, str) else ""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def one_of(name: object, known: Iterable[str]) -> str:
    """Name what is possible, with the nearest first: `did you mean 'layers'? possible: ...`."""
    names = list(known)
    return f"{nearest(name, names)} possible: {', '.join(names)}".lstrip()
