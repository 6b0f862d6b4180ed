"""Reads the text of a template's file."""

from __future__ import annotations

from pathlib import Path

from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.models.paths import resolved, why_not

#: bytes of a template, at most
MAX_BYTES = 1 << 20
EXPECTED = "expected a Python file with {{...}} in it"


def read_source(given: str) -> tuple[Path, str, str]:
    """Read a template's file; return its absolute path, its text, and its name for messages.

    Raises:
        InputError: it cannot be read, is too large, is not UTF-8, is empty, or is a notebook.
    """
    where = cut(given, 300)
    if not given:
        raise InputError(f"template is '': {EXPECTED}")
    path, content = _content(given, where)
    if len(content) > MAX_BYTES:
        raise InputError(f"{where}: the file is too long, expected at most {MAX_BYTES:,} bytes")
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{where}:{line}: found bytes that are not UTF-8, {EXPECTED}") from None
    if path.suffix == ".ipynb" or source.lstrip().startswith('{"cells"'):
        raise InputError(
            f"{where}: a notebook, expected a Python file, such as "
            f"`jupyter nbconvert --to script {path.name}` makes of it"
        )
    if not source.strip():
        raise InputError(f"{where}: an empty file, {EXPECTED}")
    return path, source, where


def _content(given: str, where: str) -> tuple[Path, bytes]:
    """Absolute path and content of a file; at most one byte more than is allowed."""
    try:
        path = resolved(given)
        kinds = {"a folder": path.is_dir(), "a device or pipe": path.exists()}
        if not path.is_file():
            found = next((kind for kind, is_one in kinds.items() if is_one), "no such file")
            raise FileNotFoundError(0, found)
        with path.open("rb") as file:
            return path, file.read(MAX_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{where}: {why_not(error)}, {EXPECTED}") from None
