"""Compare search policies on recorded learning curves: hundreds of sweeps in minutes.

    python -m benchmarks.replay [--file FILE] [--seeds 100] [--slots 2] [--only NAME;...]
        [--variants] [--within 1.01]

The policies are the program's own (search/policy/policy.py); only trainings are replaced by
recorded ones, and the clock by their seconds. Each policy is judged by the
simulated time to a loss within 1 % (`--within`) of the best that any recorded config reaches:
median and quartiles over seeds. `--file` may be given several times; without it, each recording in
`curves/` is replayed. No default of the program may be chosen by a recording that is held out; it
is marked in the last table.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path
from typing import Self

from benchmarks import curves
from benchmarks.alone import laid_out
from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Trial
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space
from tests.simulated import Said, Simulation

WITHIN = 1.01
#: seconds below which their tenths are printed
SHORT = 100.0
#: width of the names of policies
NAME = 34
#: simulated seconds after which a sweep is given up: enough to train every config to its end
LONGEST = 3_000.0
#: seconds that a trial takes to go on after it has waited, but a usual round at most: recorded
#: rounds are shorter than those of a sweep
RESUME_S = 1.0
#: everything that a plan can leave out
PLAIN = Plan(
    algorithm="random",
    trials=100_000,
    ladder=False,
    halving=False,
    early_stopping=0,
    confirm_configs=0,
)
HYPEROPT = replace(PLAIN, algorithm="hyperopt")
TPE = replace(PLAIN, algorithm="tpe")
LADDER = replace(TPE, ladder=True)
HALVING = replace(LADDER, halving=True)
ALL = replace(Plan(), trials=100_000, confirm_configs=0)
POLICIES: Mapping[str, Plan] = {
    "random": PLAIN,
    "hyperopt's tpe": HYPEROPT,
    "tpe": TPE,
    "tpe + ladder": LADDER,
    "tpe + ladder + halving": HALVING,
    "all": ALL,
}
VARIANTS: Mapping[str, Plan] = {
    "all, no ladder": replace(ALL, ladder=False),
    "all, no halving": replace(ALL, halving=False),
    "all, random for tpe": replace(ALL, algorithm="random"),
    "all, hyperopt's tpe": replace(ALL, algorithm="hyperopt"),
    "all, no opening": ALL,
    "random + halving": replace(PLAIN, halving=True),
    **{f"all, early stopping {n}": replace(ALL, early_stopping=n) for n in (0, 5)},
}
#: policies that begin with no config that is known to be sensible
NO_OPENING = {*POLICIES, "all, no opening", "random + halving"} - {"all"}


class Replay:
    """Sweeps on one recording."""

    def __init__(self, file: Path, within: float = WITHIN) -> None:
        head, found = curves.read(file)
        self.curves = {curve.config: curve for curve in found}
        self.held_out: bool = head.get("held_out", False)
        space = curves.space_of(head, file)
        #: the grid, without learning rates of which no config is recorded; `problem` admits the
        #: configs that are
        self.space = _recorded_part(space, self.curves)
        self.best = min(min(curve.losses) for curve in found if curve.losses)
        #: loss that counts as found
        self.target = within * self.best
        rounds = [seconds for curve in found for seconds in curve.seconds]
        self.resume_s = min(RESUME_S, statistics.median(rounds))
        self.problem = lstm_problem(
            self.space,
            curves.data_size_of(head),
            untrained_loss=curves.unigram_loss_of(head),
            admits=self._is_recorded,
        )
        #: the same, with no config that is known to be sensible
        self.no_opening = replace(
            self.problem, openings=lambda rate, admits: (), large_openings=lambda rate: ()
        )

    def _is_recorded(self, config: Config) -> bool:
        return as_lstm_config(config) in self.curves

    def curve_of(self, config: Config) -> curves.Curve:
        """The curve of a config; of the ladder's network with each rate, that of one like it."""
        own = as_lstm_config(config)
        if own in self.curves:
            return self.curves[own]
        like = [one for one in self.curves if one.learning_rate == own.learning_rate]
        return self.curves[min(like, key=lambda one: _distance(one, own))]

    def said(self, trial: Trial) -> Iterator[tuple[float, Said]]:
        """What a trial says: its rounds, as they were recorded, and its end."""
        curve = self.curve_of(trial.config)
        # a trial of the ladder may end within its first round, whose loss is taken for its
        rounds = trial.planned_rounds if trial.steps is None else 1
        before = curve.fixed
        for number, (loss, seconds) in enumerate(zip(curve.losses, curve.seconds, strict=True), 1):
            yield before + seconds, RoundDone(number, {"val_loss": loss, "round_seconds": seconds})
            before = 0.0
            if number == rounds:
                yield 0.0, Ended(Outcome.COMPLETE)
        yield before, Ended(Outcome(curve.outcome))

    def sweep(self, rule: Plan, slots: int, *, opening: bool = True) -> tuple[float, int]:
        """Simulated seconds until the target is reached (infinite if never), and trials begun."""
        problem = self.problem if opening else self.no_opening
        policy = Policy(rule, problem, sweep="replay", slots=slots)
        found = Simulation(policy, self.said, slots, resume_s=self.resume_s).run(
            LONGEST, lambda trial: (trial.best_loss or math.inf) <= self.target
        )
        reached = any((one.best_loss or math.inf) <= self.target for one in found.trials)
        return found.now if reached else math.inf, len(policy.known)


def _recorded_part(space: Space, recorded: Iterable[TrialConfig]) -> Space:
    """The space with those learning rates of which configs are recorded."""
    rates = {config.learning_rate for config in recorded}
    kept = tuple(rate for rate in space["learning_rate"].values() or [] if rate in rates)
    found = space.replace(learning_rate=Listed("learning_rate", kept))
    found.stands_in = "recording"  # so that no rate between these is tried
    return found


def _distance(one: TrialConfig, other: TrialConfig) -> float:
    """How unlike two networks are in the fields that cost time."""
    fields = ("layers", "layer_size", "sequence_length", "batch_size")
    return sum(abs(math.log(getattr(one, name) / getattr(other, name))) for name in fields)


@dataclass(frozen=True)
class Row:
    """What a policy took on one recording: seconds, infinite if it never came to the target."""

    name: str
    lower: float
    median: float
    upper: float
    #: median number of trials begun
    trials: float

    @classmethod
    def of(cls, name: str, results: Sequence[tuple[float, int]]) -> Self:
        """Median and quartiles of the seconds of sweeps; `results` are pairs with their trials."""
        lower, median, upper = quartiles([seconds for seconds, _ in results])
        return cls(name, lower, median, upper, statistics.median(count for _, count in results))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; infinite where the values beside it are."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    finite = [value for value in values if math.isfinite(value)]
    large = 2 * max(finite, default=0.0) + 1
    found = statistics.quantiles([min(value, large) for value in values], n=4)
    top = max(finite, default=-math.inf)
    lower, median, upper = (value if value <= top else math.inf for value in found)
    return lower, median, upper


def heading() -> str:
    """Names of the columns of `line`."""
    return f"{'policy':<{NAME}}{'quartile':>9}{'median':>9}{'quartile':>9}{'trials':>8}{'ratio':>8}"


def line(row: Row, first: Row) -> str:
    """Seconds of a policy on a recording, and the ratio of its median to that of the first."""
    found = (row.lower, row.median, row.upper)
    seconds = "".join(f"{value:>9.{1 if value < SHORT else 0}f}" for value in found)
    return f"{row.name:<{NAME}}{seconds}{row.trials:>8.0f}{_text(_ratio(row, first)):>8}"


def summary(found: Mapping[str, Sequence[Row]]) -> str:
    """Ratio of each policy's median to that of the first policy, on each recording.

    The last column is their geometric mean.
    """
    first = next(iter(found.values()))
    rows = [[f"median time, as a share of that of: {first[0].name}", *found, "mean"]]
    for number, row in enumerate(first):
        ratios = [_ratio(of[number], of[0]) for of in found.values()]
        rows.append([row.name, *map(_text, ratios), _text(_mean(ratios))])
    return laid_out(rows)


def _ratio(row: Row, first: Row) -> float | None:
    """None if the first never came to the target."""
    return row.median / first.median if math.isfinite(first.median) else None


def _mean(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    if len(known) < len(ratios) or not all(map(math.isfinite, known)):
        return None
    return statistics.geometric_mean(known)


def _text(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if math.isfinite(ratio) else "never"


_replay: Replay | None = None


def _open(file: Path, within: float) -> None:
    global _replay
    _replay = Replay(file, within)


def _run(task: tuple[Plan, int, bool]) -> tuple[float, int]:
    assert _replay
    rule, slots, opening = task
    return _replay.sweep(rule, slots, opening=opening)


def main() -> None:
    """Replay, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--file", type=Path, action="append", help="again for another recording")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", help="names of policies, separated by semicolons")
    parser.add_argument("--variants", action="store_true", help="each part left out or changed")
    parser.add_argument("--within", type=float, default=WITHIN, help="share of the best loss")
    given = parser.parse_args()
    policies = {**POLICIES, **(VARIANTS if given.variants else {})}
    if given.only:
        every = {**POLICIES, **VARIANTS}
        policies = {name.strip(): every[name.strip()] for name in given.only.split(";")}
    share = f"{given.within - 1:.0%}"
    found: dict[str, list[Row]] = {}
    for file in given.file or sorted(curves.FOLDER.glob("*.jsonl")):
        replay = Replay(file, given.within)
        name = file.stem + (curves.HELD_OUT if replay.held_out else "")
        lowest = (min(curve.losses, default=math.inf) for curve in replay.curves.values())
        near = sum(loss <= replay.target for loss in lowest)
        print(f"{name}: {len(replay.curves)} curves, best loss {replay.best:.4f}, ", end="")
        print(f"{near} configs within {share}")
        print(f"seconds to within {share}, {given.seeds} seeds, {given.slots} slots")
        print(heading(), flush=True)
        found[name] = rows = []
        with Pool(given.workers, _open, (file, given.within)) as pool:
            for label, rule in policies.items():
                opening, seeds = label not in NO_OPENING, range(given.seeds)
                tasks = [(replace(rule, seed=seed), given.slots, opening) for seed in seeds]
                rows.append(Row.of(label, pool.map(_run, tasks, chunksize=1)))
                print(line(rows[-1], rows[0]), flush=True)
        print()
    print(summary(found))


if __name__ == "__main__":
    main()
