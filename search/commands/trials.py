"""`trials`, `show` and `size`: what is tried in a sweep."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search import api
from lstm_sweep.search.commands.display import open_console
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.launch import spec_of
from lstm_sweep.search.commands.option_types import check_one_format
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.texts.sizes import write_sizes
from lstm_sweep.search.texts.summary import SHOWN, write_sweep
from lstm_sweep.search.texts.terminal import print_csv, print_json, print_left_out
from lstm_sweep.search.texts.trials import write_comparison, write_trial, write_trials


def trials(arguments: Namespace) -> int:
    """List the trials of a sweep, the best first, those without a result last.

    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """
    check_one_format(arguments)
    found = api.trials(arguments.sweep, settings=load(Path.cwd()), top=arguments.top)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        return DONE
    if arguments.csv:
        print_csv(found.to_list())
        return DONE
    write_trials(open_console(), found, arguments.sweep)
    return DONE


def show(arguments: Namespace) -> int:
    """Show a sweep with its result, or one trial, round by round."""
    settings = load(Path.cwd())
    if api.means_sweep(arguments.reference, settings=settings):
        return _show_sweep(arguments.reference, settings, as_json=arguments.json)
    trial = api.show(arguments.reference, settings=settings)
    if arguments.json:
        print_json(trial.to_dict())
        return DONE
    write_trial(open_console(), trial)
    return DONE


def _show_sweep(name: str, settings: Settings, *, as_json: bool) -> int:
    result = api.result(name, settings=settings)
    if as_json:
        print_json(result.to_dict())
        return DONE
    status = api.status(name, settings=settings)
    trials = tuple(api.trials(name, settings=settings, top=SHOWN))
    write_sweep(open_console(), result, status, trials)
    return DONE


def compare(arguments: Namespace) -> int:
    """Show two trials, or the best ones of sweeps, side by side."""
    found = api.compare(arguments.first, arguments.other, settings=load(Path.cwd()))
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    write_comparison(open_console(), found)
    return DONE


def size(arguments: Namespace) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    report = api.size(spec_of(arguments))
    if arguments.json:
        print_json(report.to_dict())
        return DONE
    write_sizes(open_console(), report)
    return DONE
