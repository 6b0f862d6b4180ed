"""Ends a program without the seconds in which Python takes its modules apart."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End this process with an exit code: call what is registered for the exit, and no more.

    To take apart what a service has imported takes more than a second of a processor, during which
    nothing is done for anybody. Threads that still run are not waited for.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # such as a closed one
            stream.flush()
    os._exit(code)
