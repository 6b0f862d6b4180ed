"""`rerun`, `export`, `generate` and `detect`: what is done with trained models."""

from __future__ import annotations

import sys
from argparse import Namespace

from lstm_sweep.models.scoring import bits
from lstm_sweep.search import api
from lstm_sweep.search.actions import Actions, Local
from lstm_sweep.search.api.field_changes import field_changes
from lstm_sweep.search.commands import serving
from lstm_sweep.search.commands.display import Lines, open_console
from lstm_sweep.search.commands.exits import DIFFERENT, DONE
from lstm_sweep.search.process.signals import Shield, stop_within_s
from lstm_sweep.search.results.detect import Rule
from lstm_sweep.search.results.generate import GenerationRequest
from lstm_sweep.search.texts import verdict
from lstm_sweep.search.texts.detected import finding_line
from lstm_sweep.search.texts.exported import next_lines
from lstm_sweep.search.texts.terminal import plain, print_json, printable


def rerun(arguments: Namespace, actions: Actions) -> int:
    """Train a trial again and compare."""
    changes = field_changes(arguments.settings)
    console, shield = open_console(stderr=arguments.json), Shield(stop_within_s())
    with shield.up():
        result = actions.rerun(
            arguments.trial,
            changes,
            arguments.on,
            arguments.template,
            observer=Lines(console),
            interrupts=shield,
        )
    output = sys.stderr if arguments.json else sys.stdout
    for line in verdict.notes(result):
        print(line, file=output)
    if arguments.json:
        print_json(result.to_dict())
    else:
        print("\n".join(verdict.lines(result)))
    if not result.is_different:
        return DONE
    if verdict.PROGRAM in result.changed_versions:
        print(verdict.OTHER_VERSION, file=output)
    return DIFFERENT


def export(arguments: Namespace, actions: Actions) -> int:
    """Write a model as a folder that works on its own."""
    with Shield().up():
        exported = actions.export(
            arguments.reference,
            arguments.to,
            arguments.format,
            unchecked=arguments.unchecked,
            register=arguments.register,
        )
    if arguments.json:
        print_json(exported.to_dict())
        return DONE
    print(f"{plain(exported.trial)} -> {exported.bundle}")
    for line in exported.lines:
        print(plain(line))
    if exported.version:
        settings = actions.settings if isinstance(actions, Local) else None
        for line in serving.lines(exported, exported.version, settings):
            print(plain(line))
    elif exported.test_loss is not None:
        print("\n".join(next_lines(plain(exported.trial), arguments.to)))
    return DONE


def generate(arguments: Namespace) -> int:
    """Print sequences that an exported model continues."""
    request = GenerationRequest(
        arguments.prompt,
        arguments.length,
        arguments.temperature,
        arguments.count,
        arguments.seed,
    )
    generated = api.generate(arguments.bundle, request)
    if arguments.json:
        print_json(generated.to_dict())
        return DONE
    between = "" if generated.is_text else " "
    if request.count == 1:  # as it comes
        start = request.prompt + between if request.prompt else ""
        print(printable(start), end="", flush=True)
        for (symbol,) in generated:
            if symbol is not None:
                print(printable(str(symbol)), end=between, flush=True)
        print()
        return DONE
    for number, row in enumerate(generated.sequences(), start=1):
        text = between.join([*([request.prompt] if request.prompt else []), *map(str, row)])
        print(f"--- {number} ---\n{printable(text)}")
    return DONE


def detect(arguments: Namespace) -> int:
    """Print what an exported model does not expect in new data."""
    rule = Rule(arguments.below, arguments.candidates)
    found = api.detect(arguments.bundle, arguments.data, rule, arguments.top, ends=arguments.ends)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    print(
        f"{found.symbols:,} symbols in {_sessions(found.sessions)}: {bits(found.loss):.4f} bits a "
        f"symbol; {found.unexpected:,} {rule}, in {_sessions(len(found.in_sessions))}"
    )
    for finding in found.findings:
        print(printable(finding_line(finding, is_text=found.bundle.alphabet.is_text)))
    if more := found.unexpected - len(found.findings):
        print(f"... and {more:,} less surprising (--top N)")
    return DONE


def _sessions(count: int) -> str:
    return f"{count:,} session{'s' if count != 1 else ''}"
