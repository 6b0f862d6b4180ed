"""`rerun`, `export`, `generate` and `detect`: what is done with trained models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.errors import plain
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.actions import models
from lstm_sweep.search.actions.detect import Finding, Rule, Symbol
from lstm_sweep.search.actions.generate import GenerationRequest
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.models import Exported, Rerun
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.rerun import field_changes
from lstm_sweep.search.cli.progress import Lines, open_console
from lstm_sweep.search.cli.terminal import DIFFERENT, DONE, can_encode, print_json, printable
from lstm_sweep.search.process.signals import Shield, stop_within_s
from lstm_sweep.search.store.registry import Version, column_of, example_session
from lstm_sweep.search.store.settings import Settings, without_password


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
    for line in rerun_notes(result):
        print(line, file=output)
    if arguments.json:
        print_json(result.to_dict())
    else:
        print("\n".join(verdict_lines(result)))
    if not result.is_different:
        return DONE
    if PROGRAM in result.changed_versions:
        print(OTHER_VERSION, file=output)
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
        for line in registered_lines(exported, exported.version, settings):
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
    generated = models.generate(arguments.bundle, request)
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
    found = models.detect(
        arguments.bundle, arguments.data, rule, arguments.top, ends=arguments.ends
    )
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


#: what is printed of a rerun that differs from a trial of another version of this program
OTHER_VERSION = (
    "another version of lstm-sweep made this trial, and may draw other windows and other dropout, "
    "or add numbers in another order"
)
#: package whose version that is
PROGRAM = "lstm-sweep"


def rerun_notes(result: Rerun) -> Iterator[str]:
    """Lines on what is otherwise than it was: versions, the device, fields of the config."""
    for name, pair in result.changed_versions.items():
        yield f"version of {plain(name)}: then {plain(pair['was'])}, now {plain(pair['is'])}"
    if device := result.changed_device:
        yield f"device: then {plain(device['was'])}, now {plain(device['is'])}"
    for name, pair in result.variation.items():
        yield f"a variation: {plain(name)} is {plain(pair['is'])}, was {plain(pair['was'])}"


def verdict_lines(result: Rerun) -> Iterator[str]:
    """Lines on what has come out."""
    compared = f"{result.epochs_compared:g} epochs compared"
    yield f"verdict: {plain(result.verdict)} ({compared})"
    if first := result.first_difference:
        yield (
            f"first difference: epoch {first['epoch']:g}, {plain(first['metric'])}: "
            f"was {plain(first['was'])}, is {plain(first['is'])}"
        )
    run_id = plain(result.rerun_run_id)
    yield f"run {run_id}; to look at it: {PROGRAM} show {run_id}"


def finding_line(finding: Finding, *, is_text: bool) -> str:
    """A finding in a line for people; `is_text` says whether symbols are characters, or event ids.

    Its control characters are not escaped.
    """

    def text(*symbols: Symbol) -> str:
        return repr("".join(map(str, symbols))) if is_text else " ".join(map(str, symbols))

    expected = ", ".join(f"{text(symbol)} ({chance:.2g})" for symbol, chance in finding.expected)
    what = f"({finding.probability:.2g})" if finding.known else "(not in the training data)"
    after = f" after {text(*finding.before)}" if finding.before else " at the beginning"
    place = f"{finding.session}, symbol {finding.place:,}"
    return f"{place}: {text(finding.symbol)} {what}{after}; expected {expected}"


def model_name(sweep: str) -> str:
    """The name of a sweep without its number, as that of a registered model."""
    return re.sub(r"-\d+$", "", sweep)


def program_here() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def next_lines(trial: str, bundle: str) -> list[str]:
    """The lines below those of an export that was not registered: the bundle in use, and served."""
    name, program = model_name(trial.partition("/")[0]), program_here()
    again = f"{trial} --to {name}-model --register {name}"
    return [
        "next:",
        f"  {program} generate {plain(shlex.quote(bundle))} --length 200",
        f"  {program} export {again}   # to be served over HTTP",
    ]


#: where the model is served in the commands that are printed
PORT = 5001


def registered_lines(
    exported: Exported, version: Version, settings: Settings | None
) -> Iterator[str]:
    """Lines about a version that was registered, with commands to type if the store is known."""
    yield f"registered: {version.text}"
    if settings is None:
        return
    yield "serve it:"
    yield f"  {serve_command(version, settings)}"
    yield "ask it, from another terminal, once it says that Uvicorn is running:"
    request = request_of(exported.bundle, exported.example)
    body = "@request.json" if request is None else json.dumps(request, ensure_ascii=_ascii_only())
    yield (
        f"  curl http://127.0.0.1:{PORT}/invocations -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}"
    )
    if request is None:
        yield "  request.json is like serving_input_example.json among the files of the model"


def serve_command(version: Version, settings: Settings) -> str:
    """The command that serves a version on this machine, as one has to type it here.

    MLflow looks for `uvicorn` on the path.
    """
    parts = []
    own = Path(sys.executable).parent
    on_path = shutil.which("mlflow"), shutil.which("uvicorn")
    if on_path != (str(own / "mlflow"), str(own / "uvicorn")):
        parts.append(f"PATH={shlex.quote(str(own))}:$PATH")
    if not settings.origin.endswith("MLFLOW_TRACKING_URI"):
        uri = without_password(settings.mlflow_uri)
        parts.append(f"MLFLOW_TRACKING_URI={shlex.quote(uri)}")
    parts += ["mlflow models serve -m", shlex.quote(version.uri)]
    return " ".join([*parts, f"--env-manager local --port {PORT}"])


def _ascii_only() -> bool:
    """Whether this terminal shows no more; a backslash escape would be another text to a shell."""
    return not can_encode(sys.stdout.encoding or "utf-8")


def request_of(bundle: str, example: str | list[int] | None) -> dict[str, Any] | None:
    """A request to the model of a bundle; None for that of a template.

    It is about `example`, a piece of real data, or else about a few symbols of the alphabet.
    """
    _, content = bundles.read_any(bundle)
    if isinstance(content, bundles.TemplateBundle):
        return None
    alphabet = content.alphabet
    session = {column_of(alphabet): example or example_session(alphabet)}
    return {"dataframe_records": [session], "params": {"top": 3, "length": 20}}
