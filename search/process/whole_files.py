"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_text(file: Path, text: str, *, lasting: bool = False) -> None:
    """Write a file at once: who reads it sees all of it, or what it was.

    Others may not read it. With `lasting` that also holds after a power failure.

    Raises:
        OSError: it cannot be written.
    """
    handle, partial = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            written.write(text)
            if lasting:
                written.flush()
                os.fsync(written.fileno())
        Path(partial).replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise
