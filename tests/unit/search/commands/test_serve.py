"""How `serve` ends: what a signal begins, and what happens if something hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from lstm_sweep.search.commands.serve import _End

#: a service that does not end by itself: its main thread goes on for ever
HANGING = """
import time
from lstm_sweep.search.commands import serve

serve.AFTER_ALL_S = 0.2
end = serve._End()
with end.on_signals():
    end.calls(lambda: print("drained", flush=True))
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


def test_the_first_signal_begins_the_end_and_what_is_added_later_is_called_at_once() -> None:
    called = list[str]()
    end, before = _End(), signal.getsignal(signal.SIGTERM)
    with end.on_signals():
        end.calls(lambda: called.append("drain"))
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        until = time.monotonic() + 60
        while not called:
            assert time.monotonic() < until
        end.calls(lambda: called.append("MLflow"))
    assert called == ["drain", "MLflow"]
    assert end.by_signal
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_ends_without_a_signal_too() -> None:
    called = list[str]()
    with (end := _End()).on_signals():
        end.calls(lambda: called.append("drain"))
    assert called == ["drain"]
    assert not end.by_signal


def test_a_program_that_hangs_ends_once_all_is_done() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "drained\n"
        assert process.wait(60) == 0
