"""Train every config of a grid and record its learning curve, for `replay.py`.

    python -m benchmarks.record_curves --grid text [--data FILE] [--file FILE] [--workers N]

The grids are in `curves.py`; `--data` is the corpus of those that have none. A recording that was
broken off goes on where it stopped. Each config is trained as a trial of a sweep is: in a fresh
worker process on one core, scored on the same validation targets after each round. Seconds are
those of the rounds, so nothing else should run on the machine. The order is shuffled, so that a
part of a grid is a sample of it, but for the lowest learning rates, which come last.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import curves
from benchmarks.curves import GRIDS, Grid, given_text
from lstm_sweep.models.baselines import Counts, NaiveBayes
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring, scoring_targets, scoring_windows
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import score
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.values.trial import Ended, Job, Outcome, RoundDone, Slot, Trial, trial_seed
from lstm_sweep.spaces.space import Space, from_mapping

#: configs with learning rates below this are trained last
LAST = 0.0005
#: how a trial may end whose curve is one of its config
RECORDED = (Outcome.COMPLETE, Outcome.DIVERGED)
#: seconds that a wait for messages lasts at most
WAIT_S = 10.0


@dataclass
class Recording:
    """The curve of a config while it is trained."""

    config: Any
    #: rounds after which it ends
    rounds: int
    #: when it began, or reported last
    seen: float = field(default_factory=time.monotonic)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether no more is to be recorded."""
        return len(self.losses) >= self.rounds

    def add(self, message: RoundDone) -> None:
        """Record a round that has just ended."""
        self.seen = time.monotonic()
        self.losses.append(message.metrics["val_loss"])
        self.seconds.append(message.metrics["round_seconds"])

    def curve(self, ended: Ended) -> curves.Curve:
        """What was recorded, with what it has taken since its last round."""
        fixed = 0.0 if self.full else time.monotonic() - self.seen
        outcome, losses, seconds = str(ended.outcome), tuple(self.losses), tuple(self.seconds)
        return curves.Curve(self.config, outcome, losses, seconds, fixed)


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--grid", choices=sorted(GRIDS), default="text")
    parser.add_argument("--data", type=Path, help="corpus of a grid that has none")
    parser.add_argument("--file", type=Path, help="recording (curves/GRID.jsonl)")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    grid = GRIDS[given.grid]
    file = given.file or curves.FOLDER / f"{given.grid}.jsonl"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            corpus = corpus_of(grid, given.data, Path(scratch))
            corpus.save(Path(scratch) / "corpus")
            space = from_mapping(dict(grid.dimensions), given.grid)
            _record(grid, space, corpus, file, Path(scratch), given.workers)
    except InputError as error:
        print(f"record_curves: {error}", file=sys.stderr)
        sys.exit(2)


def corpus_of(grid: Grid, data: Path | None, folder: Path) -> Corpus:
    """The corpus of a grid; `data` is the file of one that has none, `folder` for a copy of it."""
    if grid.sample is not None:
        return corpora.load(Source(data=grid.sample, ends=False))  # as it was first recorded
    text = (grid.text() if grid.text else given_text(data))[: grid.characters]
    (folder / "text.txt").write_text(text, encoding="utf-8", newline="")
    return corpora.load(Source(data=str(folder / "text.txt"), symbols="chars"))


def head_of(grid: Grid, space: Space, corpus: Corpus) -> dict[str, Any]:
    """What all curves of a recording share."""
    targets = scoring_targets(corpus.validation, grid.targets, 0)
    unigram = NaiveBayes(0, 1.0)
    counts = Counts(corpus.train, len(corpus.alphabet))
    blocks = scoring_windows(corpus.validation, targets, 1, len(targets))
    guessed = score((unigram.predict(counts, windows), true) for windows, true in blocks)
    return {
        "corpus": {
            "about": grid.about,
            "characters": sum(map(len, corpus.splits().values())),
            "symbols": len(corpus.train),
            "alphabet": len(corpus.alphabet),
            "digest": corpus.digest,
            "targets": len(targets),
            "unigram_loss": round(guessed["loss"], 4),
        },
        "held_out": grid.held_out,
        "rounds_per_epoch": grid.rounds_per_epoch,
        "rounds": grid.rounds or space.epochs * grid.rounds_per_epoch,
        "machine": f"{platform.machine()}, Python {platform.python_version()}, one core a trial",
        "space": space.describe(),
        "common": {
            name: value[0] for name, d in space.items() if len(value := d.values() or []) == 1
        },
    }


def opened(file: Path, head: dict[str, Any]) -> set[Any]:
    """Configs that a recording has; one that is not there is begun.

    Raises:
        InputError: it is of another corpus or grid.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(head) + "\n", encoding="utf-8")
        return set()
    found, recorded = curves.read(file)
    for name, value, wanted in (
        ("digest", found["corpus"]["digest"], head["corpus"]["digest"]),
        ("space", curves.space_of(found, file).describe(), head["space"]),
    ):
        if value != wanted:
            raise InputError(f"{file}: {name} is {value}, expected {wanted}; try another --file")
    return {curve.config for curve in recorded}


def not_recorded(space: Space, done: set[Any]) -> list[tuple[int, Any]]:
    """Configs that are not recorded and their numbers, shuffled."""
    points = list(space.points())
    order = np.random.default_rng(0).permutation(len(points))
    waiting = [(int(i), points[i]) for i in order if points[i] not in done]
    # the slow ones learn nothing in this time
    return sorted(waiting, key=lambda item: item[1].learning_rate < LAST)


def _record(
    grid: Grid,
    space: Space,
    corpus: Corpus,
    file: Path,
    folder: Path,
    workers: int | None,
) -> None:
    head = head_of(grid, space, corpus)
    waiting = not_recorded(space, opened(file, head))
    running: dict[Slot, Recording] = {}
    with open_engine("local", workers=workers) as engine:
        engine.warm_up()
        while waiting or running:
            for slot in engine.slots:
                if slot not in running and waiting:
                    number, config = waiting.pop(0)
                    engine.start(_job(number, config, slot, grid, folder))
                    running[slot] = Recording(config, head["rounds"])
            for slot, message in engine.wait(WAIT_S):
                recording = running[slot]
                if isinstance(message, RoundDone) and not recording.full:
                    recording.add(message)
                    if recording.full:
                        engine.stop(slot, Ended(Outcome.COMPLETE))
                elif isinstance(message, Ended):
                    if message.outcome not in RECORDED:
                        text = f"{recording.config.describe()}: {message.outcome}"
                        raise InputError(f"{text}, {message.reason}; expected a curve")
                    curve = running.pop(slot).curve(message)
                    with file.open("a", encoding="utf-8") as out:
                        out.write(curves.line_of(curve, head["common"]) + "\n")
                    _show(curve, len(waiting))


def _job(number: int, config: Any, slot: Slot, grid: Grid, folder: Path) -> Job:
    """The trial of a config."""
    trial = Trial(
        sweep="curves",
        number=number,
        config=config,
        seed=trial_seed(0, number),
        rounds_per_epoch=grid.rounds_per_epoch,
    )
    training = CorpusTraining(folder / "corpus", Scoring(grid.targets, 0))
    return Job(trial=trial, slot=slot, training=training, folder=folder / str(number))


def _show(curve: curves.Curve, left: int) -> None:
    best, spent = min(curve.losses, default=math.nan), sum(curve.seconds) + curve.fixed
    text = f"{left} left; {curve.outcome} {best:.4f} after {len(curve.losses)} rounds"
    print(f"{text}, {spent:.1f} s", flush=True)


if __name__ == "__main__":
    main()
