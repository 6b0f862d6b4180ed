"""How well the end of a trial is told at its rungs, on recorded learning curves.

    python -m benchmarks.forecasts [--file FILE] [--trials 10 20 40] [--worlds 40] [--rates all]

A sweep of some trials that are drawn from a recording is trained as halving does it: to the first
rung all of them, and from each rung to the next the best third. Other trials come to a rung, each
by itself: of it no more is known than its curve up to there, its config, and the curves of that
sweep. The table has the rank correlation (Spearman) of what is told with the lowest loss after all
rounds, for trials that have come to one rung: by the loss there, which is how the median ratio
ranks them too, and by the forecast. It also has the share of final losses that lie within the
forecast's interval of 80 %, and half of the width of this as a share of the loss.

Only trials that were recorded to their end count. `--rates near` leaves out those with a learning
rate more than a decade from the best one, which a ladder spares a sweep.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import curves
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy import forecast, halving
from lstm_sweep.search.policy.lstm_problem import feature_weights, features, smallest
from lstm_sweep.search.policy.problem import admits_all

TRIALS = (10, 20, 40)
#: trials that come to a rung by themselves, at most
COMING = 40


@dataclass(frozen=True)
class Told:
    """What is told of the trials that come to one rung in one sweep."""

    by_loss: float
    by_forecast: float
    #: share of losses within the interval, and half of its width as a share of the loss
    within: float
    width: float


class Recording:
    """The curves of a recording that were recorded to their end."""

    def __init__(self, file: Path, *, near: bool) -> None:
        head, found = curves.read(file)
        space = curves.space_of(head, file)
        self.name, self.held_out = file.stem, bool(head.get("held_out"))
        whole = curves.whole(head, found)
        if near:
            whole = curves.near_best(whole)
        self.count, rounds = len(whole), len(whole[0].losses)
        self.rungs = (*halving.rungs(rounds), rounds)
        data_size = curves.data_size_of(head)
        #: influence that the features are expected to have
        self.weights = feature_weights(data_size.symbols)
        self._small = smallest(space, data_size.alphabet, admits_all)
        self._losses = [list(itertools.accumulate(one.losses, min)) for one in whole]
        self._features = [self._of(one.config) for one in whole]
        self.final = np.array([losses[-1] for losses in self._losses])

    def _of(self, config: TrialConfig) -> tuple[float, ...]:
        return features(config, self._small, None)

    def curve(self, number: int, rounds: int) -> forecast.Curve:
        """What is known of a config after some of its rounds."""
        found = forecast.Curve.of(self._losses[number][:rounds], self.rungs, self._features[number])
        assert found
        return found

    def sweep(self, numbers: Sequence[int]) -> dict[int, int]:
        """Rounds that each of these configs is trained, by halving."""
        rounds = dict.fromkeys(numbers, self.rungs[0])
        going = list(numbers)
        for rung, following in itertools.pairwise(self.rungs):
            going.sort(key=lambda number: self._losses[number][rung - 1])
            going = going[: math.ceil(len(going) / halving.FACTOR)]
            rounds |= dict.fromkeys(going, following)
        return rounds

    def told(self, trials: int, rung: int, seed: int) -> Told:
        """What a sweep of so many trials tells of others at a rung."""
        order = np.random.default_rng([trials, seed]).permutation(self.count).tolist()
        known = {n: self.curve(n, rounds) for n, rounds in self.sweep(order[:trials]).items()}
        coming = order[trials : trials + COMING]
        found = [
            forecast.forecasts({**known, n: self.curve(n, rung)}, self.rungs, self.weights)[n]
            for n in coming
        ]
        there = [self._losses[n][rung - 1] for n in coming]
        final = self.final[coming]
        return Told(
            by_loss=correlation(there, final.tolist()),
            by_forecast=correlation([one.loss for one in found], final.tolist()),
            within=statistics.mean(
                float(one.low <= loss <= one.high)
                for one, loss in zip(found, final.tolist(), strict=True)
            ),
            width=statistics.median((one.high - one.low) / 2 / one.loss for one in found),
        )


def correlation(told: Sequence[float], final: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where all that is told is the same."""
    from scipy.stats import spearmanr

    found = float(spearmanr(told, final).statistic) if len(set(told)) > 1 else 0.0
    return found if math.isfinite(found) else 0.0


def main() -> None:
    """Print a table for each recording."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--file", type=Path, action="append", help="all in curves/ without it")
    parser.add_argument("--trials", type=int, nargs="+", default=TRIALS)
    parser.add_argument("--worlds", type=int, default=40, help="sweeps that are drawn")
    parser.add_argument("--rates", choices=("all", "near"), default="all")
    given = parser.parse_args()
    for file in given.file or sorted(curves.FOLDER.glob("*.jsonl")):
        recording = Recording(file, near=given.rates == "near")
        mark = curves.HELD_OUT if recording.held_out else ""
        print(f"{recording.name}{mark}: {recording.count} curves to the end")
        print(f"{'trials':>8}{'rung':>6}{'loss':>8}{'forecast':>10}{'within':>8}{'+-':>7}")
        for trials in given.trials:
            if trials + 2 > recording.count:
                continue
            for rung in recording.rungs[:-1]:
                told = [recording.told(trials, rung, seed) for seed in range(given.worlds)]
                print(
                    f"{trials:>8}{rung:>6}"
                    f"{statistics.mean(one.by_loss for one in told):>8.2f}"
                    f"{statistics.mean(one.by_forecast for one in told):>10.2f}"
                    f"{statistics.mean(one.within for one in told):>8.0%}"
                    f"{statistics.median(one.width for one in told):>7.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
