"""`launch` and `resume`: a sweep from the command line, and its result."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.source import FILES_BESIDE
from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.actions.lifecycle import SweepFailedError
from lstm_sweep.search.actions.references import Wanted
from lstm_sweep.search.actions.remote import THERE, Actions, Remote, field_of
from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport
from lstm_sweep.search.cli.models import model_name, program_here
from lstm_sweep.search.cli.progress import LiveTable, observer_of, trials_table
from lstm_sweep.search.cli.terminal import DONE, FAILED, Answer, open_console, say
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.process.files import STDIN, kept_input
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts, Shield, stop_within_s
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.values.documents import budget_text, duration
from lstm_sweep.search.values.spec import (
    CHANGEABLE,
    OPTIONS,
    SERVER,
    ray_address,
    read_fields,
    read_spec,
)
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import ranked
from lstm_sweep.spaces import presets

SHOWN = 10


def launch(arguments: Namespace, actions: Actions) -> Answer:
    spec = wanted(arguments, actions)
    if arguments.data is None and arguments.template is None and arguments.spec is None:
        raise InputError(
            "--data is missing: expected a text file, a folder of files, or a sample, such as "
            "`lstm-sweep launch --data book.txt --trials 40`; to try it out: "
            "`lstm-sweep launch --data python-docs --space quick --trials 6`"
        )
    if arguments.dry_run:
        found = actions.dry_run(spec)
        return Answer(found.to_dict(), found.lines())
    address = ray_address(arguments.address, field_of(spec, "on"))
    if arguments.detach:
        assert isinstance(actions, Remote)
        takes = budget_text(field_of(spec, "trials"), field_of(spec, "minutes"))
        return _made(actions.submit(spec), f", {takes} once it has slots")
    return _drive(
        lambda observer, interrupts: actions.launch(spec, observer, interrupts, address),
        actions,
        arguments,
    )


def resume(arguments: Namespace, actions: Actions) -> Answer:
    file, changes = arguments.spec, _given(arguments, CHANGEABLE)
    address = ray_address(arguments.address, arguments.on)
    spec = None
    if file is not None:
        spec = _wanted(actions, file, {}, [])
        named = [name for name in CHANGEABLE if name in read_fields(file)]
        changes = {name: field_of(spec, name) for name in named} | changes
    name, template = arguments.sweep, arguments.template
    if arguments.detach:
        assert isinstance(actions, Remote)
        return _made(actions.submit_again(name, changes, spec, template))
    return _drive(
        lambda observer, interrupts: actions.resume(
            name, changes, spec, template, observer, interrupts, address
        ),
        actions,
        arguments,
    )


def wanted(arguments: Namespace, actions: Actions) -> Wanted:
    file, epochs = (getattr(arguments, name, None) for name in ("spec", "epochs"))  # not of `size`
    settings = [*arguments.settings, *([] if epochs is None else [f"epochs={epochs}"])]
    return _wanted(actions, file, _given(arguments, OPTIONS), settings)


def _wanted(
    actions: Actions, file: Path | None, changes: dict[str, Any], settings: list[str]
) -> Wanted:
    """The spec of a file and options, or its fields if they name files that a service has."""
    if isinstance(actions, Remote):
        fields = ({} if file is None else read_fields(file)) | changes
        if any(
            str(fields.get(name, "")).startswith(THERE)
            for name in ("data", "template", *FILES_BESIDE)
        ):
            if isinstance(fields.get("space"), str) and fields["space"] not in presets.SPACES:
                fields["space"] = presets.named(fields["space"]).describe()
            return fields | ({"set": settings} if settings else {})
    return read_spec(file, changes, settings)


def _given(arguments: Namespace, names: Iterable[str]) -> dict[str, Any]:
    found = {name: getattr(arguments, name, None) for name in names}
    if found.get("data") == STDIN:
        found["data"] = str(kept_input(sys.stdin.buffer))
    return {name: value for name, value in found.items() if value is not None}


def _made(made: SweepStatusReport, takes: str = "") -> Answer:
    follow = f"lstm-sweep status {made.sweep} --follow follows it, and says when it ends"
    return Answer(made.to_dict(), [f"sweep {made.sweep}: {made.state}{takes}; {follow}"])


def _drive(
    call: Callable[[Observer, Interrupts], SweepResult], actions: Actions, arguments: Namespace
) -> Answer:
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
    if result.unchanged:
        return Answer(result.to_dict(), [f"sweep {result.sweep}: {plain(result.unchanged)}"])
    best = () if result.left_open or arguments.json else _best_trials(result, actions)
    code, why = _judged(result)
    if result.state == SweepStatus.INTERRUPTED:
        code = 128 + (shield.signal_number or signal.SIGINT)
    return Answer(result.to_dict(), result_text(result, best, actions), code, why)


def _best_trials(result: SweepResult, actions: Actions) -> tuple[TrialRecord, ...]:
    """The best trials of a sweep that has ended, for the summary; none if the store fails."""
    try:
        return tuple(actions.trials(result.sweep, SHOWN))
    except (InputError, StoreError) as error:
        say(f"the table of trials is left out: {plain(without_secrets(str(error)))}")
        return ()


def _judged(result: SweepResult) -> tuple[int, str]:
    if result.state == SweepStatus.FAILED:
        hint = f"`lstm-sweep resume {result.sweep}` goes on once that is mended"
        return FAILED, f"{result.why}; {hint}"
    if result.state == SweepStatus.FINISHED and result.best is None:
        hint = f"`lstm-sweep trials {result.sweep}` lists how they have ended, and `show` says why"
        return FAILED, f"no trial of '{result.sweep}' has a result; {hint}"
    return DONE, ""


def result_text(
    result: SweepResult, trials: Sequence[TrialRecord], actions: Actions
) -> Iterator[Any]:
    """`trials` are those of the store, none if it does not answer."""
    if records := ranked(list(trials)):
        total = sum(result.trials.values())
        counts = ", ".join(f"{count} {outcome}" for outcome, count in result.trials.items())
        title = f"{result.sweep}: the best of {total} trial{'s' if total != 1 else ''} ({counts})"
        yield trials_table(records[:SHOWN], title)
    if best := result.best:
        loss, in_bits = best.val_loss, best.bits_per_symbol
        bits = "" if in_bits is None else f" nats = {in_bits:.4f} bits per symbol"
        yield f"best: {best.trial}, loss {loss:.4f}{bits} ({best.config.headline()})"
        width = max([12, *map(len, result.baselines)])
        for name, other in result.baselines.items():
            verdict = f"{abs(other - loss):.4f} nats {'better' if loss < other else 'worse'}"
            yield f"  {name.replace('_', ' '):<{width}} {other:.4f}   the best trial is {verdict}"
        if text := unknown_text(result.unknown_share):
            yield f"  {text}"
    if result.confirmed:
        yield "how sure that is, by further seeds:"
        yield from (f"  {one}" for one in result.confirmed)
    if result.omitted and not result.goes_on:
        yield result.omitted
    failed = "failed: " if result.state == SweepStatus.FAILED else ""
    yield f"ended after {duration(result.seconds)}: {failed}{result.why}"
    if text := str(result.time or ""):
        yield f"time on slots: {text}"
    yield "next:"
    service = str(actions) if isinstance(actions, Remote) else ""
    yield from (f"  {line}   # {what}" for line, what in _next(result, service))


def _next(result: SweepResult, service: str) -> Iterator[tuple[str, str]]:
    """What to type next, and what each line does; `service` is the address of one, or empty."""
    name, best, program = result.sweep, result.best, program_here()
    there = f" --server {service}" if service and os.environ.get(SERVER) != service else ""
    if result.goes_on:
        yield f"{program} resume {name}{there}", "go on with it"
    if service:
        yield f"{service}/sweeps/{name}", "its page"
    else:
        yield f"{program} ui", "browse the runs in the MLflow UI"
    if best:
        yield f"{program} report {name}{there}", "a page on the result"
        named = f"--to {name}-best --register {model_name(name)}{there}"
        yield f"{program} export {name} {named}", "the best model, to be served"
        yield f"{program} rerun {best.trial}{there}", "train it again and compare"
    yield f"{program} trials {name}{there}", "list the trials"
