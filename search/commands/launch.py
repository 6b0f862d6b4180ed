"""`launch` and `resume`: a sweep from the command line."""

from __future__ import annotations

import contextlib
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search import api
from lstm_sweep.search.api.errors import SweepFailedError
from lstm_sweep.search.api.resumption import named_changes
from lstm_sweep.search.api.sweep_result import SweepResult
from lstm_sweep.search.commands.display import observer_of, open_console
from lstm_sweep.search.commands.dry_run import print_dry_run
from lstm_sweep.search.commands.exits import DONE, FAILED
from lstm_sweep.search.engine_names import ray_address
from lstm_sweep.search.policy.stop_reason import SweepStatus
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts, Shield, stop_within_s
from lstm_sweep.search.spec import CHANGEABLE, OPTIONS, SweepSpec, read_fields, read_spec
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.sweep.observer import Observer
from lstm_sweep.search.texts.summary import SHOWN, conclude
from lstm_sweep.search.texts.terminal import plain, print_json


def spec_of(arguments: Namespace) -> SweepSpec:
    """The spec that the options of `launch` and `size` describe."""
    extra = [f"epochs={arguments.epochs}"] if getattr(arguments, "epochs", None) is not None else []
    changes = _given(arguments, OPTIONS)
    return read_spec(_spec_file(arguments), changes, [*arguments.settings, *extra])


def launch(arguments: Namespace) -> int:
    """Run a sweep."""
    spec, settings = spec_of(arguments), load(Path.cwd())
    _check_says_what(arguments)
    if arguments.dry_run:
        found = api.dry_run(spec, settings=settings)
        print_dry_run(found.to_dict(), as_json=arguments.json)
        return DONE
    address = ray_address(arguments.address, spec.on)

    def call(observer: Observer, interrupts: Interrupts) -> SweepResult:
        return api.launch(
            spec,
            settings=settings,
            observer=observer,
            interrupts=interrupts,
            ray_address=address,
        )

    return _drive(call, settings, arguments)


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


def resume(arguments: Namespace) -> int:
    """Go on with a sweep that was broken off."""
    file, settings = _spec_file(arguments), load(Path.cwd())
    changes = _given(arguments, CHANGEABLE)
    address = ray_address(arguments.address, arguments.on)
    spec = None
    if file is not None:
        spec = read_spec(file, {}, [])
        changes = named_changes(read_fields(file), spec) | changes

    def call(observer: Observer, interrupts: Interrupts) -> SweepResult:
        return api.resume(
            arguments.sweep,
            changes,
            settings=settings,
            spec=spec,
            template=arguments.template,
            observer=observer,
            interrupts=interrupts,
            ray_address=address,
        )

    return _drive(call, settings, arguments)


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
    call: Callable[[Observer, Interrupts], SweepResult], settings: Settings, arguments: Namespace
) -> int:
    """Run a sweep, print its progress and its result, and return the exit code."""
    as_json: bool = arguments.json
    shield = Shield(stop_within_s())
    with shield.up():
        try:
            result = call(observer_of(arguments.progress, open_console(stderr=True)), shield)
        except SweepFailedError as error:
            result = error.result
    if as_json:
        print_json(result.to_dict())
    elif result.unchanged:
        print(f"sweep {result.sweep}: {plain(result.unchanged)}")
    else:
        found = () if result.left_open else _best_trials(result, settings)
        with contextlib.suppress(SystemExit):  # what Rich makes of a pipe that nobody reads
            conclude(open_console(), result, found)
    if result.unchanged:
        return DONE
    if result.state is SweepStatus.INTERRUPTED:
        return 128 + (shield.signal_number or signal.SIGINT)
    return _judge(result)


def _best_trials(result: SweepResult, settings: Settings) -> tuple[TrialRecord, ...]:
    """The best trials of a sweep that has ended, for the summary; none if the store fails."""
    try:
        return tuple(api.trials(result.sweep, settings=settings, top=SHOWN))
    except (InputError, StoreError) as error:
        why = plain(without_secrets(str(error)))
        print(f"lstm-sweep: the table of trials is left out: {why}", file=sys.stderr)
        return ()


def _judge(result: SweepResult) -> int:
    """Print what is wrong with a sweep that has ended by itself; return the exit code."""
    if result.state is SweepStatus.FAILED:
        hint = f"`lstm-sweep resume {result.sweep}` goes on once that is mended"
        print(f"lstm-sweep: {result.why}; {hint}", file=sys.stderr)
        return FAILED
    if result.state is SweepStatus.FINISHED and result.best is None:
        hint = f"`lstm-sweep trials {result.sweep}` lists how they have ended, and `show` says why"
        print(f"lstm-sweep: no trial of '{result.sweep}' has a result; {hint}", file=sys.stderr)
        return FAILED
    return DONE
