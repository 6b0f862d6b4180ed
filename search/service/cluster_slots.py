"""How many slots the Ray cluster of a service has, as a watched process counts them."""

from __future__ import annotations

import subprocess
import sys
import threading

from lstm_sweep.models.errors import InputError

#: seconds until the process is started again, and that it has to say its first number
AGAIN_S, FIRST_WITHIN_S = 5.0, 180.0
MODULE = "lstm_sweep.search.engines.ray_count"


class ClusterSlots:
    """The number of slots of the cluster that `RAY_ADDRESS` names, or of this machine's."""

    def __init__(self) -> None:
        #: the last number that is known
        self._count = 0
        self._said = ""
        self._child: subprocess.Popen[str] | None = None
        self._known, self._ends = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)

    def __call__(self) -> int:
        """How many there are; while the cluster does not answer, how many there were."""
        return self._count

    def start(self) -> None:
        """Begin to count.

        Raises:
            InputError: there is no cluster that this machine can join.
        """
        self._thread.start()
        if not self._known.wait(FIRST_WITHIN_S) or not self._said.isdecimal():
            self.close()
            raise InputError(self._said or "--on ray: the cluster does not answer")

    def close(self) -> None:
        """End the process."""
        self._ends.set()
        with self._lock:
            if self._child:
                self._child.terminate()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ends.is_set():
            with self._lock:
                if self._ends.is_set():
                    return
                child = self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            assert child.stdout
            with child:
                for line in child.stdout:
                    self._said = line.strip()
                    if self._said.isdecimal():
                        self._count = int(self._said)
                    self._known.set()
            self._known.set()
            self._ends.wait(AGAIN_S)
