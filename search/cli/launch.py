"""`launch` and `resume`: a sweep from the command line, and its result."""

from __future__ import annotations

import contextlib
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.actions.lifecycle import SweepFailedError
from lstm_sweep.search.actions.references import Wanted
from lstm_sweep.search.actions.remote import THERE, Actions, Remote, field_of
from lstm_sweep.search.actions.status_report import SweepStatusReport
from lstm_sweep.search.actions.sweep_result import SweepResult
from lstm_sweep.search.cli.models import model_name, program_here
from lstm_sweep.search.cli.progress import LiveTable, observer_of, open_console
from lstm_sweep.search.cli.sweeps import status_line
from lstm_sweep.search.cli.tables import trials_table
from lstm_sweep.search.cli.terminal import DONE, FAILED, print_json
from lstm_sweep.search.driver.observer import Observer
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts, Shield, stop_within_s
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.spec import CHANGEABLE, OPTIONS, ray_address, read_fields, read_spec
from lstm_sweep.search.values.stop_reason import SweepStatus
from lstm_sweep.search.values.texts import budget_text, duration
from lstm_sweep.spaces import presets


def wanted(arguments: Namespace, actions: Actions) -> Wanted:
    """What the options of `launch` and `size` describe."""
    extra = [f"epochs={arguments.epochs}"] if getattr(arguments, "epochs", None) is not None else []
    settings = [*arguments.settings, *extra]
    return _wanted(actions, _spec_file(arguments), _given(arguments, OPTIONS), settings)


def _wanted(
    actions: Actions, file: Path | None, changes: dict[str, Any], settings: list[str]
) -> Wanted:
    """The spec of a file and options, or its fields if they name files that a service has."""
    if isinstance(actions, Remote):
        fields = ({} if file is None else read_fields(file)) | changes
        if any(str(fields.get(name, "")).startswith(THERE) for name in ("data", "template")):
            if isinstance(fields.get("space"), str):
                fields["space"] = presets.named(fields["space"]).describe()
            return fields | ({"set": settings} if settings else {})
    return read_spec(file, changes, settings)


def launch(arguments: Namespace, actions: Actions) -> int:
    """Run a sweep."""
    spec = wanted(arguments, actions)
    _check_says_what(arguments)
    if arguments.dry_run:
        found = actions.dry_run(spec)
        if arguments.json:
            print_json(found.to_dict())
        else:
            print("\n".join(found.lines()))
        return DONE
    address = ray_address(arguments.address, field_of(spec, "on"))
    if arguments.detach:
        assert isinstance(actions, Remote)
        takes = budget_text(field_of(spec, "trials"), field_of(spec, "minutes"))
        return _print_made(actions.submit(spec), arguments, f", {takes} once it has slots")

    def call(observer: Observer, interrupts: Interrupts) -> SweepResult:
        return actions.launch(spec, observer, interrupts, address)

    return _drive(call, actions, arguments)


def _check_says_what(arguments: Namespace) -> None:
    """Refuse to search nobody knows what.

    Raises:
        InputError: neither data, a template nor a sweep file is given.
    """
    if arguments.data is None and arguments.template is None and arguments.spec is None:
        raise InputError(
            "--data is missing: expected a text file, a folder of files, or a sample, such as "
            "`lstm-sweep launch --data book.txt --trials 40`; to try it out: "
            "`lstm-sweep launch --data python-docs --space quick --trials 6`"
        )


def resume(arguments: Namespace, actions: Actions) -> int:
    """Go on with a sweep that was broken off."""
    file, changes = _spec_file(arguments), _given(arguments, CHANGEABLE)
    address = ray_address(arguments.address, arguments.on)
    spec = None
    if file is not None:
        spec = _wanted(actions, file, {}, [])
        named = [name for name in CHANGEABLE if name in read_fields(file)]
        changes = {name: field_of(spec, name) for name in named} | changes
    name, template = arguments.sweep, arguments.template
    if arguments.detach:
        assert isinstance(actions, Remote)
        return _print_made(actions.submit_again(name, changes, spec, template), arguments)

    def call(observer: Observer, interrupts: Interrupts) -> SweepResult:
        return actions.resume(name, changes, spec, template, observer, interrupts, address)

    return _drive(call, actions, arguments)


def _print_made(made: SweepStatusReport, arguments: Namespace, takes: str = "") -> int:
    """Say that a service has a sweep, which nobody waits for."""
    if arguments.json:
        print_json(made.to_dict())
    else:
        print(
            f"sweep {made.sweep}: {made.state}{takes}; lstm-sweep status {made.sweep} --follow "
            f"follows it, and says when it ends"
        )
    return DONE


def _given(arguments: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    found = {name: getattr(arguments, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _spec_file(arguments: Namespace) -> Path | None:
    file: str | None = getattr(arguments, "spec", None)
    if file == "":
        raise InputError("SWEEP.yaml is '': expected the path of a YAML file")
    return None if file is None else Path(file)


def _drive(
    call: Callable[[Observer, Interrupts], SweepResult], actions: Actions, arguments: Namespace
) -> int:
    """Run a sweep, print its progress and its result, and return the exit code."""
    as_json: bool = arguments.json
    shield = Shield(stop_within_s())
    observer = observer_of(arguments.progress, open_console(stderr=True))
    with shield.up():
        try:
            result = call(observer, shield)
        except SweepFailedError as error:
            result = error.result
        finally:
            if isinstance(observer, LiveTable):
                observer.take_away()
    if as_json:
        print_json(result.to_dict())
    elif result.unchanged:
        print(f"sweep {result.sweep}: {plain(result.unchanged)}")
    else:
        found = () if result.left_open else _best_trials(result, actions)
        with contextlib.suppress(SystemExit):  # what Rich makes of a pipe that nobody reads
            conclude(open_console(), result, found)
    if result.unchanged:
        return DONE
    if result.state == SweepStatus.INTERRUPTED:
        return 128 + (shield.signal_number or signal.SIGINT)
    return _judge(result)


def _best_trials(result: SweepResult, actions: Actions) -> tuple[TrialRecord, ...]:
    """The best trials of a sweep that has ended, for the summary; none if the store fails."""
    try:
        return tuple(actions.trials(result.sweep, SHOWN))
    except (InputError, StoreError) as error:
        why = plain(without_secrets(str(error)))
        print(f"lstm-sweep: the table of trials is left out: {why}", file=sys.stderr)
        return ()


def _judge(result: SweepResult) -> int:
    """Print what is wrong with a sweep that has ended by itself; return the exit code."""
    if result.state == SweepStatus.FAILED:
        hint = f"`lstm-sweep resume {result.sweep}` goes on once that is mended"
        print(f"lstm-sweep: {result.why}; {hint}", file=sys.stderr)
        return FAILED
    if result.state == SweepStatus.FINISHED and result.best is None:
        hint = f"`lstm-sweep trials {result.sweep}` lists how they have ended, and `show` says why"
        print(f"lstm-sweep: no trial of '{result.sweep}' has a result; {hint}", file=sys.stderr)
        return FAILED
    return DONE


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
    if so_far := [one for one in trials if one.best_loss is not None]:
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
