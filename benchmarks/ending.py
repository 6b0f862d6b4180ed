"""How a benchmark ends that was given what cannot be, or that is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lstm_sweep.models.errors import InputError

GOES_ON = "interrupted; the same command goes on from here"


@contextmanager
def one_line(name: str, interrupted: str = GOES_ON) -> Iterator[None]:
    """Say in one line why benchmark `name` ends: code 2 for bad input, 130 for an interruption.

    If nobody reads its output any more, as with `| head`, it ends without a word.
    """
    try:
        yield
        sys.stdout.flush()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: {interrupted}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # else Python says there that it cannot write what is left
        sys.exit(0)
