"""Whether one ladder of learning rates serves both directions, and where it should begin.

    python -m benchmarks.ladders [--characters 40000] [--steps 300]

The smallest network of the declared space is trained with each rate, for each optimizer and
direction, for as many epochs as take a number of steps of the optimizer. The table has the best
validation loss of each rate in nats; the best rate of a row is marked. A rate that diverges costs
the seconds in the last column at most.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.models.config import DIRECTIONS, OPTIMIZERS, TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.samples import python_docs
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize, steps_per_epoch
from lstm_sweep.search.trial import Ended, Job, RoundDone, Slot, Trial, trial_seed

RATES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
TARGETS = 1_000
NETWORK = TrialConfig(layers=2, layer_size=32, sequence_length=50, batch_size=64)


@dataclass
class Result:
    """What a rate came to."""

    loss: float = math.inf
    outcome: str = ""
    seconds: float = 0.0


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--characters", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        text = "\n".join(python_docs())[: given.characters]
        (folder / "text.txt").write_text(text, encoding="utf-8")
        corpus = corpora.load(Source(data=str(folder / "text.txt")))
        corpus.save(folder / "corpus")
        configs = list(_configs(corpus, given.steps))
        results = train(configs, folder)
    print(f"best validation loss after about {given.steps} steps; x: diverged")
    print(f"{'optimizer':<10}{'':<5}" + "".join(f"{rate:>10g}" for rate in RATES) + "  lost")
    for optimizer in OPTIMIZERS:
        for direction in DIRECTIONS:
            row = {
                config.learning_rate: result
                for config, result in results.items()
                if (config.optimizer, config.direction) == (optimizer, direction)
            }
            best = min(row, key=lambda rate: row[rate].loss)
            cells = "".join(_cell(row[rate], rate == best).rjust(10) for rate in RATES)
            lost = sum(result.seconds for result in row.values() if result.loss == math.inf)
            print(f"{optimizer:<10}{direction:<5}{cells}{lost:>5.0f} s")


def _cell(result: Result, best: bool) -> str:
    text = f"{result.loss:.3f}" if math.isfinite(result.loss) else "x"
    return f"*{text}" if best else text


def _configs(corpus: Corpus, steps: int) -> Iterator[TrialConfig]:
    data_size = DataSize(len(corpus.train), len(corpus.alphabet), TARGETS)
    for direction in DIRECTIONS:
        for optimizer in OPTIMIZERS:
            config = NETWORK.evolve(direction=direction, optimizer=optimizer)
            epochs = math.ceil(steps / steps_per_epoch(config, data_size))
            for rate in RATES:
                yield config.evolve(learning_rate=rate, epochs=epochs)


def train(configs: Sequence[TrialConfig], folder: Path) -> dict[TrialConfig, Result]:
    """Train each config in a worker of its own on the corpus saved in `folder`."""
    results = {config: Result() for config in configs}
    waiting, running = list(enumerate(configs)), dict[Slot, tuple[TrialConfig, float]]()
    with open_engine("local") as engine:
        engine.warm_up()
        while waiting or running:
            for slot in engine.slots:
                if slot not in running and waiting:
                    number, config = waiting.pop(0)
                    running[slot] = config, time.monotonic()
                    engine.start(_job(number, config, slot, folder))
            for slot, message in engine.wait(1.0):
                config, began = running[slot]
                if isinstance(message, RoundDone):
                    loss = message.metrics["val_loss"]
                    results[config].loss = min(loss, results[config].loss)
                elif isinstance(message, Ended):
                    del running[slot]
                    result = results[config]
                    result.outcome = str(message.outcome)
                    result.seconds = time.monotonic() - began
                    if not message.outcome.ranks:
                        result.loss = math.inf
    return results


def _job(number: int, config: TrialConfig, slot: Slot, folder: Path) -> Job:
    trial = Trial(sweep="ladders", number=number, config=config, seed=trial_seed(0, number))
    return Job(
        trial=trial,
        slot=slot,
        training=CorpusTraining(folder / "corpus", TARGETS, 0),
        folder=folder / str(number),
    )


if __name__ == "__main__":
    main()
