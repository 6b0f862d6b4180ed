"""What `record_curves.py` records: grids of configs, and the corpora that they are trained on."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.source import python_docs
from lstm_sweep.models.errors import InputError

#: a corpus that each Python brings: its own source code, so many characters
SOURCE, SOURCE_CHARACTERS = "source", 1_250_000


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Configs, the corpus for all of them, and how finely their curves are recorded."""

    #: what the corpus is, for people
    about: str
    dimensions: Mapping[str, Any]
    #: how the corpus is made; None: it is a sample of this name, or a file that is given
    text: Callable[[], str] | None = None
    sample: str | None = None
    #: characters of a text that are taken, from its beginning; None: all
    characters: int | None = None
    #: validation targets
    targets: int = 1_000
    rounds_per_epoch: int = 1
    #: rounds of a config, at most; None: all of its epochs
    rounds: int | None = None
    #: whether no default of the program may be chosen by these curves
    held_out: bool = False


def docs_text() -> str:
    """The help topics of this Python."""
    return "\n".join(python_docs())


def source_text() -> str:
    """The modules of Python's standard library that lie in no package, sorted by name."""
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))


def file_of(data: str, folder: Path) -> str:
    """The data by the name that a sweep takes: `source` is written to a folder."""
    if data != SOURCE or Path(data).exists():
        return data
    file = folder / f"{SOURCE}.txt"
    file.write_text(source_text()[:SOURCE_CHARACTERS], encoding="utf-8", newline="")
    return str(file)


def divided(file: Path, share: float, folder: Path) -> str:
    """A folder with the text of a file: its last `share` is validation data, all before training.

    With 0.1 that is how nanoGPT divides tinyshakespeare. The test data are the validation data
    again, since a corpus needs some; a sweep does not look at them.

    Raises:
        InputError: the file is no text, or too short.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--data {file}: {error}; expected a file of text in UTF-8") from None
    cut = int(len(text) * (1 - share))
    parts = {"train": text[:cut], "validation": text[cut:], "test": text[cut:]}
    if not all(parts.values()):
        raise InputError(f"--data {file}: found {len(text)} characters, expected more to divide")
    for name, part in parts.items():
        (folder / "divided" / name).mkdir(parents=True)
        (folder / "divided" / name / "text.txt").write_text(part, encoding="utf-8", newline="")
    return str(folder / "divided")


def given_text(file: Path | None) -> str:
    """The text of a file; bytes that are no UTF-8 become U+FFFD."""
    if file is None:
        raise InputError("--data is missing: expected the file of the corpus of this grid")
    try:
        return file.expanduser().read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"--data {file}: {error.strerror}, expected a text") from None


#: rates by decades, of which the first diverges
RATES = [1.0, 0.1, 0.01, 0.001]

GRIDS: Mapping[str, Grid] = {
    "text": Grid(
        about="the help topics of Python, 40,000 characters",
        text=docs_text,
        characters=40_000,
        dimensions={
            "direction": "uni",
            "learning_rate": [1.0, 0.1, 0.01, 0.001, 0.0001],
            "dropout": [0.0, 0.3],
            "layers": [2, 3],
            "layer_size": [32, 64, 128],
            "sequence_length": [20, 50],
            "batch_size": [16, 64],
            "epochs": 27,
        },
    ),
    "events": Grid(
        about="sessions of event ids, the sample workflow-log",
        sample="workflow-log",
        rounds_per_epoch=3,
        dimensions={
            "direction": "uni",
            "learning_rate": RATES,
            "layers": 1,
            "layer_size": [16, 48],
            "sequence_length": [20, 50],
            "batch_size": [16, 64],
            "epochs": 9,
        },
    ),
    SOURCE: Grid(
        about=f"source code: Python's standard library, {SOURCE_CHARACTERS:,} characters",
        text=source_text,
        characters=SOURCE_CHARACTERS,
        rounds_per_epoch=27,
        dimensions={
            "direction": "uni",
            "learning_rate": RATES,
            "layers": 1,
            "layer_size": [32, 64, 128],
            "sequence_length": [20, 40],
            "batch_size": [16, 64],
            "epochs": 1,
        },
    ),
    "shakespeare": Grid(
        about="tinyshakespeare: plays, 1,115,394 characters",
        rounds_per_epoch=27,
        dimensions={
            "direction": "uni",
            "learning_rate": RATES,
            "dropout": [0.0, 0.2],
            "layers": 2,
            "layer_size": [24, 48],
            "sequence_length": [20, 40],
            "batch_size": 32,
            "epochs": 1,
        },
    ),
    "large": Grid(
        about=(
            "a dictionary of English, 30,000,000 characters: /usr/share/dictd/gcide.dict.dz of "
            "Debian's package dict-gcide 0.48.5+nmu4, unpacked by gzip"
        ),
        characters=30_000_000,
        rounds_per_epoch=800,
        rounds=27,
        held_out=True,
        dimensions={
            "direction": "uni",
            "learning_rate": RATES,
            "layers": [1, 2],
            "layer_size": [32, 64],
            "sequence_length": [20, 40],
            "batch_size": 32,
            "epochs": 1,
        },
    ),
}
