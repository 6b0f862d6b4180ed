"""What the service costs: a sweep of many tiny trials against their training alone.

    python -m benchmarks.overhead [--trials 40] [--slots 2] [--words 12000] [--epochs 2]

The defaults make trials of a fifth of a second; `--words 400000 --epochs 6` some of about ten.

Each trial measures its own training time in its worker. On S slots the sum of those times divided
by S is what an ideal service would take; the rest of the wall time is ours: starting workers,
building and tracing networks, MLflow, TPE, Python.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--words", type=int, default=12_000, help="words of the text")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a trial")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        _measure(Path(scratch), given)


def _measure(folder: Path, given: argparse.Namespace) -> None:
    # not above, since each worker imports this file again: MLflow would take it a fifth of a second
    from benchmarks.tiny import store_in, words
    from lstm_sweep.models.data import corpus as corpora
    from lstm_sweep.search.driver.corpus_task import CorpusTask
    from lstm_sweep.search.driver.sweep import Sweep
    from lstm_sweep.search.engines import open_engine
    from lstm_sweep.search.values.spec import SweepSpec
    from lstm_sweep.spaces.space import from_mapping

    trials, slots = given.trials, given.slots
    source = words(folder, given.words)
    corpus = corpora.load(source)
    corpus.save(folder / "corpus")
    space = from_mapping(
        {"dropout": {"low": 0, "high": 0.5}, "layer_size": [16, 24, 32], "sequence_length": 20,
         "batch_size": 64, "epochs": given.epochs},
        "benchmark",
    )  # fmt: skip
    spec = SweepSpec(
        data=source.data, space=space, trials=trials, workers=slots, size_rule="off", targets=2000,
        ladder=False, halving=False, early_stopping=0, confirm_configs=0,
    )  # fmt: skip
    engine = open_engine("local", workers=slots)
    engine.warm_up()
    store = store_in(folder)
    begin = time.perf_counter()
    task = CorpusTask.of(spec, corpus)
    sweep = Sweep(spec, name="s", task=task, store=store, engine=engine)
    state = sweep.run()
    wall = time.perf_counter() - begin
    trained = sum(epoch["round_seconds"] for c in state.finished for epoch in c.rounds)
    held = sum(progress.seconds for progress in state.finished)
    ideal = trained / slots
    rows = {
        "trials complete": state.counts.get("complete", 0),
        "slots": slots,
        "wall time of the sweep, s": wall,
        "training of a trial, median, s": statistics.median(
            sum(epoch["round_seconds"] for epoch in c.rounds) for c in state.finished
        ),
        "training / slots, s": ideal,
        "wall / (training / slots)": wall / ideal,
        "in a slot but not in an epoch, s per trial": (held - trained) / len(state.finished),
        "share of slot time that no trial holds": 1 - held / slots / wall,
    }
    for name, value in rows.items():
        print(f"{name:<52} {value:>10.3f}")


if __name__ == "__main__":
    main()
