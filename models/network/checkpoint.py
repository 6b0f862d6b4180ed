"""Files of a network: its weights, and checkpoints from which training goes on."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: what Keras calls the weights within its file
WEIGHTS = "model.weights.h5"
#: how the file of the model begins that was there before that of a round, whose number follows
BEFORE = "before-"


def write_network(model: Any, path: Path, number: int) -> None:
    """Write a model as it is after round `number`, atomically: the file is replaced.

    The one before it is kept beside it until `confirm`: whoever never hears of this round, since
    the process is killed, takes that (`keep_reported`).
    """
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    confirm(path)
    before = path.with_name(f"{BEFORE}{number}-{path.name}")
    if path.exists():
        path.replace(before)
    else:
        before.touch()
    partial.replace(path)


def confirm(path: Path) -> None:
    """Delete what is kept: the round of the model was reported."""
    for file in _kept(path):
        file.unlink(missing_ok=True)


def keep_reported(path: Path, rounds: int) -> None:
    """Let the file of a model be that of a round up to `rounds`, as many as were reported.

    It may be that of one more if its process was killed before it could report that.
    """
    for file in _kept(path):
        number = file.name.removeprefix(BEFORE).partition("-")[0]
        if number.isdecimal() and int(number) > rounds:
            path.unlink(missing_ok=True)
            if file.stat().st_size:
                file.replace(path)
        file.unlink(missing_ok=True)


def _kept(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{BEFORE}*-{path.name}"))


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
