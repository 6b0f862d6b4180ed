"""Counts the slots of a Ray cluster, as a process: `python -m ...` prints a line at each change.

It is a process of its own, since Ray ends the one that is connected to a head that dies.
"""

from __future__ import annotations

import os
import sys
import time

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import ray_cluster

#: seconds between two looks
LOOK_EVERY_S = 1.0


def main() -> int:
    """Print how many slots there are, until the process that wants to know has ended."""
    parent, said = os.getppid(), -1
    try:
        ray_cluster.connect()
    except InputError as error:
        print(error, flush=True)
        return 2
    while os.getppid() == parent:
        count = ray_cluster.slots_of(ray_cluster.alive().values())
        if count != said:
            said = count
            print(count, flush=True)
        time.sleep(LOOK_EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
