"""Prints the result of a sweep: its best trials, and the commands that come next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.api.status_report import SweepStatusReport
from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.texts.exported import model_name, program_here
from lstm_sweep.search.texts.sweeps import status_line
from lstm_sweep.search.texts.tables import trials_table
from lstm_sweep.search.values.stop_reason import SweepStatus
from lstm_sweep.search.values.times import duration

#: trials that are shown, at most
SHOWN = 10


def write_sweep(
    console: Console,
    result: SweepResult,
    status: SweepStatusReport,
    trials: Sequence[TrialRecord],
    program: str = "",
) -> None:
    """Print the result of a sweep, or its state and its best trials if it has not ended.

    `trials` are its best ones, and `program` is as for `conclude`.
    """
    if result.has_ended:
        conclude(console, result, trials, program)
        return
    console.print(status_line(status), markup=False, soft_wrap=True)
    if so_far := [one for one in trials if one.best_val_loss is not None]:
        console.print(
            trials_table(so_far[:SHOWN], console.width, f"{result.sweep}: the best so far")
        )


def conclude(
    console: Console, result: SweepResult, trials: Sequence[TrialRecord], program: str = ""
) -> None:
    """Print the result of a sweep; `trials` are those of the store, none if it does not answer.

    `program` is what one types to call it; without it, what one has to type here.
    """
    records = reader.ranked(list(trials))
    if records:
        title = f"{result.sweep}: the best of {_counts(result)}"
        console.print(trials_table(records[:SHOWN], console.width, title))
    best = result.best
    if best:
        loss, in_bits = best.val_loss, best.bits_per_symbol
        measured = (
            f"{loss:.4f}" if in_bits is None else f"{loss:.4f} nats = {in_bits:.4f} bits per symbol"
        )
        console.print(f"best: {best.trial}, loss {measured} ({best.config.headline()})")
        for name, other in result.baselines.items():
            better = f"the best trial is {other - loss:.4f} nats better"
            worse = f"the best trial is {loss - other:.4f} nats worse"
            verdict = better if loss < other else worse
            console.print(f"  {name.replace('_', ' '):<12} {other:.4f}   {verdict}")
        if text := unknown_text(result.unknown_share):
            console.print(f"  {text}")
    if result.confirmed:
        console.print("how sure that is, by further seeds:")
    for one in result.confirmed:
        console.print(f"  {one}")
    if result.omitted and not result.goes_on:
        console.print(result.omitted, markup=False)
    failed = "failed: " if result.state == SweepStatus.FAILED else ""
    console.print(f"ended after {duration(result.seconds)}: {failed}{result.why}")
    if text := str(result.time or ""):
        console.print(f"time on slots: {text}")
    program = program or program_here()
    console.print("next:")
    for command, what in _next(result):
        # a line that is broken could not be copied
        console.print(f"  {program} {command}   # {what}", markup=False, soft_wrap=True)


def _next(result: SweepResult) -> Iterator[tuple[str, str]]:
    """Commands that come next, and what each does."""
    name, best = result.sweep, result.best
    if result.goes_on:
        yield f"resume {name}", "go on with it"
    yield "ui", "browse the runs in the MLflow UI"
    if best:
        yield f"report {name}", "a page on the result"
        model = model_name(name)
        yield f"export {name} --to {name}-best --register {model}", "the best model, to be served"
        yield f"rerun {best.trial}", "train it again and compare"
    yield f"trials {name}", "list the trials"


def _counts(result: SweepResult) -> str:
    total = sum(result.trials.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in result.trials.items())
    return f"{total} trial{'s' if total != 1 else ''} ({parts})"
