"""Files of a network: its weights, and checkpoints from which training goes on.

`NetworkFile`: the file of a Keras model that is written again and again while it is trained.

`Model.save` describes all layers as JSON and walks through them for an HDF5 file. That takes 16 to
26 ms of CPU time for two layers of 64 to 384 units, which is much beside rounds of a second. From
one time to the next only the values of the weights differ. So they are replaced in the file that
Keras has written first; Keras reads it as one of its own.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: what Keras calls the weights within its file
WEIGHTS = "model.weights.h5"
#: how the file of the model begins that was there before that of a round, whose number follows
BEFORE = "before-"
#: writings by Keras after which its file is looked into: not the first, since many networks are
#: written once, and not often, since in some files there is nothing to be found
LAYOUT_AFTER = (2, 3)


class NetworkFile:
    """The file of one model, whose layers stay as they are; the date in it is of an early one."""

    def __init__(self, model: Any, path: Path) -> None:
        self._model, self.path = model, path
        self._layout: _Layout | None = None
        #: how often Keras has written the file
        self._saved = 0

    def write(self, number: int) -> None:
        """Write the model as it is after round `number`, atomically: the file is replaced.

        The one before it is kept beside it until `confirm`: whoever never hears of this round,
        since the process is killed, takes that (`keep_reported`).
        """
        partial = self.path.with_name(f"partial-{self.path.name}")
        if self._layout:
            self._layout.write(partial, _values(self._model))
        else:
            self._model.save(partial)
            self._saved += 1
        self.confirm()
        before = self.path.with_name(f"{BEFORE}{number}-{self.path.name}")
        if self.path.exists():
            self.path.replace(before)
        else:
            before.touch()
        partial.replace(self.path)
        if self._layout is None and self._saved in LAYOUT_AFTER:
            self._layout = _layout_of(self.path, _values(self._model))

    def confirm(self) -> None:
        """Delete what is kept: the round of the model was reported."""
        for file in _kept(self.path):
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


@dataclass(frozen=True)
class _Layout:
    """A file that Keras has written, and where it has the values of a model's variables."""

    #: what is in the file, by name
    contents: dict[str, bytearray]
    #: first byte of each variable in the weights; None of one that Keras does not write
    begins: list[int | None]

    def write(self, path: Path, values: Sequence[NDArray[Any]]) -> None:
        """Write the file with other values."""
        weights = self.contents[WEIGHTS]
        for begin, value in zip(self.begins, values, strict=True):
            if begin is not None:
                weights[begin : begin + value.nbytes] = value.tobytes()
        with zipfile.ZipFile(path, "w") as file:
            for name, content in self.contents.items():
                file.writestr(name, content)


def _layout_of(path: Path, values: Sequence[NDArray[Any]]) -> _Layout | None:
    """How a file that has just been written has some values; None if that is ambiguous.

    Values are known by their bits: those of two variables may be the same where nothing was learned
    yet. None, too, if Keras writes other values with them, such as those of an optimizer.
    """
    with zipfile.ZipFile(path) as file:
        contents = {name: bytearray(file.read(name)) for name in file.namelist()}
    own = [(value.dtype, value.shape, value.tobytes()) for value in values]
    begins: list[int | None] = [None] * len(own)
    for value, begin in _datasets(contents[WEIGHTS]):
        found = (value.dtype, value.shape, value.tobytes())
        places = [place for place, one in enumerate(own) if one == found]
        if begin is None or len(places) != 1 or begins[places[0]] is not None:
            return None
        if contents[WEIGHTS][begin : begin + value.nbytes] != found[2]:
            return None
        begins[places[0]] = begin
    return _Layout(contents, begins)


def _datasets(file: bytes | bytearray) -> list[tuple[NDArray[Any], int | None]]:
    """The arrays in an HDF5 file, and the first byte of each; None of one that is in pieces."""
    import h5py

    found = list[tuple[NDArray[Any], int | None]]()

    def note(_: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset):
            found.append((np.asarray(one[()]), one.id.get_offset()))

    with h5py.File(io.BytesIO(file), "r") as weights:
        weights.visititems(note)
    return found


def _values(model: Any) -> list[NDArray[Any]]:
    return [np.asarray(variable.numpy()) for variable in model.variables]


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
