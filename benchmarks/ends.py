"""What it changes that networks learn where sessions end.

    python -m benchmarks.ends [--steps 2400] [--seeds 0 1] [--set FIELD=VALUE ...] [--jobs 5000]

One config is trained on `workflow-log` with and without `<end>`, for the same steps and with the
same seeds. Losses of events are means over the same validation events; those of ends and of both
together are of the network that has learned ends. Then both judge new jobs, of which every tenth is
broken off after any of its events but the last: how many of these a rule of `detect` finds, and in
how many whole jobs it finds something. Neither depends on the machine's speed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import END, UNKNOWN
from lstm_sweep.models.data.corpus import Corpus, Split, load
from lstm_sweep.models.data.samples import WORKFLOW
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.results.detect import Rule

CONFIG = TrialConfig(layer_size=48, batch_size=32, sequence_length=20, epochs=1000)
#: of so many jobs one is broken off
EVERY = 10
RULES = (*(Rule(p) for p in (0.01, 0.001, 0.0001)), *(Rule(0.5, g) for g in (3, 5)))


def main() -> None:
    """Train, judge, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--jobs", type=int, default=5000)
    given = parser.parse_args()
    from lstm_sweep.models import backend

    backend.environment(None)
    changes = dict(setting.split("=", 1) for setting in given.set)
    config = CONFIG.evolve(
        **{name: type(getattr(CONFIG, name))(value) for name, value in changes.items()}
    )
    for ends in (False, True):
        corpus = load(Source(data="workflow-log", ends=ends))
        known = WORKFLOW.entropy(ends=ends)
        print(f"\n{'with' if ends else 'without'} ends: entropy {known:.4f} nats a symbol")
        for seed in given.seeds:
            predictor = _trained(config, corpus, seed, given.steps)
            surprise, _ = _judged(predictor, config, corpus, corpus.validation)
            is_end = (corpus.validation.codes == END) & ends
            parts = {"all": surprise, "events": surprise[~is_end], "ends": surprise[is_end]}
            told = ", ".join(f"{name} {one.mean():.4f}" for name, one in parts.items() if len(one))
            print(f"seed {seed}: loss of {told}")
            _print_found(predictor, config, corpus, given.jobs)


def _trained(config: TrialConfig, corpus: Corpus, seed: int, steps: int) -> Any:
    """What predicts as the network does that was trained for so many steps."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.bundle.bundle import networks_of
    from lstm_sweep.models.network import program, training

    backend.prepare(gpu=False, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.keras"
        targets = np.arange(min(1000, len(corpus.validation)))
        for _ in training.train(config, corpus, targets, seed, file, steps=steps):
            pass
        networks = networks_of(file, config, len(corpus.alphabet))
    return program.predictor_of(program.program_of(networks, config, seed=0), config)


def _judged(
    predictor: Any, config: TrialConfig, corpus: Corpus, split: Split
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from lstm_sweep.models.bundle.anomalies import judge

    return judge(predictor, config, len(corpus.alphabet), split)


def _print_found(predictor: Any, config: TrialConfig, corpus: Corpus, count: int) -> None:
    """How many broken jobs each rule finds, and in how many whole ones it finds something."""
    split, broken = _jobs(corpus, count)
    surprise, rank = _judged(predictor, config, corpus, split)
    of_job = np.searchsorted(split.starts, np.arange(len(split)), side="right") - 1
    for rule in RULES:
        hit = np.zeros(count, bool)
        hit[of_job[rule.breaks(surprise, rank, split.codes != UNKNOWN)]] = True
        found, false = int((hit & broken).sum()), int((hit & ~broken).sum())
        print(f"  {rule!s:<28}{found / broken.sum():>8.1%} of broken jobs, {false:,} of whole ones")


def _jobs(corpus: Corpus, count: int) -> tuple[Split, NDArray[np.bool_]]:
    """New jobs in the codes of a corpus, and which of them are broken off."""
    rng = np.random.default_rng(1)
    jobs = [WORKFLOW.session(rng) for _ in range(count)]
    broken = np.arange(count) % EVERY == 0
    for number in np.flatnonzero(broken):
        jobs[number] = jobs[number][: rng.integers(1, len(jobs[number]))]
    starts = np.cumsum([0, *map(len, jobs[:-1])])
    codes = corpus.alphabet.encode(np.concatenate(jobs).tolist()).astype(np.uint32)
    split = Split(codes, starts)
    return split.with_ends(END) if corpus.alphabet.ends else split, broken


if __name__ == "__main__":
    main()
