"""Replay the recordings with the policy of the version before rounds, beside which this one stands.

    git worktree add --detach ../before 0b3ffe0
    python -m benchmarks.before_rounds --checkout ../before [--file FILE] [--seeds 40] [--slots 2]

That version reports, judges and learns at the end of an epoch, and ends a trial that falls behind.
It is replayed by its own `replay.py` in two ways: by epochs, as it is, for which the rounds of an
epoch are made one, with the loss at its end and the seconds of all; and by rounds, for which each
round is made an epoch of its own. The loss to come to is that of `replay.py` here, within 1 % of
the best of any round. Its replay takes only learning rates of which all configs are recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import curves
from benchmarks.curves import Curve
from benchmarks.replay import WITHIN
from benchmarks.replay_report import Row, heading, line
from lstm_sweep.models.config import EARLIER, FIELDS, as_lstm_config

#: fields of a config that the version knows
KNOWN = tuple(name for name in FIELDS if name not in EARLIER)
#: sweeps of its replay, which has two numbers of one recording in its code; prints seconds and
#: trials of each
PROGRAM = """
import json, sys
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from benchmarks import replay

file, seeds, slots, workers, within, unigram_loss = map(json.loads, sys.argv[1:])
problem = replay.lstm_problem
replay.WITHIN = within
replay.lstm_problem = lambda *given, **_: problem(*given, unigram_loss=unigram_loss)
replay.Replay(Path(file))  # an error ends it here, and does not begin each process of the pool anew
tasks = [(replace(replay.ALL, seed=seed), slots) for seed in range(seeds)]
with Pool(workers, replay._open, (Path(file),)) as pool:
    print(json.dumps(pool.map(replay._run, tasks, chunksize=1)))
"""


def by_epochs(curve: Curve, rounds: int) -> Curve:
    """The curve by epochs of so many rounds; seconds of one that was not ended belong to none."""
    whole = len(curve.losses) // rounds
    ends = range(rounds, (whole + 1) * rounds, rounds)
    return replace(
        curve,
        losses=tuple(curve.losses[end - 1] for end in ends),
        seconds=tuple(sum(curve.seconds[end - rounds : end]) for end in ends),
        fixed=curve.fixed + sum(curve.seconds[whole * rounds :]),
    )


def recording(head: Mapping[str, Any], found: Sequence[Curve], symbols: int) -> str:
    """A recording in that version's form, of curves by its epochs of so many symbols."""
    epochs = max(len(curve.losses) for curve in found)
    # the training data are 80 % of the characters there
    corpus = {**head["corpus"], "characters": math.ceil(symbols / 0.8)}
    known = {
        part: {name: value for name, value in head[part].items() if name in KNOWN}
        | {"epochs": epochs}
        for part in ("space", "common")
    }
    lines = [json.dumps({**head, **known, "corpus": corpus})]
    for curve in found:
        row = json.loads(curves.line_of(curve, head["common"]))
        row["config"] = {name: value for name, value in row["config"].items() if name in KNOWN}
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"


def is_whole(head: Mapping[str, Any], found: Sequence[Curve], file: Path) -> bool:
    """Whether there is a learning rate of which all configs are recorded."""
    recorded = {curve.config for curve in found}
    configs = [as_lstm_config(config) for config in curves.space_of(head, file).points()]
    missing = {config.learning_rate for config in configs if config not in recorded}
    return any(config.learning_rate not in missing for config in configs)


def target_share(found: Sequence[Curve], changed: Sequence[Curve]) -> float:
    """The target of the recording as a multiple of the lowest loss at the end of an epoch."""
    lowest, at_an_end = (
        min((loss for curve in some for loss in curve.losses), default=math.inf)
        for some in (found, changed)
    )
    return WITHIN * lowest / at_an_end


def _row(name: str, file: Path, rounds: int, given: argparse.Namespace) -> Row:
    """What that version takes on a recording, by epochs of so many rounds."""
    head, found = curves.read(file)
    changed = [by_epochs(curve, rounds) for curve in found]
    within = target_share(found, changed)
    if within < 1:
        return Row.of(name, [(math.inf, 0)])
    with TemporaryDirectory() as folder:
        written = Path(folder) / file.name
        data = curves.data_size_of(head)
        symbols = math.ceil(data.symbols * rounds / data.rounds_per_epoch)
        written.write_text(recording(head, changed, symbols), encoding="utf-8")
        unigram_loss = curves.unigram_loss_of(head)
        options = [str(written), given.seeds, given.slots, given.workers, within, unigram_loss]
        command = [sys.executable, "-c", PROGRAM, *map(json.dumps, options)]
        env = {**os.environ, "PYTHONPATH": str(given.checkout.resolve())}
        printed = subprocess.check_output(command, cwd=given.checkout, env=env)
    return Row.of(name, json.loads(printed))


def main() -> None:
    """Replay each recording in both ways, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkout", type=Path, required=True, help="that version's code")
    parser.add_argument("--file", type=Path, action="append", help="again for another recording")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    for file in given.file or sorted(curves.FOLDER.glob("*.jsonl")):
        head, found = curves.read(file)
        if not is_whole(head, found, file):
            print(f"{file.stem}: of no learning rate all configs are recorded\n", flush=True)
            continue
        print(f"{file.stem}: seconds to within {WITHIN - 1:.0%}, ", end="")
        print(f"{given.seeds} seeds, {given.slots} slots\n{heading()}", flush=True)
        first = _row("before rounds, by epochs", file, head.get("rounds_per_epoch", 1), given)
        for row in (first, _row("before rounds, by rounds", file, 1, given)):
            print(line(row, first), flush=True)
        print()


if __name__ == "__main__":
    main()
