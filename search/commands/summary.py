"""What is said at the end of a sweep: its best trials, and what to do with them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.scoring import bits
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
        if isinstance(config, TrialConfig):
            console.print(
                f"best: {best.trial.id}, {loss:.4f} nats = {bits(loss):.4f} bits per symbol "
                f"({config.direction}, {config.layers} layers of {config.layer_size}, "
                f"learning rate {config.learning_rate:g})"
            )
        else:
            values = ", ".join(config.table_columns().values())
            console.print(f"best: {best.trial.id}, loss {loss:.4f} ({values})")
        for name, other in state.baselines.items():
            better = f"the best trial is {other - loss:.4f} nats better"
            worse = f"the best trial is {loss - other:.4f} nats worse"
            verdict = better if loss < other else worse
            console.print(f"  {name.replace('_', ' '):<12} {other:.4f}   {verdict}")
    confirmed = state.policy.confirmation.results() if state.policy else []
    if confirmed:
        console.print("trained again:")
    for one in confirmed:
        console.print(f"  {one}")
    omitted = state.policy.confirmation.omitted() if state.policy else ""
    if omitted and not state.broken_off:
        console.print(omitted, markup=False)
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
