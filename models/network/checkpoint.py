"""`Checkpoint`: the complete state of a training after a round, in one file."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: names of the arrays in the file
_HEADER, _STATE, _BEST = "about", "state", "best"
#: share of the time that writing checkpoints may take where they are written more often than they
#: must be, and seconds between two of them then, at least
SHARE, SOONEST_S = 0.02, 1.0
#: share of the time that writing them takes at the most, after the first of which that is known
MOST = 0.05


@dataclass(frozen=True)
class CheckpointSettings:
    """Where the state of a training is written, and how often."""

    file: Path
    #: seconds after which the end of a round writes the next one, unless it takes long to write
    every_s: float = 5.0
    #: loss of the network that is written already; worse ones do not replace it
    best_loss: float = math.inf

    def due_after(self, seconds: float) -> float:
        """Seconds after a checkpoint from which on the next one is due.

        `seconds` are those in which the last one was written, 0 before the first. A trial that is
        paused loses what came after its last checkpoint, so they are written as often as that costs
        little.
        """
        usual = min(self.every_s, max(SOONEST_S, seconds / SHARE))
        return max(usual, seconds / MOST) if self.every_s else 0.0


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after a round; a training restored from it has the same bits."""

    #: metrics of each round so far
    rounds: list[dict[str, float]]
    #: values of all variables: weights, optimizer, random generators, in the order of the model
    state: list[NDArray[Any]]
    #: weights of the best round
    best: list[NDArray[Any]]

    def save(self, path: Path, identity: str) -> None:
        """Write the file atomically.

        `identity` identifies the training; `load` returns the checkpoint for the same one only.
        """
        header = json.dumps({"identity": identity, "rounds": self.rounds}).encode()
        arrays = {_HEADER: np.frombuffer(header, np.uint8)}
        arrays |= {f"{_STATE}{number}": array for number, array in enumerate(self.state)}
        arrays |= {f"{_BEST}{number}": array for number, array in enumerate(self.best)}
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)


def load(path: Path, identity: str) -> Checkpoint | None:
    """Read a checkpoint; None if it is missing, damaged, or of another training."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file[_HEADER].tobytes())
            if header["identity"] != identity:
                return None
            return Checkpoint(header["rounds"], _numbered(file, _STATE), _numbered(file, _BEST))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _numbered(file: Any, name: str) -> list[NDArray[Any]]:
    count = sum(key.startswith(name) for key in file.files)
    return [file[f"{name}{number}"] for number in range(count)]


def fits(arrays: Sequence[NDArray[Any]], variables: Sequence[Any]) -> bool:
    """Whether arrays and variables have equal numbers and shapes."""
    return [array.shape for array in arrays] == [tuple(one.shape) for one in variables]
