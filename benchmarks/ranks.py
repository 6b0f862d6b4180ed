"""How early losses rank configs, with the average of the weights and without, on recorded curves.

    python -m benchmarks.ranks [--after 1 3 9] [--rates near]

The recordings in `curves/` were made without averages, those in `curves/averages/` of the same
grids with them. A row has Spearman's rank correlation of the losses after some rounds with the last
or the lowest ones, over the configs that both have to their end, without averages and with them;
then the 90 % interval of the difference, over 2,000 draws of as many configs with repetition.
`--rates near` leaves out configs with a learning rate more than a decade from the best one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import curves
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError

AVERAGES = curves.FOLDER / "averages"
DRAWS = 2_000
#: what a loss after some rounds is compared with
ENDS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "last": lambda losses: losses[:, -1],
    "lowest": lambda losses: losses.min(axis=1),
}


@dataclass(frozen=True)
class Pair:
    """The curves of the same configs in two recordings, `<float64>[configs, rounds]`."""

    without: NDArray[np.float64]
    averaged: NDArray[np.float64]


def paired(without: Path, averaged: Path, *, near: bool) -> Pair:
    """The configs that both recordings have to their end.

    Raises:
        InputError: they are of different corpora.
    """
    digests = [curves.read(file)[0]["corpus"]["digest"] for file in (without, averaged)]
    if digests[0] != digests[1]:
        raise InputError(f"{averaged}: corpus is {digests[1]}, expected {digests[0]} of {without}")
    before, after = _whole(without), _whole(averaged)
    both = [config for config in before if config in after]
    if near and both:
        best = min(both, key=lambda config: min(after[config])).learning_rate
        both = [one for one in both if abs(math.log10(one.learning_rate / best)) < 1.5]
    return Pair(np.array([before[one] for one in both]), np.array([after[one] for one in both]))


def _whole(file: Path) -> dict[TrialConfig, tuple[float, ...]]:
    """Losses by config, whose averaging is left out of account."""
    head, found = curves.read(file)
    rounds = head.get("rounds") or max(len(curve.losses) for curve in found)
    return {
        curve.config.evolve(averaging="off", clipping="weight"): curve.losses
        for curve in found
        if len(curve.losses) == rounds
    }


def correlation(losses: NDArray[np.float64], after: int, end: str) -> float:
    """Spearman's rank correlation of the losses after some rounds with those at the end."""
    from scipy.stats import spearmanr

    return float(spearmanr(losses[:, after - 1], ENDS[end](losses)).statistic)


def gained(pair: Pair, after: int, end: str) -> tuple[float, float]:
    """The 90 % interval of how much higher the correlation is with averages."""
    rng = np.random.default_rng(0)
    count = len(pair.without)
    drawn = rng.integers(count, size=(DRAWS, count))
    gains = [
        correlation(pair.averaged[rows], after, end) - correlation(pair.without[rows], after, end)
        for rows in drawn
    ]
    low, high = np.nanquantile(gains, [0.05, 0.95])
    return float(low), float(high)


def lines(name: str, pair: Pair, rounds: Sequence[int]) -> list[str]:
    """The rows of a recording."""
    count, length = pair.without.shape
    found = []
    for end in ENDS:
        for after in (number for number in rounds if number < length):
            without, averaged = (
                correlation(losses, after, end) for losses in (pair.without, pair.averaged)
            )
            low, high = gained(pair, after, end)
            cells = f"{without:>9.2f}{averaged:>10.2f}{low:>+8.2f} to {high:+.2f}"
            found.append(f"{name:<22}{count:>8}{end:>8}{after:>7}{cells}")
    return found


def main() -> None:
    """Print a table of all recordings that there are of both kinds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--after", type=int, nargs="+", default=[1, 3, 9], metavar="ROUNDS")
    parser.add_argument("--rates", choices=("all", "near"), default="all")
    given = parser.parse_args()
    print(
        f"{'recording':<22}{'configs':>8}{'end':>8}{'after':>7}{'without':>9}{'averages':>10}  gain"
    )
    for averaged in sorted(AVERAGES.glob("*.jsonl")):
        without = curves.FOLDER / averaged.name
        mark = curves.HELD_OUT if curves.read(without)[0].get("held_out") else ""
        pair = paired(without, averaged, near=given.rates == "near")
        print(*lines(averaged.stem + mark, pair, given.after), sep="\n", flush=True)


if __name__ == "__main__":
    main()
