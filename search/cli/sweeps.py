"""Commands about sweeps and their trials: `launch` to `prune`, and what each prints."""

from __future__ import annotations

import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from lstm_sweep.models.errors import InputError, plain
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.actions.dry_run import SizeReport
from lstm_sweep.search.actions.lifecycle import Deleted, Pruned, SweepFailedError
from lstm_sweep.search.actions.references import Wanted
from lstm_sweep.search.actions.remote import THERE, Actions, Remote, field_of
from lstm_sweep.search.actions.sweeps import (
    SweepPage,
    SweepResult,
    SweepRow,
    SweepStatusReport,
    SweepTrials,
    TrialComparison,
    TrialDetails,
)
from lstm_sweep.search.cli import (
    DONE,
    FAILED,
    Answer,
    csv_text,
    open_console,
    say,
    say_left_out,
)
from lstm_sweep.search.cli.models import model_name, program_here
from lstm_sweep.search.cli.progress import LiveTable, observer_of, trials_table
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.process.files import STDIN, kept_input
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts, Shield, stop_within_s
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.registry import Freed
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.documents import (
    budget_text,
    duration,
    loss_text,
    time_left_text,
)
from lstm_sweep.search.values.spec import (
    CHANGEABLE,
    OPTIONS,
    PLACES,
    SERVER,
    check_name,
    ray_address,
    read_fields,
    read_spec,
)
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import ranked
from lstm_sweep.spaces import presets

if TYPE_CHECKING:
    from lstm_sweep.search.store.server import Pages

#: trials of a sweep that are printed with its result
SHOWN = 10
OLDER = "there are older ones; lstm-sweep sweeps --all lists them"


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
        return _submitted(actions.submit(spec), f", {takes} once it has slots")
    return _drive(
        lambda observer, interrupts: actions.launch(spec, observer, interrupts, address),
        actions,
        arguments,
    )


def resume(arguments: Namespace, actions: Actions) -> Answer:
    name, file, template = arguments.sweep, arguments.spec, arguments.template
    spec, changes = None, _given(arguments, CHANGEABLE)
    address = ray_address(arguments.address, arguments.on)
    if file is not None:
        spec = _wanted(actions, file, {}, [])
        named = [field for field in CHANGEABLE if field in read_fields(file)]
        changes = {field: field_of(spec, field) for field in named} | changes
    if arguments.detach:
        assert isinstance(actions, Remote)
        return _submitted(actions.submit_again(name, changes, spec, template))
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
        if any(str(fields.get(name, "")).startswith(THERE) for name in PLACES):
            if isinstance(fields.get("space"), str) and fields["space"] not in presets.SPACES:
                fields["space"] = presets.named(fields["space"]).describe()
            return fields | ({"set": settings} if settings else {})
    return read_spec(file, changes, settings)


def _given(arguments: Namespace, names: Iterable[str]) -> dict[str, Any]:
    found = {name: getattr(arguments, name, None) for name in names}
    if found.get("data") == STDIN:
        found["data"] = str(kept_input(sys.stdin.buffer))
    return {name: value for name, value in found.items() if value is not None}


def _submitted(made: SweepStatusReport, takes: str = "") -> Answer:
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
    name = result.sweep
    if result.unchanged:
        return Answer(result.to_dict(), [f"sweep {name}: {plain(result.unchanged)}"])
    best = tuple[TrialRecord, ...]()
    if not (result.left_open or arguments.json):
        try:
            best = tuple(actions.trials(name, SHOWN))
        except (InputError, StoreError) as error:
            say(f"the table of trials is left out: {plain(without_secrets(str(error)))}")
    code, wrong = DONE, ""
    if result.state == SweepStatus.FAILED:
        hint = f"`lstm-sweep resume {name}` goes on once that is mended"
        code, wrong = FAILED, f"{result.why}; {hint}"
    elif result.state == SweepStatus.INTERRUPTED:
        code = 128 + (shield.signal_number or signal.SIGINT)
    elif result.state == SweepStatus.FINISHED and result.best is None:
        hint = f"`lstm-sweep trials {name}` lists how they have ended, and `show` says why"
        code, wrong = FAILED, f"no trial of '{name}' has a result; {hint}"
    return Answer(result.to_dict(), result_text(result, best, actions), code, wrong)


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


def sweeps(arguments: Namespace, actions: Actions) -> Answer:
    found = actions.sweeps(arguments.limit)
    say_left_out(found.left_out)
    if arguments.json and found.next_page:
        say(OLDER)
    return Answer(found.to_list(), _listed(found, actions))


def _listed(found: SweepPage, actions: Actions) -> Iterator[Any]:
    if not found.rows:
        yield f"no sweeps in {actions}; lstm-sweep launch begins one"
        return
    yield sweeps_table(found)
    if found.next_page:
        yield OLDER


def sweeps_table(rows: Iterable[SweepRow]) -> Table:
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in rows:
        loss, data = loss_text(row.best_val_loss), PurePath(row.data or "-").name
        table.add_row(row.sweep, plain(row.state), str(row.trials_done), loss, plain(data))
    return table


def status(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    reports = actions.follow(name) if arguments.follow else iter([actions.status(name)])
    before = ""
    for report in reports:
        line = status_line(report)
        if not arguments.json and line != before:
            print(line, flush=True)
        before = line
    return Answer(report.to_dict())


def status_line(report: SweepStatusReport) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.trials.items())
    parts = [report.state, counts or "no trials yet"]
    if report.best:
        best, running = report.best, " (not ended)" if report.best.running else ""
        parts.append(f"best {best.trial} {loss_text(best.val_loss)}{running}")
    if report.eta_seconds is not None:
        parts.append(time_left_text(report.eta_seconds))
    why = f" ({plain(report.why)})" if report.why else ""
    return f"sweep {report.sweep}: {'; '.join(parts)}{why}"


def stop(arguments: Namespace, actions: Actions) -> Answer:
    end = actions.stop if arguments.command == "stop" else actions.pause
    stopped = end(arguments.sweep)
    say_left_out(stopped.left_out)
    line = f"sweep {stopped.sweep}: {stopped.state}"
    line += f", nothing to {arguments.command}" if stopped.had_ended else ""
    return Answer(stopped.to_dict(), [f"{line}; {stopped.advice}" if stopped.advice else line])


pause = stop


def ui(arguments: Namespace) -> int:
    from lstm_sweep.search.store.server import serve

    settings = load(Path.cwd())

    def announce(pages: Pages) -> None:
        if arguments.json:
            found = {"address": pages.address, "runs": pages.runs, "sweep": pages.sweep}
            print(json.dumps(found), flush=True)
            return
        print(f"all runs: {pages.runs}")
        if pages.sweep:
            print(f"newest sweep, {pages.name}: {pages.sweep}")
        if not settings.is_server:
            print("Ctrl-C ends it")
        sys.stdout.flush()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    serve(settings, arguments.host, arguments.port, announce=announce, say=tell)
    return DONE


def delete(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    if not arguments.yes:
        would = actions.delete(name, dry_run=True)
        _confirm(f"delete sweep {plain(name)}: {_runs_text(would)}?")
    found = actions.delete(name)
    return Answer(found.to_dict(), [_deleted_line(found, "deleted"), *_what_stays(found)])


def prune(arguments: Namespace, actions: Actions) -> Answer:
    older, keep_best = arguments.older_than, arguments.keep_best
    found = None
    if not arguments.yes or arguments.dry_run:
        found = actions.prune(older, keep_best=keep_best, dry_run=True)
        if found.sweeps and not arguments.dry_run:
            _confirm(f"prune {_sweeps_text(found)}: {_runs_text(found.freed)}?")
            found = None
    found = found or actions.prune(older, keep_best=keep_best)
    say_left_out(found.left_out)
    be = "would be " if arguments.dry_run else ""
    total = f"{_sweeps_text(found)}: {_runs_text(found.freed)} {be}freed"
    lines = [_deleted_line(one, f"{be}deleted") for one in found.sweeps]
    return Answer(found.to_dict(), [*lines, total, *_what_stays(found.freed)])


def _confirm(question: str) -> None:
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(f"{question} expected --yes, since nobody can be asked here")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was deleted: expected y or yes as the answer")


def _sweeps_text(found: Pruned) -> str:
    return f"{len(found.sweeps)} sweep{'' if len(found.sweeps) == 1 else 's'}"


def _runs_text(freed: Freed) -> str:
    """How much is deleted: `12 runs, 34.5 MB of files`."""
    return f"{freed.runs:,} run{'' if freed.runs == 1 else 's'}, {decimal(freed.bytes)} of files"


def _deleted_line(found: Deleted, said: str) -> str:
    beside = " beside its best trial" if found.keeps_best else ""
    return f"sweep {plain(found.sweep)}{beside}: {_runs_text(found)} {said}"


def _what_stays(freed: Freed) -> Iterator[str]:
    for version in freed.kept:
        yield (
            f"{plain(version)} stays, with the files of its model: delete it in MLflow to free "
            "those"
        )
    if marked := freed.marked:
        yield (
            f"the tracking server lists {marked:,} of the runs as deleted; `mlflow gc` there takes "
            f"them out of its database"
        )


def trials(arguments: Namespace, actions: Actions) -> Answer:
    if arguments.csv and arguments.json:
        raise InputError("--csv is given with --json: expected one of them")
    found = actions.trials(arguments.sweep, arguments.top)
    say_left_out(found.left_out)
    rows = found.to_list()
    return Answer(rows, [csv_text(rows)] if arguments.csv else _trial_list(found, arguments.sweep))


def _trial_list(found: SweepTrials, sweep: str) -> Iterator[Any]:
    yield trials_table(found, sweep)
    if found.next_page:
        yield f"there are more than these {len(found)}"
    width = max([12, *map(len, found.baselines)])
    for name, loss in found.baselines.items():
        yield f"baseline {name.replace('_', ' '):<{width}} {loss:.4f}"


def show(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.reference
    if not actions.means_sweep(name):
        trial = actions.show(name)
        return Answer(trial.to_dict(), _trial_text(trial))
    result = actions.result(name)
    if arguments.json:
        return Answer(result.to_dict())
    status, best = actions.status(name), tuple(actions.trials(name, SHOWN))
    if result.has_ended:
        return Answer(None, result_text(result, best, actions))
    so_far = [one for one in best if one.best_loss is not None][:SHOWN]
    table = [trials_table(so_far, f"{name}: the best so far")] if so_far else []
    return Answer(None, [status_line(status), *table])


def _trial_text(trial: TrialDetails) -> Iterator[Any]:
    record = trial.record
    yield trials_table([record])
    if record.reason:
        yield f"reason: {plain(record.reason)}"
    table = Table("epoch", *map(plain, record.results))
    for row in trial.by_epoch:
        epoch = epochs_text(row["epoch"], record.rounds_per_epoch)
        table.add_row(epoch, *(loss_text(row[name]) for name in record.results))
    yield table
    yield Text(f"config: {plain(record.config.describe())}")  # broken between words
    versions = ", ".join(
        f"{tag.removeprefix(Tag.VERSION)} {plain(value)}"
        for tag, value in sorted(record.tags.items())
        if tag.startswith(Tag.VERSION)
    )
    kept = "kept" if record.has_weights else "not kept"
    yield f"run {record.run_id}, seed {record.seed}, weights {kept}"
    yield f"{plain(record.tags.get(Tag.DEVICE, ''))}; {plain(versions)}"
    if record.rerun_of:
        verdict = record.tags.get(Tag.VERDICT, "")
        yield f"a rerun of run {plain(record.rerun_of)}: {plain(verdict)}"


def report(arguments: Namespace, actions: Actions) -> Answer:
    name = arguments.sweep
    check_name("sweep", name)
    to = f"{name}-report.html" if arguments.to is None else arguments.to
    found = actions.report(name, to, data=arguments.data, labels=arguments.labels)
    return Answer(found.to_dict(), [plain(found.headline), f"{name} -> {found.file}"])


def compare(arguments: Namespace, actions: Actions) -> Answer:
    found = actions.compare(arguments.first, arguments.other)
    return Answer(found.to_dict(), _comparison(found))


def _comparison(found: TrialComparison) -> Iterator[Any]:
    if found.sweeps:
        yield sweeps_table(found.sweeps)
    records = [found.first.record, found.second.record]
    same_kind = len({tuple(one.config.table_columns()) for one in records}) == 1
    for shown in [records] if same_kind else [[one] for one in records]:
        yield trials_table(shown)
    table = Table("field", *(one.id for one in records))
    for name, values in found.differences.items():
        table.add_row(plain(name), *("-" if v is None else plain(v) for v in values))
    yield table if found.differences else "their configs are the same"
    yield plain(found.verdict)


def size(arguments: Namespace, actions: Actions) -> Answer:
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    found = actions.size(wanted(arguments, actions))
    return Answer(found.to_dict(), _size_lines(found))


def _size_lines(report: SizeReport) -> Iterator[str]:
    yield f"corpus: {plain(report.corpus)}"
    yield f"corpus: {report.training_symbols:,} training symbols, alphabet {report.alphabet}"
    if text := unknown_text(report.unknown_share):
        yield f"corpus: {text}"
    for network in report.networks:
        size = f"{network.layers}x{network.layer_size}"
        if network.embedding_size:
            size += f", embedding {network.embedding_size}"
        yield f"{network.direction} {size}: {network.reason}"
    if len(report.networks) < report.structures:
        passed = f"{report.admitted} of them pass"
        yield f"smallest and largest of {report.structures} networks; {passed}"
    if report.refused:
        yield f"a sweep would refuse this: {plain(report.refused)}"
