"""What comes with a round of training: scoring, the best network's file, and the checkpoint.

    python -m benchmarks.rounds [--data FILE] [--space FIELD=VALUE ...] [--set FIELD=VALUE ...]

The rounds and the targets are those that `launch` would choose for the default space, or for it
with what `--space` sets, and the training is that of a worker, on one core and with checkpoints as
often as a worker writes them, as CPU time of this process. Without `--set` the networks are the
cheapest and the usual one of the space, of those that the size rule admits. The first round, which
includes tracing, is left out. A row has the CPU seconds of a round, and as shares of them what is
not training. What the driver does with a report is no part of a slot's time; `scale.py` has it.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.policy.round_size import cheapest_network, usual_network
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

#: what is measured within a round
PARTS = ("scoring", "best file", "checkpoint")


def main() -> None:
    """Train, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", default="python-docs", help="a file, a folder or a sample")
    parser.add_argument("--space", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--rounds", type=int, default=4, help="of each network, two at least")
    given = parser.parse_args()
    from lstm_sweep.models import backend

    backend.environment(None)
    backend.prepare(gpu=False, seed=0)
    asked = SweepSpec(data=given.data, space=with_settings(DEFAULT, given.space))
    task = CorpusTask.open(asked)
    spec = task.settled(asked)
    print(f"{len(task.corpus.train):,} training symbols, ", end="")
    print(f"{spec.rounds_per_epoch} rounds an epoch, {spec.targets:,} targets")
    names = "".join(f"{name:>12}" for name in [*PARTS, "together"])
    print(f"{'network':<44}{'CPU s':>8}{names}")
    for config in _configs(task, spec, given.set):
        spent = _measured(config, task.corpus, spec, max(2, given.rounds))
        whole = spent.pop("round")
        cells = "".join(f"{spent.get(name, 0.0) / whole:>12.1%}" for name in PARTS)
        about = f"{config.layers}x{config.layer_size} {config.direction}, "
        about += f"batch {config.batch_size}, window {config.sequence_length}"
        print(f"{about:<44}{whole:>8.2f}{cells}{sum(spent.values()) / whole:>12.1%}", flush=True)


def _configs(task: CorpusTask, spec: SweepSpec, settings: list[str]) -> Iterator[TrialConfig]:
    if settings:
        yield as_lstm_config(with_settings(spec.space, settings).middle())
        return
    yield cheapest_network(spec.space, len(task.corpus.alphabet), task.admits)
    yield usual_network(spec.space, task.admits)


def _measured(
    config: TrialConfig, corpus: Corpus, spec: SweepSpec, rounds: int
) -> dict[str, float]:
    """CPU seconds of a round and of its parts, as means of all rounds but the first."""
    from lstm_sweep.models.network import training
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.network.events import Round

    spent, count = defaultdict[str, float](float), 0
    scoring = spec.scoring()
    with tempfile.TemporaryDirectory() as scratch, _timed(spent):
        folder = Path(scratch)
        began = time.process_time()
        for event in training.train(
            config.evolve(epochs=rounds),
            corpus,
            scoring.drawn(corpus.validation),
            0,
            folder / "best.keras",
            CheckpointSettings(folder / "checkpoint.npz"),
            rounds_per_epoch=spec.settled_rounds_per_epoch(),
            most_rounds=rounds,
            share_windows=scoring.share_windows,
        ):
            if isinstance(event, Round):
                count += 1
                if count == 1:
                    spent.clear()
                    began = time.process_time()
        spent["round"] = time.process_time() - began
    return {name: seconds / max(1, count - 1) for name, seconds in spent.items()}


@contextmanager
def _timed(spent: defaultdict[str, float]) -> Iterator[None]:
    """Add what the parts of a round take to `spent`, in CPU seconds of this process."""
    from lstm_sweep.models.network import training
    from lstm_sweep.models.network.checkpoint import Checkpoint
    from lstm_sweep.models.network.network_file import NetworkFile

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.process_time() - began

        return measured

    places: list[tuple[Any, str]] = [
        (training, "evaluate"), (NetworkFile, "write"), (Checkpoint, "save"),
    ]  # fmt: skip
    with ExitStack() as patches:
        for name, (place, function) in zip(PARTS, places, strict=True):
            own = getattr(place, function)
            patches.enter_context(mock.patch.object(place, function, timed(name, own)))
        yield


if __name__ == "__main__":
    main()
