"""Whether one ladder of learning rates serves all networks, and where it should begin.

    python -m benchmarks.ladders [--characters 40000] [--steps 300] [--workers N]
    python -m benchmarks.ladders --shift --characters 300000 --workers 1

The smallest network of the declared space is trained with each rate, for each optimizer and
direction, for a number of steps of the optimizer. With `--shift`, networks that differ from
`MIDDLE` in a field or a few are trained instead. The table has the best validation loss of
each rate in nats; the best rate of a row is marked. A rate that diverges costs the seconds in the
last column at most.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.models.config import DIRECTIONS, OPTIMIZERS, TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.samples import python_docs
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize, steps_per_epoch
from lstm_sweep.search.trial import Ended, Job, RoundDone, Slot, Trial, trial_seed

RATES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
TARGETS = 1_000
NETWORK = TrialConfig(layers=2, layer_size=32, sequence_length=50, batch_size=64)
#: what is trained with `--shift`: networks that differ from the middle one in these fields
SHIFT_RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
MIDDLE = TrialConfig(layers=2, layer_size=64, sequence_length=20, batch_size=32)
SHIFTS: tuple[Mapping[str, int | str], ...] = (
    *({"layer_size": size} for size in (32, 64, 128, 256)),
    *({"batch_size": size} for size in (16, 64, 256)),
    *({"sequence_length": length} for length in (50, 100)),
    *({"layers": layers} for layers in (1, 3)),
    {"layer_size": 128, "batch_size": 128, "sequence_length": 50},
    {"direction": "bi"},
    *({"optimizer": "adam", "layer_size": size} for size in (32, 128)),
)


@dataclass
class Result:
    """How a trial with one rate has ended."""

    loss: float = math.inf
    outcome: str = ""
    seconds: float = 0.0


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--characters", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, help="as many as cores if not given")
    parser.add_argument("--shift", action="store_true", help="by size, batch and window")
    given = parser.parse_args()
    rates, networks = (SHIFT_RATES, _shifted()) if given.shift else (RATES, _each_kind())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        text = "\n".join(python_docs())[: given.characters]
        (folder / "text.txt").write_text(text, encoding="utf-8")
        corpus = corpora.load(Source(data=str(folder / "text.txt")))
        corpus.save(folder / "corpus")
        data_size = DataSize(len(corpus.train), len(corpus.alphabet), TARGETS)
        print(f"best validation loss after {given.steps} steps; x: diverged")
        print(f"{'':<50}" + "".join(f"{rate:>10g}" for rate in rates) + "  lost")
        for name, network in networks.items():
            epochs = 1 + given.steps // steps_per_epoch(network, data_size)
            configs = {rate: network.evolve(learning_rate=rate, epochs=epochs) for rate in rates}
            results = train(list(configs.values()), folder, given.steps, given.workers)
            row = {rate: results[config] for rate, config in configs.items()}
            best = min(row, key=lambda rate: row[rate].loss)
            cells = "".join(_cell(row[rate], rate == best).rjust(10) for rate in rates)
            lost = sum(result.seconds for result in row.values() if result.loss == math.inf)
            print(f"{name:<50}{cells}{lost:>5.0f} s", flush=True)


def _cell(result: Result, best: bool) -> str:
    text = f"{result.loss:.3f}" if math.isfinite(result.loss) else "x"
    return f"*{text}" if best else text


def _each_kind() -> dict[str, TrialConfig]:
    return {
        f"{optimizer} {direction}": NETWORK.evolve(direction=direction, optimizer=optimizer)
        for optimizer in OPTIMIZERS
        for direction in DIRECTIONS
    }


def _shifted() -> dict[str, TrialConfig]:
    return {
        " ".join(str(value) for item in changes.items() for value in item): MIDDLE.evolve(**changes)
        for changes in SHIFTS
    }


def train(
    configs: Sequence[TrialConfig], folder: Path, steps: int, workers: int | None
) -> dict[TrialConfig, Result]:
    """Train each config for `steps` steps in a worker of its own on the corpus in `folder`."""
    results = {config: Result() for config in configs}
    waiting, running = list(enumerate(configs)), dict[Slot, tuple[TrialConfig, float]]()
    with open_engine("local", workers=workers) as engine:
        engine.warm_up()
        while waiting or running:
            for slot in engine.slots:
                if slot not in running and waiting:
                    number, config = waiting.pop(0)
                    running[slot] = config, time.monotonic()
                    engine.start(_job(number, config, steps, slot, folder))
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


def _job(number: int, config: TrialConfig, steps: int, slot: Slot, folder: Path) -> Job:
    seed = trial_seed(0, number)
    trial = Trial(sweep="ladders", number=number, config=config, seed=seed, steps=steps)
    return Job(
        trial=trial,
        slot=slot,
        training=CorpusTraining(folder / "corpus", Scoring(TARGETS, 0)),
        folder=Path(tempfile.mkdtemp(dir=folder)),
    )


if __name__ == "__main__":
    main()
