"""Files that are loaded as a corpus, and what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.corpus import Corpus, Split, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import Batch
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


# Splits of a corpus with their windows, and strategies for them


#: the code of a split's first symbol, see `split_of`
FIRST = 2


def split_of(sizes: list[int]) -> Split:
    """Make sessions of these sizes in which every symbol is another: `FIRST` plus its index."""
    starts = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
    return Split(np.arange(FIRST, FIRST + sum(sizes), dtype=np.uint16), starts)


def past_of(sizes: list[int], length: int) -> dict[int, list[int]]:
    """Give the window of every symbol of `split_of(sizes)`, symbol by symbol."""
    windows, code = {}, FIRST
    for size in sizes:
        session = [START] * length
        for _ in range(size):
            windows[code] = session[-length:]
            session.append(code)
            code += 1
    return windows


def batches_of(sizes: list[int], config: TrialConfig, seed: int, epoch: int) -> list[Batch]:
    return list(training_epoch(split_of(sizes), config, seed, epoch).batches())


def weighed(batches: list[Batch]) -> Iterator[tuple[int, float]]:
    """Yield every target with its weight."""
    for batch in batches:
        yield from zip(batch.targets.ravel().tolist(), batch.weights.ravel().tolist(), strict=True)


def targets_that_count(batches: list[Batch]) -> Counter[int]:
    assert {weight for _, weight in weighed(batches)} <= {0.0, 1.0}
    return Counter(target for target, weight in weighed(batches) if weight)


sessions = st.lists(st.integers(1, 40), min_size=1, max_size=6)
offsets = st.sampled_from(["random", "fixed"])
seeds = st.integers(0, 2**31)
epochs = st.integers(1, 1000)


def configs(direction: str, strides: st.SearchStrategy[int]) -> st.SearchStrategy[TrialConfig]:
    return st.builds(
        TrialConfig,
        direction=st.just(direction),
        sequence_length=st.integers(1, 50),
        batch_size=st.integers(1, 9),
        stride=strides,
        offset=offsets,
    )


any_config = configs("uni", st.integers(0, 60)) | configs("bi", st.integers(0, 60))
