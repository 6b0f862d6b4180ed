"""Times as people read them; only the standard library is imported."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """A time for people: `42 s`, `3 min 05 s`, `2 h 10 min`; `?` if it is not known."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
