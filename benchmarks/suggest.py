"""What a suggestion costs after many trials, and whether a bounded history makes it worse.

    python -m benchmarks.suggest [--seeds 20]

First the seconds of one proposal after 100, 1,000 and 10,000 trials of the default space, with the
bounded history of search/policy/proposer.py and with all trials, and of Hyperopt's own TPE, side by
side. Then the quality: on a synthetic loss, the best of 600 trials with the history bounded to 100
and unbounded, and with Hyperopt's TPE.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time

import numpy as np

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy import observations
from lstm_sweep.search.policy.observations import Observation, Observations
from lstm_sweep.search.policy.proposer import Proposer
from lstm_sweep.spaces import presets

UNBOUNDED = 10**9
BOUNDED = observations.HISTORY


def loss_of(config: TrialConfig) -> float:
    """A loss with one optimum, a mild interaction, and no noise."""
    rate = math.log10(config.learning_rate) + 2
    size = math.log2(config.layer_size / 256)
    length = math.log2(config.sequence_length / 60)
    bi = 0.1 if config.direction == "bi" else 0.0
    drop = config.dropout - 0.3 - 0.05 * size
    return 1.0 + rate**2 + 0.1 * size**2 + 0.05 * length**2 + 2 * drop**2 + bi


def seen(count: int) -> list[Observation]:
    """Trials drawn at random."""
    rng = np.random.default_rng(0)
    drawn = [presets.DEFAULT.sample(rng) for _ in range(count)]
    return [
        Observation(number, config, presets.DEFAULT.encode(config), loss_of(as_lstm_config(config)))
        for number, config in enumerate(drawn)
    ]


def seconds(trials: list[Observation], history: int, algorithm: str = "tpe") -> float:
    """Median seconds of a proposal."""
    observations.HISTORY = history
    asked = Proposer(presets.DEFAULT, seed=0, algorithm=algorithm)
    taken = []
    for number in range(5):
        began = time.perf_counter()
        asked.propose(len(trials) + number, Observations.of(trials))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def best(seed: int, history: int, algorithm: str = "tpe", trials: int = 600) -> float:
    """Best loss of a search on the synthetic loss."""
    observations.HISTORY = history
    asked = Proposer(presets.DEFAULT, seed=seed, algorithm=algorithm)
    known: list[Observation] = []
    for number in range(trials):
        proposal = asked.propose(number, Observations.of(known))
        assert proposal
        known.append(
            Observation(
                number, proposal.config, proposal.point, loss_of(as_lstm_config(proposal.config))
            )
        )
    return min(trial.loss for trial in known if trial.loss is not None)


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    print(
        f"{'trials':>8}{'bounded ms':>12}{'all ms':>10}{'ratio':>7}{'hyperopt ms':>13}{'ratio':>7}"
    )
    for count in (100, 1_000, 10_000):
        trials = seen(count)
        bounded, whole = seconds(trials, BOUNDED), seconds(trials, UNBOUNDED)
        theirs = seconds(trials, UNBOUNDED, "hyperopt")
        print(
            f"{count:>8,}{1000 * bounded:>12.1f}{1000 * whole:>10.1f}{whole / bounded:>7.1f}"
            f"{1000 * theirs:>13.1f}{theirs / bounded:>7.1f}"
        )
    for name, history, algorithm in (
        ("bounded to 100", 100, "tpe"),
        ("all", UNBOUNDED, "tpe"),
        ("hyperopt's", UNBOUNDED, "hyperopt"),
    ):
        losses = [best(seed, history, algorithm) - 1 for seed in range(given.seeds)]
        low, middle, high = statistics.quantiles(losses, n=4)
        print(f"above the optimum after 600 trials, {name}: {low:.5f} {middle:.5f} {high:.5f}")


if __name__ == "__main__":
    main()
