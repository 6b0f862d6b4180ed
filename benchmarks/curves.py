"""Recorded learning curves, a line of JSON for each config, and the texts of benchmarks."""

from __future__ import annotations

import json
import math
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import FIELDS, TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.spaces.space import Space, from_mapping

#: what a recording trained with where it does not say it
UNSAID: Mapping[str, str | float] = {
    "state": "reset", "weight_decay": 0.0, "averaging": "off",
}  # fmt: skip
FOLDER = Path(__file__).parent / "curves"
#: mark of a recording by which no default may be chosen
HELD_OUT = " (held out)"
#: of a recording that does not say it: nats, and codes
UNIGRAM_LOSS, ALPHABET = 3.29, 90


@dataclass(frozen=True)
class Curve:
    """What one config did, epoch by epoch, and what it cost."""

    config: TrialConfig
    #: how it ended: `complete`, `diverged` ...
    outcome: str
    #: validation loss after each epoch, nats
    losses: tuple[float, ...]
    #: seconds that each of these epochs took on one core; the first with building and tracing
    seconds: tuple[float, ...]
    #: seconds that belong to no finished epoch
    fixed: float


def read(file: Path) -> tuple[dict[str, Any], list[Curve]]:
    """The head of a recording (corpus, grid, machine), and its curves."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head: dict[str, Any] = json.loads(lines[0])
    return head, list(_curves(head, lines[1:]))


def _curves(head: dict[str, Any], lines: list[str]) -> Iterator[Curve]:
    for line in lines:
        row = json.loads(line)
        yield Curve(
            TrialConfig.from_dict(_known({**UNSAID, **head["common"], **row["config"]})),
            row["outcome"],
            tuple(row["losses"]),
            tuple(row["seconds"]),
            row["fixed"],
        )


def space_of(head: Mapping[str, Any], file: Path) -> Space:
    """The space of a recording, whose head may be of a version with other fields."""
    return from_mapping(_known({**UNSAID, **head["space"]}), str(file))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Those of fields that configs still have: the others were the same in all of a recording."""
    return {name: value for name, value in values.items() if name in FIELDS}


def data_size_of(head: Mapping[str, Any]) -> DataSize:
    """The data of a recording, as the cost model is told of them: its scale is learned anyway.

    If a recording ends before its epochs do, an epoch is what was recorded.
    """
    corpus, rounds_per_epoch = head["corpus"], head.get("rounds_per_epoch", 1)
    symbols = corpus["symbols"] if "symbols" in corpus else int(corpus["characters"] * 0.8)
    alphabet = corpus.get("alphabet", ALPHABET)
    rounds = head.get("rounds", math.inf)
    if rounds < rounds_per_epoch:
        symbols, rounds_per_epoch = round(symbols * rounds / rounds_per_epoch), rounds
    return DataSize(symbols, alphabet, corpus["targets"], rounds_per_epoch)


def unigram_loss_of(head: Mapping[str, Any]) -> float:
    """Loss of the unigram baseline on the corpus of a recording, nats."""
    return float(head["corpus"].get("unigram_loss", UNIGRAM_LOSS))


#: a corpus that each Python brings: its own source code, so many characters
SOURCE, SOURCE_CHARACTERS = "source", 1_250_000


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
