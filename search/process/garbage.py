"""Python's search for garbage.

It costs a start that imports much a sixth of its time, and stops a program that has imported much
for a fifth of a second each time it looks at everything.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

#: things, such as trials, that are left out at a time: a look at so many takes some 20 ms
AT_ONCE = 500


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


@contextlib.contextmanager
def only_of_what_comes() -> Iterator[Callable[[int], None]]:
    """Look within it for no garbage among what is there at its beginning.

    What it yields is told how many things are kept by now, and leaves those out too, some `AT_ONCE`
    at a time. All is looked at again once it is over, also what was left out before.
    """
    left_out = 0

    def leave_out(kept: int) -> None:
        nonlocal left_out
        if kept >= left_out + AT_ONCE:
            left_out = kept
            gc.freeze()

    gc.freeze()
    try:
        yield leave_out
    finally:
        gc.unfreeze()
