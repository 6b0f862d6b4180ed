"""`trials`, `show`, `report`, `compare` and `size`: what is tried in a sweep."""

from __future__ import annotations

from argparse import Namespace

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import Actions
from lstm_sweep.search.commands.display import open_console
from lstm_sweep.search.commands.exits import DONE
from lstm_sweep.search.commands.launch import wanted
from lstm_sweep.search.commands.option_types import check_one_format
from lstm_sweep.search.texts.sizes import write_sizes
from lstm_sweep.search.texts.summary import SHOWN, write_sweep
from lstm_sweep.search.texts.terminal import plain, print_csv, print_json, print_left_out
from lstm_sweep.search.texts.trials import write_comparison, write_trial, write_trials
from lstm_sweep.search.values.spec import check_name


def trials(arguments: Namespace, actions: Actions) -> int:
    """List the trials of a sweep, the best first, those without a result last.

    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """
    check_one_format(arguments)
    found = actions.trials(arguments.sweep, arguments.top)
    print_left_out(found.left_out)
    if arguments.json:
        print_json(found.to_list())
        return DONE
    if arguments.csv:
        print_csv(found.to_list())
        return DONE
    write_trials(open_console(), found, arguments.sweep)
    return DONE


def show(arguments: Namespace, actions: Actions) -> int:
    """Show a sweep with its result, or one trial, round by round."""
    if actions.means_sweep(arguments.reference):
        return _show_sweep(arguments.reference, actions, as_json=arguments.json)
    trial = actions.show(arguments.reference)
    if arguments.json:
        print_json(trial.to_dict())
        return DONE
    write_trial(open_console(), trial)
    return DONE


def _show_sweep(name: str, actions: Actions, *, as_json: bool) -> int:
    result = actions.result(name)
    if as_json:
        print_json(result.to_dict())
        return DONE
    write_sweep(open_console(), result, actions.status(name), tuple(actions.trials(name, SHOWN)))
    return DONE


def report(arguments: Namespace, actions: Actions) -> int:
    """Write the report of a sweep to a file."""
    name = arguments.sweep
    check_name("sweep", name)
    found = actions.report(name, f"{name}-report.html" if arguments.to is None else arguments.to)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    print(plain(found.headline))
    print(f"{name} -> {found.file}")
    return DONE


def compare(arguments: Namespace, actions: Actions) -> int:
    """Show two trials, or the best ones of sweeps, side by side."""
    found = actions.compare(arguments.first, arguments.other)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    write_comparison(open_console(), found)
    return DONE


def size(arguments: Namespace, actions: Actions) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    found = actions.size(wanted(arguments, actions))
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    write_sizes(open_console(), found)
    return DONE
