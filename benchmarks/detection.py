"""How well a network finds planted errors in a log, by each rule of `detect`.

    lstm-sweep launch --data workflow-log --space quick --trials 8
    lstm-sweep export workflow-log-1 --to best
    python -m benchmarks.detection best [--sessions 5000] [--seed 1]

New jobs are drawn from the process behind `workflow-log`; in every tenth of them one action has the
acknowledgement of another. All else in them is as it should be, so whatever else a rule calls
unexpected is a false alarm.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.data.alphabet import UNKNOWN
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.samples import WORKFLOW
from lstm_sweep.search.results.detect import Rule
from lstm_sweep.search.results.generate import predictor_of

#: of so many jobs one has an error
EVERY = 10
ACKNOWLEDGED = 30
RULES = (*(Rule(p) for p in (0.02, 0.01, 0.001, 0.0001)), *(Rule(0.5, g) for g in (3, 5, 9)))


def main() -> None:
    """Plant errors, look for them, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle")
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder, bundle = bundles.read(given.bundle)
    alphabet = bundle.alphabet
    events, starts, planted = _log(given.sessions, np.random.default_rng(given.seed))
    split = Split(alphabet.encode(events.tolist()).astype(np.uint32), starts)
    logits = predictor_of(folder, bundle, seed=0)
    from lstm_sweep.models.bundle.anomalies import judge

    surprise, rank = judge(logits, bundle.config, len(alphabet), split)
    errors = np.zeros(len(split), bool)
    errors[planted] = True
    fine = surprise[~errors].mean() / math.log(2)
    print(f"{len(split):,} events in {given.sessions:,} jobs, {len(planted):,} with an error")
    print(f"{fine:.4f} bits for an event that is as it should be")
    print(f"{'unexpected':<28}{'errors found':>14}{'false alarms':>14}{'precision':>11}")
    for rule in RULES:
        broken = rule.breaks(surprise, rank, split.codes != UNKNOWN)
        found, false = int((broken & errors).sum()), int((broken & ~errors).sum())
        precision = f"{found / (found + false):.1%}" if found + false else "-"
        print(f"{rule!s:<28}{found / len(planted):>14.1%}{false:>14,}{precision:>11}")


def _log(
    count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Events of jobs, the first of each, and where the errors are."""
    jobs, planted, length = [], [], 0
    starts = []
    for number in range(count):
        job = WORKFLOW.session(rng)
        if number % EVERY == 0:
            actions = len(WORKFLOW.action_probabilities)
            kinds = job - ACKNOWLEDGED
            place = int(rng.choice(np.flatnonzero((kinds >= 0) & (kinds < actions))))
            job[place] = ACKNOWLEDGED + (kinds[place] + rng.integers(1, actions)) % actions
            planted.append(length + place)
        starts.append(length)
        jobs.append(job)
        length += len(job)
    return np.concatenate(jobs), np.array(starts), planted


if __name__ == "__main__":
    main()
