"""What a reduced precision is worth: seconds of an epoch and losses, for the same seeds.

    python -m benchmarks.precision --data FILE [--sizes 128 256] [--epochs 3] [--seeds 3]

The trainings of a seed take turns epoch by epoch in one process, so that a slow minute of the
machine meets all of them. Scores are computed in float32 whatever the precision.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import scoring_targets

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="python-docs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    given = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from lstm_sweep.models import backend

    backend.environment(None)
    backend.prepare(gpu=False, seed=0)
    corpus = load(Source(data=given.data))
    print(f"{'network':<10}{'seed':>5}  loss of float32, bfloat16, difference   s/epoch, ratio")
    for size in given.sizes:
        differences, ratios = [], []
        for seed in range(given.seeds):
            config = TrialConfig(
                layer_size=size, learning_rate=given.learning_rate, epochs=given.epochs
            )
            full, reduced = _results(config, corpus, seed)
            differences.append(reduced[0] - full[0])
            ratios.append(full[1] / reduced[1])
            print(
                f"2x{size:<8}{seed:>5}  {full[0]:.4f}  {reduced[0]:.4f}  {differences[-1]:+.4f}"
                f"   {full[1]:.2f}  {reduced[1]:.2f}  {ratios[-1]:.2f}",
                flush=True,
            )
        print(
            f"2x{size:<8}      median difference {statistics.median(differences):+.4f} nats, "
            f"speed {statistics.median(ratios):.2f} times that of float32"
        )


def _results(config: TrialConfig, corpus: Corpus, seed: int) -> list[tuple[float, float]]:
    """Lowest loss, and median seconds of an epoch, for each precision."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training

    targets = scoring_targets(corpus.validation, 10_000, 0)
    with tempfile.TemporaryDirectory() as folder:
        all_progress = []
        for precision in PRECISIONS:
            file = Path(folder) / f"{precision}.keras"
            one = config.evolve(precision=precision)
            all_progress.append(training.train(one, corpus, targets, seed, file))
        epochs: list[list[dict[str, float]]] = [[] for _ in all_progress]
        for epoch in range(config.epochs):
            for place, progress in enumerate(all_progress):
                if epoch == 0:  # the first weights are drawn now
                    backend.prepare(gpu=False, seed=seed)
                epochs[place].append(_next_epoch(progress))
    return [
        (min(e["val_loss"] for e in one), statistics.median(e["round_seconds"] for e in one))
        for one in epochs
    ]


def _next_epoch(progress: Any) -> dict[str, float]:
    from lstm_sweep.models.network.events import Round

    metrics: dict[str, float] = next(e.metrics for e in progress if isinstance(e, Round))
    return metrics


if __name__ == "__main__":
    main()
