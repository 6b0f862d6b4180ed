"""Files that are loaded as a corpus, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.data.corpus import Corpus, Split, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError

#: long enough for every split, and begins with all its symbols
TEXT = "abcd" * 25
FOLDERS = {"train/a": "abcabcabc", "validation/a": "abdab", "test/a": "eabfa"}


def write(root: Path, files: dict[str, str] | dict[str, bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def load_files(
    root: Path, files: dict[str, str] | dict[str, bytes], symbols: str, *, ends: bool = False
) -> Corpus:
    return load(Source(data=str(write(root, files)), symbols=symbols, ends=ends))


def load_file(
    root: Path, content: str | bytes, symbols: str = "auto", *, ends: bool = False
) -> Corpus:
    raw = content.encode() if isinstance(content, str) else content
    write(root, {"data": raw})
    return load(Source(data=str(root / "data"), symbols=symbols, ends=ends))


def symbols_of(corpus: Corpus) -> list[str | int]:
    """All symbols of the three splits, in order."""
    splits = corpus.splits().values()
    return [symbol for split in splits for symbol in corpus.alphabet.decode(split.codes)]


def sessions_of(corpus: Corpus, split: Split) -> list[list[str | int]]:
    parts = np.split(split.codes, split.starts[1:])
    return [corpus.alphabet.decode(part) for part in parts]


def sizes_of(corpus: Corpus) -> list[int]:
    return [len(split) for split in corpus.splits().values()]


def refusal_of(root: Path, content: str | bytes, symbols: str = "auto") -> str:
    """Give the text of the refusal of one file, with its path as FILE."""
    with pytest.raises(InputError) as refusal:
        load_file(root, content, symbols)
    return str(refusal.value).replace(str(root / "data"), "FILE")


def ids(numbers: Sequence[int]) -> str:
    return "".join(f"{number}\n" for number in numbers)


MULTIBYTE = "aß漢🎵\n" * 20
