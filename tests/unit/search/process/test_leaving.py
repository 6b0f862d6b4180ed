"""A program that is left."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, threading, time
from lstm_sweep.search.process.leaving import leave

class Torn:
    def __del__(self):
        print("torn apart", flush=True)

kept = Torn()
atexit.register(print, "registered")
threading.Thread(target=time.sleep, args=(600,)).start()
leave(3)
"""


def test_it_calls_what_is_registered_and_waits_for_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (3, "registered\n")
