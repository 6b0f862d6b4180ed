"""The command line: arguments in, one call, text or JSON out.

Only the standard library is imported here; each command imports what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstm_sweep.models.errors import InputError, NoRoomError, plain
from lstm_sweep.search.cli.parsers import AT_HOME, MODULES, build_parser
from lstm_sweep.search.cli.terminal import (
    BAD_INPUT,
    DONE,
    FAILED,
    INTERRUPTED,
    Answer,
    escape_what_is_not_encoded,
    say,
)
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.spec import SERVER, TOKEN

if TYPE_CHECKING:
    from lstm_sweep.search.actions.remote import Actions


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = argparse.Namespace(command=None)
    escape_what_is_not_encoded()
    try:
        parsed = build_parser().parse_args(arguments)
        given = [] if parsed.command in AT_HOME else [actions_of(parsed)]
        elsewhere = (one for one, names in MODULES.items() if parsed.command in names)
        module = next(elsewhere, "sweeps")
        run = getattr(importlib.import_module(f"lstm_sweep.search.cli.{module}"), parsed.command)
        answer: Answer | int = run(parsed, *given)
        return answer if isinstance(answer, int) else answer.show(as_json=parsed.json)
    except InputError as error:
        say(str(error))
        return BAD_INPUT
    except (StoreError, NoRoomError) as error:
        say(plain(without_secrets(str(error))))
        return FAILED
    except KeyboardInterrupt as interrupt:
        say("interrupted")
        return int(getattr(interrupt, "code", INTERRUPTED))
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if parsed.command in ("launch", "resume"):
            say("`lstm-sweep sweeps` shows what can be resumed")
        print(without_secrets(traceback.format_exc()), end="", file=sys.stderr)
        say(f"unexpected {type(error).__name__}: {error}")
        return FAILED


def actions_of(arguments: argparse.Namespace) -> Actions:
    """What the command of these arguments calls: here, or the service that `--server` names."""
    given, where = arguments.server, "--server"
    if given is None:
        given, where = os.environ.get(SERVER) or None, SERVER
    if given is not None:
        from lstm_sweep.search.actions.connection import Connection, check_address
        from lstm_sweep.search.actions.remote import Remote

        def tell(line: str) -> None:
            say(plain(without_secrets(line)))

        address = check_address(given, where)
        return Remote(Connection(address, os.environ.get(TOKEN, ""), say=tell))
    if getattr(arguments, "detach", False):
        raise InputError("--detach is given without a service: expected --server URL with it")
    from lstm_sweep.search.actions.local import Local

    return Local()
