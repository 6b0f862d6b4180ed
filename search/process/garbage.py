"""Python's search for garbage, which costs a start that imports much a sixth of its time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def none_while_starting() -> Iterator[None]:
    """Look for no garbage within it; what is there at its end is never looked at again.

    What a program imports stays until it ends, so there is next to nothing to find among it, and
    each look at all of it would stop the program for a third of a second.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
