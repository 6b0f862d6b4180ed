"""What is said at the end of a sweep: its best trials, and what to do with them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lstm_sweep.search.commands.display import duration, trials_table
from lstm_sweep.search.sweep.state import SweepState

if TYPE_CHECKING:
    from lstm_sweep.search.store.tracking import Store


def conclude(console: Console, state: SweepState, store: Store) -> None:
    """Say what a sweep has come to."""
    from lstm_sweep.search.store import archive

    records = [] if state.left_open else archive.ranked(archive.trials(store, state.name))
    if records:
        console.print(trials_table(records[:10], f"{state.name}: the best of {_counts(state)}"))
    best = state.best
    if best and best.ranked_loss is not None:
        loss = best.ranked_loss
        config = best.trial.config
        in_bits = best.trial.objective.bits_per_symbol(loss)
        result = (
            f"loss {loss:.4f}"
            if in_bits is None
            else f"{loss:.4f} nats = {in_bits:.4f} bits per symbol"
        )
        console.print(f"best: {best.trial.id}, {result} ({config.headline()})")
        for name, other in state.baselines.items():
            better = f"the best trial is {other - loss:.4f} nats better"
            worse = f"the best trial is {loss - other:.4f} nats worse"
            verdict = better if loss < other else worse
            console.print(f"  {name.replace('_', ' '):<12} {other:.4f}   {verdict}")
    report = state.policy.report() if state.policy else None
    if report and report.confirmed:
        console.print("trained again:")
        for one in report.confirmed:
            console.print(f"  {one}")
    if report and report.omitted and not state.broken_off:
        console.print(report.omitted, markup=False)
    console.print(f"ended after {duration(state.seconds)}: {state.ending}")
    program = _program()
    console.print("next:")
    if state.broken_off:
        console.print(f"  {program} resume {state.name}")
    console.print(f"  {program} ui")
    if best:
        console.print(f"  {program} export {state.name} --to {state.name}-best")
        console.print(f"  {program} rerun {best.trial.id}")
    console.print(f"  {program} trials {state.name}")


def _program() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _counts(state: SweepState) -> str:
    total = sum(state.counts.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in state.counts.items())
    return f"{total} trials ({parts})"
