"""Compare search policies on recorded learning curves: hundreds of sweeps in minutes.

    python -m benchmarks.replay [--seeds 100] [--slots 2] [--only NAME,...] [--variants]

The policies are the program's own (search/policy/policy.py); only trainings are replaced by
recordings of `record_curves.py`, and the clock by their seconds. Each policy is judged by the
simulated time to a loss within 1 % of the best that any recorded config reaches: median and
quartiles over seeds.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import statistics
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from benchmarks import curves
from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.trial import Ended, Job, Outcome, RoundDone, Slot, TrialProgress
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import from_mapping

WITHIN = 1.01
#: simulated seconds after which a sweep is given up: enough to train every config to its end
LONGEST = 3_000.0
#: everything that a plan can leave out
PLAIN = Plan(
    algorithm="random",
    trials=100_000,
    ladder=False,
    opening=False,
    halving=False,
    early_stopping=0,
    confirm_configs=0,
    choices=1,
)
HYPEROPT = replace(PLAIN, algorithm="hyperopt")
TPE = replace(PLAIN, algorithm="tpe")
LADDER = replace(TPE, ladder=True)
HALVING = replace(LADDER, halving=True)
ALL = replace(Plan(), trials=100_000, confirm_configs=0)
POLICIES = {
    "random": PLAIN,
    "hyperopt's tpe": HYPEROPT,
    "tpe": TPE,
    "tpe + ladder": LADDER,
    "tpe + ladder + halving": HALVING,
    "all": ALL,
}
VARIANTS = {
    "all, no ladder": replace(ALL, ladder=False),
    "all, no halving": replace(ALL, halving=False),
    "all, random for tpe": replace(ALL, algorithm="random"),
    "all, hyperopt's tpe": replace(ALL, algorithm="hyperopt"),
    "all, no opening": replace(ALL, opening=False),
    "all, cost-blind": replace(ALL, choices=1),
    "random + halving": replace(PLAIN, halving=True),
    **{f"all, early stopping {n}": replace(ALL, early_stopping=n) for n in (0, 5)},
}


class Replay:
    """Sweeps on one recording."""

    def __init__(self, file: Path) -> None:
        head, found = curves.read(file)
        self.curves = {curve.config: curve for curve in found}
        space = from_mapping(head["space"], str(file))
        missing = {as_lstm_config(c).learning_rate for c in space.points() if c not in self.curves}
        rates = space["learning_rate"]
        kept = [rate for rate in rates.values() or [] if rate not in missing]
        #: the grid, without learning rates that are not recorded in full
        self.space = space.replace(learning_rate=Listed("learning_rate", tuple(kept)))
        self.best = min(min(curve.losses) for curve in found if curve.losses)
        corpus = head["corpus"]
        # what the size of the corpus is to the cost model: its scale is learned anyway
        data_size = DataSize(int(corpus["characters"] * 0.8), 90, corpus["targets"])
        self.problem = lstm_problem(self.space, data_size, unigram_loss=3.29)

    def sweep(self, plan: Plan, slots: int) -> tuple[float, int]:  # noqa: C901 - one simulation
        """Simulated seconds until the target is reached (infinite if never), and trials begun."""
        policy = Policy(plan, self.problem, sweep="replay", slots=slots)
        target = WITHIN * self.best
        free = [Slot(index) for index in range(slots)]
        #: what is known of each trial, by its number
        known: dict[int, TrialProgress] = {}
        #: when a trial is done with an epoch
        events: list[tuple[float, int, int, int]] = []
        order = itertools.count()
        running: dict[Slot, TrialProgress] = {}
        now = 0.0
        #: configs that reach the target and are not ended
        hopeful = {c.config for c in self.curves.values() if min(c.losses, default=9) <= target}

        def fill() -> None:
            while free and (trial := policy.next(now)):
                slot = free.pop()
                progress = TrialProgress(trial, "", slot, _job(trial, slot), began=now)
                running[slot] = progress
                policy.begin(progress)
                known[trial.number] = progress
                curve = self.curves[as_lstm_config(trial.config)]
                first = curve.fixed + (curve.seconds[0] if curve.seconds else 0.0)
                heapq.heappush(events, (now + first, next(order), trial.number, 1))

        def end(progress: TrialProgress, ended: Ended) -> None:
            number = progress.trial.number
            if known[number].ended:
                return
            progress = known[number] = progress.with_end(ended, now)
            hopeful.discard(progress.trial.config)
            free.append(progress.slot)
            for other, why in policy.end(progress):
                end(running[other.slot], why)

        fill()
        while events and now < LONGEST and hopeful:
            now, _, number, epoch = heapq.heappop(events)
            progress = known[number]
            if progress.ended:
                continue
            curve = self.curves[as_lstm_config(progress.trial.config)]
            if epoch > len(curve.losses):
                end(progress, Ended(Outcome(curve.outcome)))
            else:
                loss, seconds = curve.losses[epoch - 1], curve.seconds[epoch - 1]
                metrics = {"val_loss": loss, "round_seconds": seconds}
                progress = known[number] = progress.with_round(RoundDone(epoch, metrics))
                if loss <= target:
                    return now, len(policy.trials)
                verdict = policy.judge(progress)
                if epoch == progress.trial.config.epochs:
                    verdict = Ended(Outcome.COMPLETE)
                if verdict:
                    end(progress, verdict)
                else:
                    following = curve.seconds[epoch] if epoch < len(curve.seconds) else 0.0
                    heapq.heappush(events, (now + following, next(order), number, epoch + 1))
            fill()
        return math.inf, len(policy.trials)


def _job(trial: Any, slot: Slot) -> Job:
    nowhere = Path()
    return Job(trial=trial, slot=slot, training=CorpusTraining(nowhere, 1, 0), folder=nowhere)


_replay: Replay | None = None


def _open(file: Path) -> None:
    global _replay
    _replay = Replay(file)


def _run(task: tuple[Plan, int]) -> tuple[float, int]:
    assert _replay
    return _replay.sweep(*task)


def main() -> None:
    """Replay, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--file", type=Path, default=curves.FOLDER / "text.jsonl")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", help="names of policies, separated by semicolons")
    parser.add_argument("--variants", action="store_true", help="each part left out or changed")
    given = parser.parse_args()
    policies = POLICIES | (VARIANTS if given.variants else {})
    if given.only:
        every = POLICIES | VARIANTS
        policies = {name.strip(): every[name.strip()] for name in given.only.split(";")}
    replay = Replay(given.file)
    near = sum(min(c.losses, default=9e9) <= WITHIN * replay.best for c in replay.curves.values())
    print(
        f"{len(replay.curves)} curves, best loss {replay.best:.4f}, {near} configs within 1 % of it"
    )
    print(f"seconds to within 1 %, {given.seeds} seeds, {given.slots} slots")
    print(f"{'policy':<34}{'quartile':>9}{'median':>9}{'quartile':>9}{'trials':>8}{'ratio':>8}")
    against: float | None = None
    with Pool(given.workers, _open, (given.file,)) as pool:
        for name, plan in policies.items():
            tasks = [(replace(plan, seed=seed), given.slots) for seed in range(given.seeds)]
            results = pool.map(_run, tasks, chunksize=1)
            low, middle, high = statistics.quantiles([seconds for seconds, _ in results], n=4)
            trials = statistics.median(count for _, count in results)
            against = against or middle
            print(
                f"{name:<34}{low:>9.0f}{middle:>9.0f}{high:>9.0f}{trials:>8.0f}"
                f"{middle / against:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
