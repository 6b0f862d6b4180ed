"""Make the experience that ships with the program, of recordings of `record_curves.py`.

    python -m benchmarks.experience

It takes all recordings but those of corpora that are kept out of every choice of a default.
"""

from __future__ import annotations

import argparse
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks import curves
from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy import ladder
from lstm_sweep.search.policy.experience import PastSweep
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.past_sweep import Trained, past_sweep
from lstm_sweep.search.sweep.shipped_past import FILE

#: of each recording so many trials are taken: half of them the best ones
MOST = 60


def of_others(file: Path) -> list[PastSweep]:
    """What the recordings teach a replay but for this one and those that are held out."""
    return [of_recording(other, refine=False) for other in _taught() if other.stem != file.stem]


def _taught() -> list[Path]:
    """The recordings by which a default may be chosen."""
    files = sorted(curves.FOLDER.glob("*.jsonl"))
    return [file for file in files if not curves.read(file)[0].get("held_out")]


def of_recording(file: Path, *, refine: bool) -> PastSweep:
    """A recording as a sweep over its whole grid, and what a ladder would have found in it.

    With `refine`, multiples are those of rates between the steps of the ladder.
    """
    head, recorded = curves.read(file)
    found = {curve.config: curve for curve in recorded}
    problem = lstm_problem(
        curves.space_of(head, file),
        curves.data_size_of(head),
        unigram_loss=curves.unigram_loss_of(head),
    )
    trained = [Trained(config, [*accumulate(c.losses, min)]) for config, c in found.items()]
    assert problem.smallest
    small = as_lstm_config(problem.smallest)
    length = problem.ladder_length(None, 1).rounds
    climbed = [small.evolve(learning_rate=rate) for rate in ladder.of(problem.space)]
    steps = [
        Trained(config, [*accumulate(found[config].losses[:length], min)])
        for config in climbed
        if config in found
    ]
    return past_sweep(trained, steps, problem.untrained_loss, refine=refine)


def written(file: Path) -> dict[str, Any]:
    """What ships of a recording."""
    trials = sorted(of_recording(file, refine=True).trials, key=lambda one: one.behind)
    best, others = trials[: MOST // 2], trials[MOST // 2 :]
    kept = [*best, *others[:: max(1, -(-len(others) // (MOST - len(best))))]]
    defaults = {**TrialConfig().to_dict(), **curves.UNSAID}
    return {
        "corpus": file.stem,
        "trials": [
            [
                round(one.behind, 4),
                one.multiple and float(f"{one.multiple:.3g}"),
                {k: v for k, v in one.config.to_dict().items() if v != defaults[k]},
            ]
            for one in kept
        ],
    }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.parse_args()
    sweeps = [written(file) for file in _taught()]
    lines = [
        json.dumps({**sweep, "trials": []})[:-2]
        + "\n"
        + ",\n".join(json.dumps(trial) for trial in sweep["trials"])
        + "]}"
        for sweep in sweeps
    ]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{FILE}: {', '.join(sweep['corpus'] for sweep in sweeps)}")


if __name__ == "__main__":
    main()
