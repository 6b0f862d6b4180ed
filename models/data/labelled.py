"""`LabelledCorpus`: sequences that each have a class, as arrays of codes, in three splits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.source import SPLITS, Source


@dataclass(frozen=True)
class LabelledSplit:
    """Sequences with their classes."""

    #: a session is a sequence; none is empty
    sequences: Split
    #: class of each sequence, `<int32>[sequences]`
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LabelledCorpus:
    """Sequences of symbols with their classes, split into training, validation and test data."""

    name: str
    alphabet: Alphabet
    #: names of the classes by their numbers; the training split has some of each
    classes: tuple[str, ...]
    train: LabelledSplit
    validation: LabelledSplit
    test: LabelledSplit
    #: hash of all symbols, sequences, classes and splits, 32 hexadecimal digits
    digest: str
    #: what symbols, classes and splits are, and why, for users
    decided: str

    def splits(self) -> dict[str, LabelledSplit]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def save(self, folder: Path) -> None:
        """Write the corpus as arrays that other processes can map into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, split in self.splits().items():
            split.sequences.save(folder, name)
            np.save(folder / f"{name}.labels.npy", split.labels)
        fields = {
            "name": self.name,
            "alphabet": self.alphabet.to_dict(),
            "classes": self.classes,
            "digest": self.digest,
            "decided": self.decided,
        }
        (folder / "corpus.json").write_text(json.dumps(fields), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a saved corpus into memory."""
        fields = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        splits = {
            name: LabelledSplit(
                Split.open(folder, name), np.load(folder / f"{name}.labels.npy", mmap_mode="r")
            )
            for name in SPLITS
        }
        made = {
            "alphabet": Alphabet.from_dict(fields["alphabet"]),
            "classes": tuple(fields["classes"]),
        }
        return cls(**(fields | splits | made))


@dataclass(frozen=True)
class NewSequences:
    """Sequences of new data, in their order there, as codes of a model's alphabet."""

    sequences: Split
    #: what each is called: its file, or its row in a table
    names: tuple[str, ...]
    #: class of each, `<int32>[sequences]`, -1 where the data say none; None if they say no classes
    labels: NDArray[np.int32] | None


def looks_labelled(source: Source) -> bool:
    """Whether data are sequences with classes: options say so, or there is a folder per class."""
    return source.label is not None or source.labels is not None


def load_labelled(source: Source) -> LabelledCorpus:
    """Load a table, a folder per class, or sessions with a file of labels.

    Raises:
        InputError: the data cannot be used; the message names the file and the line.
    """
    raise NotImplementedError


def read_new(source: Source, alphabet: Alphabet, classes: tuple[str, ...]) -> NewSequences:
    """Read all sequences of a file or folder, of all its splits, for a model with an alphabet.

    Raises:
        InputError: the data cannot be used; the message names the file and the line.
    """
    raise NotImplementedError
