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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import curves, forecasts
from benchmarks.ending import one_line
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
    (head, before), (other, after) = curves.read(without), curves.read(averaged)
    digest, found = head["corpus"]["digest"], other["corpus"]["digest"]
    if found != digest:
        raise InputError(f"{averaged}: corpus is {found}, expected {digest} of {without}")
    after = curves.whole(other, after)
    if near:
        after = curves.near_best(after)
    known = {_recipe_aside(one.config): one.losses for one in after}
    both = [one for one in curves.whole(head, before) if _recipe_aside(one.config) in known]
    averages = [known[_recipe_aside(one.config)] for one in both]
    return Pair(np.array([one.losses for one in both]), np.array(averages))


def _recipe_aside(config: TrialConfig) -> TrialConfig:
    """A config without what the recordings with averages have beside the others."""
    return config.evolve(averaging="off", clipping="weight")


def correlation(losses: NDArray[np.float64], after: int, end: str) -> float:
    """Spearman's rank correlation of the losses after some rounds with those at the end."""
    return forecasts.correlation(losses[:, after - 1].tolist(), ENDS[end](losses).tolist())


def gained(pair: Pair, after: int, end: str) -> tuple[float, float]:
    """The 90 % interval of how much higher the correlation is with averages."""
    rng = np.random.default_rng(0)
    count = len(pair.without)
    drawn = rng.integers(count, size=(DRAWS, count))
    gains = [
        correlation(pair.averaged[rows], after, end) - correlation(pair.without[rows], after, end)
        for rows in drawn
    ]
    low, high = np.quantile(gains, [0.05, 0.95])
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
    with one_line("ranks"):
        if min(given.after) < 1:
            raise InputError(f"--after {min(given.after)}: expected a number of rounds, 1 or more")
        _print_tables(given.after, near=given.rates == "near")


def _print_tables(after: Sequence[int], *, near: bool) -> None:
    names = f"{'recording':<22}{'configs':>8}{'end':>8}{'after':>7}{'without':>9}{'averages':>10}"
    print(f"{names}  gain")
    for averaged in sorted(AVERAGES.glob("*.jsonl")):
        without = curves.FOLDER / averaged.name
        mark = curves.HELD_OUT if curves.read(without)[0].get("held_out") else ""
        rows = lines(averaged.stem + mark, paired(without, averaged, near=near), after)
        print(*rows, sep="\n", flush=True)


if __name__ == "__main__":
    main()
