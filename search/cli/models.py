"""`rerun`, `export`, `generate`, `detect`, `classify`: what is done with trained models."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.classes import Estimate, Scores
from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.quality import VERDICT
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.actions import detection, following, inference
from lstm_sweep.search.actions.classification import Classification, Wish
from lstm_sweep.search.actions.detection import (
    Alarms,
    Detection,
    Finding,
    Rule,
    Symbol,
    Verdicts,
)
from lstm_sweep.search.actions.export import Exported
from lstm_sweep.search.actions.following import Following
from lstm_sweep.search.actions.inference import GenerationRequest
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.remote import Actions
from lstm_sweep.search.actions.rerun import Rerun, field_changes
from lstm_sweep.search.cli import (
    DIFFERENT,
    DONE,
    Answer,
    open_console,
    plain_json,
    printable,
    say,
)
from lstm_sweep.search.cli.progress import Lines
from lstm_sweep.search.process.files import STDIN, kept_input
from lstm_sweep.search.process.signals import Shield, stop_within_s
from lstm_sweep.search.store.registry import Version, column_of, example_session
from lstm_sweep.search.store.settings import Settings, without_password

#: what is printed of a rerun that differs from a trial of another version of this program
OTHER_VERSION = (
    "another version of lstm-sweep made this trial, and may draw other windows and other dropout, "
    "or add numbers in another order"
)
PROGRAM = "lstm-sweep"
PORT = 5001


def rerun(arguments: Namespace, actions: Actions) -> Answer:
    changes = field_changes(arguments.settings)
    shield = Shield(stop_within_s())
    with shield.up():
        result = actions.rerun(
            arguments.trial,
            changes,
            arguments.on,
            arguments.template,
            observer=Lines(open_console(stderr=arguments.json)),
            interrupts=shield,
        )
    others = [OTHER_VERSION] if result.is_different and PROGRAM in result.changed_versions else []
    if arguments.json:
        for line in (*_rerun_notes(result), *others):
            print(line, file=sys.stderr)
    text = [*_rerun_notes(result), *_verdict(result), *others]
    return Answer(result.to_dict(), text, DIFFERENT if result.is_different else DONE)


def _rerun_notes(result: Rerun) -> Iterator[str]:
    for name, pair in result.changed_versions.items():
        yield f"version of {plain(name)}: then {plain(pair['was'])}, now {plain(pair['is'])}"
    if device := result.changed_device:
        yield f"device: then {plain(device['was'])}, now {plain(device['is'])}"
    for name, pair in result.variation.items():
        yield f"a variation: {plain(name)} is {plain(pair['is'])}, was {plain(pair['was'])}"


def _verdict(result: Rerun) -> Iterator[str]:
    compared = f"{result.epochs_compared:g} epochs compared"
    yield f"verdict: {plain(result.verdict)} ({compared})"
    if first := result.first_difference:
        yield (
            f"first difference: epoch {first['epoch']:g}, {plain(first['metric'])}: "
            f"was {plain(first['was'])}, is {plain(first['is'])}"
        )
    run_id = plain(result.rerun_run_id)
    yield f"run {run_id}; to look at it: {PROGRAM} show {run_id}"


def export(arguments: Namespace, actions: Actions) -> Answer:
    with Shield().up():
        exported = actions.export(
            arguments.reference,
            arguments.to,
            arguments.format,
            unchecked=arguments.unchecked,
            register=arguments.register,
        )
    settings = actions.settings if isinstance(actions, Local) else None
    return Answer(exported.to_dict(), _exported(exported, arguments.to, settings))


def _exported(exported: Exported, to: str, settings: Settings | None) -> Iterator[str]:
    trial = plain(exported.trial)
    yield f"{trial} -> {exported.bundle}"
    yield from map(plain, exported.lines)
    if exported.version:
        yield from map(plain, registered_lines(exported, exported.version, settings))
    elif exported.test_loss is not None:
        name_of_sweep, program = trial.partition("/")[0], program_here()
        name = model_name(name_of_sweep)
        which = name_of_sweep if exported.printed.get("averaged") else trial
        again = f"{which} --to {name}-model --register {name}"
        is_class = "scores" in exported.printed
        words = ("classify", "--data FILE") if is_class else ("generate", "--length 200")
        yield "next:"
        yield f"  {program} {words[0]} {plain(shlex.quote(to))} {words[1]}"
        yield f"  {program} export {again}   # to be served over HTTP"


def model_name(sweep: str) -> str:
    """The name of a sweep without its number, as that of a registered model."""
    return re.sub(r"-\d+$", "", sweep)


def program_here() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path, here = Path(sys.argv[0]).absolute(), Path.cwd()
    if path.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m {PROGRAM.replace('-', '_')}"
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def registered_lines(
    exported: Exported, version: Version, settings: Settings | None
) -> Iterator[str]:
    yield f"registered: {version.text}"
    if settings is None:
        return
    yield "serve it:"
    yield f"  {serve_command(version, settings)}"
    yield "ask it, from another terminal, once it says that Uvicorn is running:"
    request = request_of(exported.bundle)
    # a backslash escape of the terminal would be another text to a shell
    text = plain_json(json.dumps(request, ensure_ascii=False), sys.stdout.encoding)
    body = "@request.json" if request is None else text
    yield (
        f"  curl http://127.0.0.1:{PORT}/invocations -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}"
    )
    if request is None:
        yield "  request.json is like serving_input_example.json among the files of the model"


def serve_command(version: Version, settings: Settings) -> str:
    """The command to type on this machine; MLflow looks for `uvicorn` on the path."""
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


def request_of(bundle: str) -> dict[str, Any] | None:
    """A request about a few symbols of the alphabet; None for a template."""
    _, content = bundles.read_any(bundle)
    if isinstance(content, bundles.TemplateBundle):
        return None
    session = {column_of(content.alphabet): example_session(content.alphabet)}
    request: dict[str, Any] = {"dataframe_records": [session]}
    return request | ({} if content.classes else {"params": {"top": 3, "length": 20}})


def generate(arguments: Namespace) -> Answer:
    request = GenerationRequest(
        arguments.prompt,
        arguments.length,
        arguments.temperature,
        arguments.count,
        arguments.seed,
    )
    generated = inference.generate(arguments.bundle, request)
    if arguments.json:
        return Answer(generated.to_dict())
    between = generated.between
    if request.count == 1:  # as it comes
        start = request.prompt + between if request.prompt else ""
        print(printable(start), end="", flush=True)
        for (symbol,) in generated:
            if symbol is not None:
                print(printable(str(symbol)), end=between, flush=True)
        return Answer(None, [""])
    begin = [request.prompt] if request.prompt else []
    texts = (between.join([*begin, *map(str, row)]) for row in generated.sequences())
    rows = enumerate(texts, start=1)
    return Answer(None, (f"--- {number} ---\n{printable(text)}" for number, text in rows))


@contextlib.contextmanager
def _path_of(data: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as folder:
        yield str(kept_input(sys.stdin.buffer, Path(folder))) if data == STDIN else data


#: options of `detect` that are of a batch, with what they are if not given, and those of a stream
OF_BATCH = {"data": None, "labels": None, "below": 0.001, "candidates": None, "top": 10}
OF_STREAM = ("idle", "open_sessions", "state", "metrics")


def _follow(arguments: Namespace) -> int:
    """Print alarms of a log that is written just now, one in a line."""
    given = vars(arguments)
    if more := [name for name, usual in OF_BATCH.items() if given[name] != usual]:
        raise InputError(f"--{more[0]} is given with --follow, expected one of them")
    how = {name: given[name] for name in OF_STREAM if given[name] is not None}
    interrupts = Shield()

    def emit(alarm: dict[str, Any]) -> None:
        print(plain_json(json.dumps(alarm, ensure_ascii=False), sys.stdout.encoding), flush=True)

    with interrupts.up(), interrupts.hold():
        following.Follower(
            arguments.bundle,
            sys.stdin.fileno() if arguments.follow == STDIN else arguments.follow,
            Following(**how),
            Alarms(arguments.false_alarms, arguments.false_discoveries),
            ends=arguments.ends,
            calibrate=arguments.calibrate,
            emit=emit,
            say=lambda line: say(plain(line)),
        ).run(interrupts)
    return DONE


def detect(arguments: Namespace, actions: Actions) -> Answer | int:
    if arguments.follow is not None:
        return _follow(arguments)
    if arguments.data is None:
        raise InputError("detect: found no --data and no --follow, expected one of them")
    if streamed := [name for name in OF_STREAM if getattr(arguments, name) is not None]:
        flag = streamed[0].replace("_", "-")
        raise InputError(f"--{flag} is given without --follow, expected both")
    rule = Rule(arguments.below, arguments.candidates)
    with _path_of(arguments.data) as data:
        found = actions.detect(
            arguments.bundle,
            data,
            rule=rule,
            top=arguments.top,
            ends=arguments.ends,
            alarms=Alarms(arguments.false_alarms, arguments.false_discoveries),
            calibrate=arguments.calibrate,
            labels=arguments.labels,
        )
    is_text = found.kind == "chars"
    lines = [
        *map(printable, _verdict_lines(found, arguments.top)),
        f"{found.symbols:,} symbols in {_sessions(found.sessions)}: {bits(found.loss):.4f} bits a "
        f"symbol; {found.unexpected:,} {rule}, in {_sessions(len(found.in_sessions))}",
        *(printable(finding_line(finding, is_text=is_text)) for finding in found.findings),
    ]
    if found.noted:
        lines.append(f"note: {found.noted}")
    if more := found.unexpected - len(found.findings):
        lines.append(f"... and {more:,} less surprising (--top N)")
    return Answer(found.to_dict(), lines)


def score(arguments: Namespace) -> Answer:
    with _path_of(arguments.data) as data:
        rows = detection.score(arguments.bundle, data, ends=arguments.ends)
    lines = (f"{one.loss:.4f}  {one.symbols:,}  {printable(one.session)}" for one in rows)
    return Answer([vars(one) for one in rows], ["nats a symbol, symbols, session", *lines])


def classify(arguments: Namespace, actions: Actions) -> Answer:
    wished = (
        getattr(arguments, name) for name in ("error", "precision", "recall", "class", "decide")
    )
    wish = Wish(*wished)
    columns = {name: getattr(arguments, name) for name in ("text", "label", "labels")}
    with _path_of(arguments.data) as data:
        found = actions.classify(arguments.bundle, data, wish, **columns)
    return Answer(found.to_dict(), map(printable, _class_lines(found)))


def _class_lines(found: Classification) -> Iterator[str]:
    if found.promise:
        yield found.promise
    if threshold := found.threshold:
        shares = (
            f"{name} {_with_interval(getattr(threshold, name), interval)}"
            for name, interval in (
                ("precision", threshold.precision_interval),
                ("recall", threshold.recall_interval),
            )
        )
        yes = sum(bool(one.decided) for one in found.sequences)
        yield (
            f"{yes:,} sequences are said to be of class {found.of}, from a probability of "
            f"{threshold.value:.4g} on; on validation data: {', '.join(shares)}"
        )
    if found.decision_line:
        yield found.decision_line
    if found.scores:
        yield from score_lines(found.scores)
    for one in found.sequences:
        cells = [f"{one.probability:.4f}", one.said, f"{one.sequence}: {one.text}"]
        if one.set is not None:
            cells.insert(2, f"{{{', '.join(one.set)}}}")
        if one.decided:
            cells.insert(2, f"said to be {found.of}")
        if one.label not in (None, one.said):
            cells.insert(2, f"(is {one.label})")
        yield "  ".join(cells)


def score_lines(scores: Scores) -> Iterator[str]:
    def text(one: Estimate) -> str:
        if one.value is None:
            return "-"
        bounds = "" if one.low is None else f" ({one.low:.3f}-{one.high:.3f})"
        return f"{one.value:.3f}{bounds}"

    measures = {
        "accuracy": "accuracy",
        "macro F1": "macro_f1",
        "log loss": "scaled_log_loss",
        "calibration error": "scaled_calibration_error",
    }
    told = (f"{name} {text(scores.measures[key])}" for name, key in measures.items())
    yield f"{scores.sequences:,} labelled sequences: {', '.join(told)}"
    wide = max(len("class"), *(len(one.name) for one in scores.classes))
    yield f"  {'class':{wide}}  sequences{'precision':>22}{'recall':>22}{'F1':>22}"
    for one in scores.classes:
        cells = "".join(f"{text(cell):>22}" for cell in (one.precision, one.recall, one.f1))
        yield f"  {one.name:{wide}}  {one.sequences:9,}{cells}"


def _verdict_lines(found: Detection, top: int) -> Iterator[str]:
    verdicts = found.verdicts
    if verdicts.missing:
        if verdicts.missing != detection.NO_ENDS:
            yield f"no verdicts on sessions: {verdicts.missing}"
        return
    abnormal, is_text = verdicts.abnormal, found.kind == "chars"
    yield f"{len(abnormal):,} of {_sessions(found.sessions)} abnormal; {verdicts.promise}"
    for one in abnormal[:top]:
        yield f"p {one.p:.2g} by {one.by}: {one.why}; {finding_line(one.at, is_text=is_text)}"
    if len(abnormal) > top:
        yield f"... and {len(abnormal) - top:,} less odd (--top N)"
    if verdicts.rules:
        each = ", ".join(f"{rule} {count:,}" for rule, count in verdicts.rules.items())
        yield f"abnormal by one rule alone, at the same rate: {each}"
    if verdicts.drift:
        yield f"note: {verdicts.drift}"
    if verdicts.quality:
        yield from quality_lines(verdicts)


def quality_lines(verdicts: Verdicts) -> Iterator[str]:
    if over := verdicts.over_rates:
        yield "the verdict at other rates: promised, recall, false alarms, precision"
        for at, rate in enumerate(over.rates):
            right, wrong = (by_rule[VERDICT][at] for by_rule in (over.found, over.false_alarms))
            shares = (right, over.abnormal), (wrong, over.normal), (right, right + wrong)
            told = (f"{part / whole:.4f}" if whole else "-" for part, whole in shares)
            yield f"  {rate:<8g}" + "".join(f"{text:>9}" for text in told)
    for name, rows in (
        ("labelled sessions", verdicts.quality),
        ("different ones", verdicts.quality_of_distinct),
    ):
        overall = rows[VERDICT]
        left_out = f", {verdicts.unlabelled:,} without a label" if verdicts.unlabelled else ""
        if verdicts.strange_labels:
            left_out += f"; {verdicts.strange_labels:,} labels name no session"
        yield f"{name}: {overall.normal:,} normal, {overall.abnormal:,} abnormal{left_out}"
        yield f"  {'':12}{'recall':>19}{'false alarms':>21}  precision     F1    AUC     AP"
        for rule, one in rows.items():
            recall = _with_interval(one.recall, one.recall_interval)
            false = _with_interval(one.false_alarm_rate, one.false_alarm_interval)
            others = (one.precision, one.f1, one.auc, one.average_precision)
            figures = "".join(f"{'-' if value is None else f'{value:.3f}':>7}" for value in others)
            yield f"  {rule:12}{recall:>19}{false:>21}    {figures}"
        best = overall.f1 or 0.0
        if as_good := [
            rule for rule, one in rows.items() if one is not overall and (one.f1 or 0.0) >= best > 0
        ]:
            yield f"  as good as the verdict, by F1: {', '.join(as_good)}"


def _with_interval(share: float | None, interval: Sequence[float]) -> str:
    return "-" if share is None else f"{share:.4f} ({interval[0]:.3f}-{interval[1]:.3f})"


def _sessions(count: int) -> str:
    return f"{count:,} session{'s' if count != 1 else ''}"


def finding_line(finding: Finding, *, is_text: bool) -> str:
    """A finding for people; `is_text`: symbols are characters. Control characters stay."""

    def text(*symbols: Symbol) -> str:
        if is_text:
            return repr("".join(map(str, symbols)))
        words = [*map(str, symbols)]
        return (" | " if any(" " in word for word in words) else " ").join(words)

    expected = ", ".join(f"{text(one.symbol)} ({one.probability:.2g})" for one in finding.expected)
    what = f"({finding.probability:.2g})" if finding.known else "(not in the training data)"
    if finding.text:  # the line says more than the templates of those before it
        [line, *more] = finding.text.splitlines()
        going_on = f" ... and {len(more):,} lines" if more else ""
        return f"{finding.session}: {line}{going_on} {what}; expected {expected}"
    after = f" after {text(*finding.before)}" if finding.before else " at the beginning"
    place = f"{finding.session}, symbol {finding.place:,}"
    return f"{place}: {text(finding.symbol)} {what}{after}; expected {expected}"
