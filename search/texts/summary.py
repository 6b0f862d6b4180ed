"""Prints the result of a sweep at its end: its best trials, and the commands that come next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.policy.stop_reason import SweepStatus
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.texts.exported import model_name, program_here
from lstm_sweep.search.texts.tables import trials_table
from lstm_sweep.search.texts.times import duration

#: trials that are shown, at most
SHOWN = 10


def conclude(
    console: Console, result: SweepResult, trials: Sequence[TrialRecord], program: str = ""
) -> None:
    """Print the result of a sweep; `trials` are those of the store, none if it does not answer.

    `program` is what one types to call it; without it, what one has to type here.
    """
    records = archive.ranked(list(trials))
    if records:
        title = f"{result.sweep}: the best of {_counts(result)}"
        console.print(trials_table(records[:SHOWN], title))
    best = result.best
    if best:
        loss, in_bits = best.val_loss, best.bits_per_symbol
        measured = (
            f"loss {loss:.4f}"
            if in_bits is None
            else f"{loss:.4f} nats = {in_bits:.4f} bits per symbol"
        )
        console.print(f"best: {best.trial}, {measured} ({best.config.headline()})")
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
    if text := str(result.time or ""):
        console.print(f"time on slots: {text}")
    program = program or program_here()
    console.print("next:")
    if result.goes_on:
        console.print(f"  {program} resume {result.sweep}")
    console.print(f"  {program} ui")
    if best:
        console.print(f"  {program} report {result.sweep}")
        to, model = f"{result.sweep}-best", model_name(result.sweep)
        console.print(f"  {program} export {result.sweep} --to {to} --register {model}")
        console.print(f"  {program} rerun {best.trial}")
    console.print(f"  {program} trials {result.sweep}")


def _counts(result: SweepResult) -> str:
    total = sum(result.trials.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in result.trials.items())
    return f"{total} trials ({parts})"
