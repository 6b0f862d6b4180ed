"""How much less targets side by side say than as many that are drawn one by one.

    python -m benchmarks.adjacent [--data FILE] [--validation 0.1] [--symbols 40000]

Two n-gram models, of the last 3 and 4 symbols, predict the first symbols of the validation split.
Printed are, for groups of several sizes, the variance of the mean loss of a group and that of the
mean difference of the two models' losses, as multiples of what they would be if the symbols of a
group were drawn one by one; and how many symbols scoring reads for each target then, at the least
and at the most, with windows of the default space (`windows.shared_windows`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.grids import divided, file_of
from lstm_sweep.models.baselines import Counts
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import past
from lstm_sweep.models.ngram import NGram
from lstm_sweep.search.policy.cost import DataSize, scored_windows
from lstm_sweep.spaces.dimension import Value
from lstm_sweep.spaces.presets import DEFAULT

ORDERS = (3, 4)
GROUPS = (8, 16, 24, 32, 64, 128, 256, 512, 1_024)
#: symbols that are predicted at a time
BLOCK = 1_000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="python-docs", help="a file, a folder or a sample")
    parser.add_argument("--validation", type=float, metavar="SHARE", help="as in `oracle.py`")
    parser.add_argument("--symbols", type=int, default=40_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Source(data=file_of(given.data, Path(scratch))).resolve().data
        if given.validation is not None:
            data = divided(Path(data), given.validation, Path(scratch))
        corpus = load(Source(data=data))
    first, second = (losses(corpus, order, given.symbols) for order in ORDERS)
    print(f"{'side by side':<14}{'loss':>8}{'difference':>12}   symbols read for a target")
    for size in GROUPS:
        of_loss, of_difference = (inflation(one, size) for one in (second, first - second))
        reads = [read_of(length, size) for length in DEFAULT["sequence_length"].values() or []]
        read = f"{min(reads):.1f} to {max(reads):.1f}"
        print(f"{size:<14}{of_loss:>8.2f}{of_difference:>12.2f}   {read}")


def losses(corpus: Corpus, order: int, symbols: int) -> NDArray[np.float64]:
    """Losses of an n-gram model at the first symbols of the validation split, nats."""
    split, counts = corpus.validation, Counts(corpus.train, len(corpus.alphabet))
    found = []
    for begin in range(0, min(symbols, len(split)), BLOCK):
        places = np.arange(begin, min(begin + BLOCK, symbols, len(split)))
        windows = past(split, places, np.arange(max(ORDERS), 0, -1))
        counts.expect(windows)
        predicted = NGram(order).predict(counts, windows[:, -order:])
        found.append(-predicted[np.arange(len(places)), split.codes[places]])
    return np.concatenate(found)


def inflation(values: NDArray[np.float64], size: int) -> float:
    """Variance of the mean of `size` adjacent values, as a multiple of that of independent ones."""
    groups = values[: len(values) // size * size].reshape(-1, size)
    return float(groups.mean(axis=1).var() / (values.var() / size))


def read_of(length: Value, size: int) -> float:
    """Symbols that scoring reads for each of `size` targets side by side in one session."""
    config = TrialConfig(direction="uni", sequence_length=int(length))
    windows, _ = scored_windows(config, DataSize(0, 0, targets=size, adjacent=size))
    return windows * config.sequence_length / size


if __name__ == "__main__":
    main()
