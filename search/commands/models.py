"""`rerun`, `export`, `generate` and `detect`: what is done with trained models."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import FIELDS, check_field
from lstm_sweep.models.errors import InputError, cut
from lstm_sweep.models.scoring import bits
from lstm_sweep.search import api
from lstm_sweep.search.commands import serving
from lstm_sweep.search.commands.display import Lines, open_console
from lstm_sweep.search.commands.exits import DIFFERENT, DONE
from lstm_sweep.search.process.signals import Shield, stop_within_s
from lstm_sweep.search.results.detect import Rule, line_of
from lstm_sweep.search.results.generate import GenerationRequest, printable
from lstm_sweep.search.results.rerun import Rerun
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.texts.terminal import plain, print_json
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.field_values import parse

#: what `rerun` prints if it differs from a trial of another version of this program
OTHER_VERSION = (
    "another version of lstm-sweep made this trial, and may draw other windows and other dropout, "
    "or add numbers in another order"
)


def rerun(arguments: Namespace) -> int:
    """Train a trial again and compare."""
    changes = dict(_change(setting) for setting in arguments.settings)
    console, shield = open_console(stderr=arguments.json), Shield(stop_within_s())
    with shield.up():
        result = api.rerun(
            arguments.trial,
            settings=load(Path.cwd()),
            changes=changes,
            engine=arguments.on,
            template=arguments.template,
            observer=Lines(console),
            interrupts=shield,
        )
    output = sys.stderr if arguments.json else sys.stdout
    for name, (was, now) in result.versions.items():
        print(f"version of {name}: then {plain(was)}, now {now}", file=output)
    if result.device:
        was, now = result.device
        print(f"device: then {plain(was)}, now {now}", file=output)
    for name, (was, now) in result.variation.items():
        print(f"a variation: {name} is {now}, was {was}", file=output)
    if arguments.json:
        print_json(result.to_dict())
    else:
        _print_verdict(result)
    if result.comparison.verdict != "different" or result.variation:
        return DONE
    if "lstm-sweep" in result.versions:
        print(OTHER_VERSION, file=output)
    return DIFFERENT


def _print_verdict(result: Rerun) -> None:
    comparison = result.comparison
    print(f"verdict: {comparison.verdict} ({comparison.epochs_compared:g} epochs compared)")
    if first := comparison.first_difference:
        print(
            f"first difference: epoch {first['epoch']:g}, {first['metric']}: "
            f"was {plain(first['was'])}, is {plain(first['is'])}"
        )
    print(f"run {result.run_id}; to look at it: lstm-sweep show {result.run_id}")


def _change(setting: str) -> tuple[str, Any]:
    name, equals, value = setting.partition("=")
    where = f"--set {cut(setting)}"
    if not equals:
        raise InputError(f"{where}: expected FIELD=VALUE; fields: {', '.join(FIELDS)}")
    try:
        check_field(name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    dimension = parse(name, value, where)
    if not isinstance(dimension, Listed) or len(dimension.options) != 1:
        raise InputError(f"{where}: found several values, expected one")
    return name, dimension.options[0]


def export(arguments: Namespace) -> int:
    """Write a model as a folder that works on its own."""
    settings = load(Path.cwd())
    exported = api.export(
        arguments.reference,
        arguments.to,
        settings=settings,
        format=arguments.format,
        unchecked=arguments.unchecked,
        register=arguments.register,
    )
    if arguments.json:
        print_json(exported.to_dict())
        return DONE
    print(f"{exported.trial} -> {exported.bundle}")
    for line in exported.lines:
        print(line)
    if exported.version:
        for line in serving.lines(exported.bundle, exported.version, settings):
            print(plain(line))
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
    found = api.detect(arguments.bundle, arguments.data, rule, arguments.top)
    if arguments.json:
        print_json(found.to_dict())
        return DONE
    print(
        f"{found.symbols:,} symbols in {found.sessions:,} sessions: {bits(found.loss):.4f} bits a "
        f"symbol; {found.unexpected:,} {rule}, in {len(found.in_sessions):,} sessions"
    )
    for finding in found.findings:
        print(line_of(finding, found.bundle.alphabet))
    if more := found.unexpected - len(found.findings):
        print(f"... and {more:,} less surprising (--top N)")
    return DONE
