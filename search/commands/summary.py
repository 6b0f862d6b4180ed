"""What is said at the end of a sweep: its best trials, and what to do with them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.commands.display import duration, trials_table
from lstm_sweep.search.policy.stop_reason import SweepStatus
from lstm_sweep.search.store import archive
from lstm_sweep.search.trial import TrialRecord

#: trials that are shown, at most
SHOWN = 10


def conclude(console: Console, result: SweepResult, trials: Sequence[TrialRecord]) -> None:
    """Say what a sweep has come to; `trials` are those of the store, as far as it answers."""
    records = archive.ranked(list(trials))
    if records:
        title = f"{result.sweep}: the best of {_counts(result)}"
        console.print(trials_table(records[:SHOWN], title))
    best = result.best
    if best:
        loss, config = best.val_loss, best.config
        if isinstance(config, TrialConfig):
            console.print(
                f"best: {best.trial}, {loss:.4f} nats = {bits(loss):.4f} bits per symbol "
                f"({config.direction}, {config.layers} layers of {config.layer_size}, "
                f"learning rate {config.learning_rate:g})"
            )
        else:
            values = ", ".join(config.table_columns().values())
            console.print(f"best: {best.trial}, loss {loss:.4f} ({values})")
        for name, other in result.baselines.items():
            better = f"the best trial is {other - loss:.4f} nats better"
            worse = f"the best trial is {loss - other:.4f} nats worse"
            verdict = better if loss < other else worse
            console.print(f"  {name.replace('_', ' '):<12} {other:.4f}   {verdict}")
    if result.confirmed:
        console.print("trained again:")
    for one in result.confirmed:
        console.print(f"  {one.text}")
    if result.omitted and not result.goes_on:
        console.print(result.omitted, markup=False)
    failed = "failed: " if result.state is SweepStatus.FAILED else ""
    console.print(f"ended after {duration(result.seconds)}: {failed}{result.why}")
    program = _program()
    console.print("next:")
    if result.goes_on:
        console.print(f"  {program} resume {result.sweep}")
    console.print(f"  {program} ui")
    if best:
        console.print(f"  {program} export {result.sweep} --to {result.sweep}-best")
        console.print(f"  {program} rerun {best.trial}")
    console.print(f"  {program} trials {result.sweep}")


def _program() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _counts(result: SweepResult) -> str:
    total = sum(result.trials.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in result.trials.items())
    return f"{total} trials ({parts})"
