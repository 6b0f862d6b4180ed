"""What each command does; one function a command, named like it."""

from __future__ import annotations

import itertools
import math
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from lstm_sweep.models.config import FIELDS, TrialConfig, check_field
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.commands.display import loss_text, open_console, trials_table
from lstm_sweep.search.commands.exits import DIFFERENT, DONE
from lstm_sweep.search.commands.launch import existing_store, launch, resume, spec_of
from lstm_sweep.search.commands.terminal import plain, plain_json
from lstm_sweep.search.engines.base import Engine, devices
from lstm_sweep.search.spec import NAME, SweepSpec, check_name
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.continuation import how_to_go_on
from lstm_sweep.search.sweep.preflight import check_space
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.field_values import parse
from lstm_sweep.spaces.space import LISTABLE

if TYPE_CHECKING:
    from lstm_sweep.search.store.faults import BadRunError
    from lstm_sweep.search.store.tracking import Store

__all__ = [
    "detect", "export", "generate", "launch", "rerun", "resume", "show", "size", "stop", "sweeps",
    "trials", "ui",
]  # fmt: skip

#: what `sweeps` says in place of the state of a sweep that this version cannot read
NEWER = "made by a newer version"
#: and in place of `running` if its driver has died
BROKEN_OFF = "broken off"
#: what `rerun` says where its own program may be the reason
EARLIER = (
    "another version of lstm-sweep made this trial: windows and dropout may be drawn otherwise, "
    "and numbers added up in another order"
)
#: what may mean a trial: SWEEP/NUMBER, or a run ID or its beginning
TRIAL = re.compile(rf"{NAME.pattern}/[0-9]{{1,18}}|[0-9A-Za-z]{{1,32}}")
#: structures that `size` lists one by one, at most
LISTED_SIZES = 12


def _open_store() -> Store:
    from lstm_sweep.search.store.tracking import Store

    return Store(settings.load(Path.cwd()))


def _store_of_sweep(name: str) -> Store:
    check_name("sweep", name)
    return existing_store(f"sweep '{name}'")


def _store_of_trial(reference: str) -> Store:
    _check_trial(reference)
    return existing_store(f"trial '{reference}'")


def _check_trial(reference: str) -> None:
    if not TRIAL.fullmatch(reference):
        raise InputError(
            f"trial {shown(reference)}: expected SWEEP/NUMBER, the ID of a trial's run, or the "
            f"beginning of one"
        )


def _print_json(document: Any) -> None:
    print(plain_json(json_text(document)))


def _left_out(error: BadRunError) -> None:
    """Say that a run of the store is left out, and why."""
    print(f"lstm-sweep: left out: {error}", file=sys.stderr)


# --- ending ---------------------------------------------------------------------------------------


def stop(arguments: Namespace) -> int:
    """End a sweep that runs elsewhere, and wait until it has ended."""
    from lstm_sweep.search.store import archive
    from lstm_sweep.search.store.tags import Tags
    from lstm_sweep.search.sweep import lease

    name = arguments.sweep
    store = _store_of_sweep(name)
    run = archive.existing_sweep(store, name)
    run_id = run.info.run_id
    is_open = run.info.status == "RUNNING"
    if is_open and not lease.stop(store, run_id):
        # nobody drives it, so its runs are put in order here
        from lstm_sweep.search.sweep.resume import close

        close(store, run, _left_out)
    tags = Tags(store.run(run_id))
    state = archive.state_of(tags)
    if arguments.json:
        _print_json({"sweep": name, "run_id": run_id, "state": state})
    else:
        line = f"sweep {name}: {state}" + ("" if is_open else ", nothing to stop")
        print(line + (f"; {how_to_go_on(name, tags)}" if archive.schema_of(tags) else ""))
    return DONE


# --- looking --------------------------------------------------------------------------------------


def sweeps(arguments: Namespace) -> int:
    """List sweeps, oldest first."""
    from lstm_sweep.search.store import archive
    from lstm_sweep.search.store.tags import count, finite
    from lstm_sweep.search.sweep import lease

    store = _open_store()
    rows = []
    for run in archive.sweeps(store, _left_out):
        name, metrics = run.data.tags[Tag.NAME], run.data.metrics
        state = run.data.tags.get(Tag.STATE, "")
        if archive.schema_of(run.data.tags) is None:
            state = NEWER
        elif state == "running" and lease.is_left(run.data.tags):
            state = BROKEN_OFF
        rows.append(
            {
                "sweep": name,
                "run_id": run.info.run_id,
                "state": state,
                "trials_done": count(metrics, "trials_done"),
                "best_val_loss": finite(metrics, "best_val_loss"),
                "data": run.data.params.get("data", run.data.params.get("template")),
            }
        )
    if arguments.json:
        _print_json(rows)
        return DONE
    if not rows:
        print(f"no sweeps in {store.settings}; lstm-sweep launch begins one")
        return DONE
    table = Table("sweep", "state", "trials", "best loss", "data")
    for row in rows:
        table.add_row(
            row["sweep"], plain(row["state"]), str(row["trials_done"]),
            loss_text(row["best_val_loss"]), plain(row["data"]),
        )  # fmt: skip
    open_console().print(table)
    return DONE


def trials(arguments: Namespace) -> int:
    """List the trials of a sweep, the best first, those without a result last."""
    from lstm_sweep.search.store import archive

    if arguments.top is not None and arguments.top < 1:
        raise InputError(f"--top is {shown(arguments.top)}: expected at least 1")
    store = _store_of_sweep(arguments.sweep)
    archive.existing_sweep(store, arguments.sweep)
    records = archive.trials(store, arguments.sweep, _left_out)
    best = archive.ranked(records)
    rest = [record for record in records if record not in best]
    chosen = [*best, *rest][: arguments.top]
    if arguments.json:
        _print_json([record.to_dict() for record in chosen])
        return DONE
    console = open_console()
    console.print(trials_table(chosen, arguments.sweep))
    for name, loss in archive.baselines(store, arguments.sweep).items():
        console.print(f"baseline {name.replace('_', ' '):<12} {loss:.4f}")
    return DONE


def show(arguments: Namespace) -> int:
    """Show one trial, epoch by epoch."""
    from lstm_sweep.search.store import archive

    store = _store_of_trial(arguments.trial)
    record = archive.find_trial(store, arguments.trial)
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    steps = sorted({step for values in history.values() for step in values})
    if arguments.json:
        epochs = [
            {"epoch": step} | {name: values.get(step) for name, values in history.items()}
            for step in steps
        ]
        _print_json(record.to_dict() | {"reason": record.reason, "by_epoch": epochs})
        return DONE
    console = open_console()
    console.print(trials_table([record]))
    if record.reason:
        console.print(f"reason: {plain(record.reason)}")
    table = Table("epoch", *map(plain, record.results))
    for step in steps:
        table.add_row(str(step), *(loss_text(values.get(step)) for values in history.values()))
    console.print(table)
    _show_details(console, record)
    return DONE


def _show_details(console: Console, record: TrialRecord) -> None:
    config = record.trial.config
    console.print(f"config: {plain(config.describe())}")
    versions = ", ".join(
        f"{tag.removeprefix('version.')} {plain(value)}"
        for tag, value in sorted(record.tags.items())
        if tag.startswith("version.")
    )
    kept = "kept" if record.has_weights else "not kept"
    console.print(f"run {record.run_id}, seed {record.trial.seed}, weights {kept}")
    device = plain(record.tags.get(Tag.DEVICE, ""))
    console.print(f"{device}; {plain(versions)}", markup=False)
    if record.rerun_of:
        verdict = record.tags.get(Tag.VERDICT, "")
        console.print(f"a rerun of run {plain(record.rerun_of)}: {plain(verdict)}", markup=False)


# --- using ----------------------------------------------------------------------------------------


def rerun(arguments: Namespace) -> int:
    """Train a trial again and compare."""
    from lstm_sweep.search.engines import open_engine

    changes = dict(_change(setting) for setting in arguments.settings)
    with open_engine(arguments.on, workers=1) as engine:
        return _rerun(arguments, changes, engine)


def _rerun(arguments: Namespace, changes: dict[str, Any], engine: Engine) -> int:
    from lstm_sweep.search.results.rerun import rerun as run_again
    from lstm_sweep.search.store import archive
    from lstm_sweep.search.sweep.tasks import task_kind_of_run

    store = _store_of_trial(arguments.trial)
    record = archive.find_trial(store, arguments.trial)
    kind = task_kind_of_run(record.tags)
    kind.check_rerun(record, changes, arguments.template, devices(engine))
    talk = sys.stderr if arguments.json else sys.stdout
    print(f"training {record.trial.id} again (run {record.run_id})", file=talk, flush=True)
    result = run_again(store, record, engine, changes, arguments.template)
    for name, (was, now) in result.versions.items():
        print(f"version of {name}: then {plain(was)}, now {now}", file=talk)
    if result.device:
        was, now = result.device
        print(f"device: then {plain(was)}, now {now}", file=talk)
    for name, (was, now) in result.variation.items():
        print(f"a variation: {name} is {now}, was {was}", file=talk)
    if arguments.json:
        _print_json(result.to_dict())
    else:
        comparison = result.comparison
        print(f"verdict: {comparison.verdict} ({comparison.epochs_compared} epochs compared)")
        if first := comparison.first_difference:
            print(
                f"first difference: epoch {first['epoch']}, {first['metric']}: "
                f"was {plain(first['was'])}, is {plain(first['is'])}"
            )
        print(f"run {result.run_id}; to look at it: lstm-sweep show {result.run_id}")
    differs = result.comparison.verdict == "different" and not result.variation
    if differs and "lstm-sweep" in result.versions:
        print(EARLIER, file=talk)
    return DIFFERENT if differs else DONE


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
    from lstm_sweep.search.results import export as exporting
    from lstm_sweep.search.sweep.tasks import task_kind_of_run

    to = exporting.new_folder(arguments.to)
    if not NAME.fullmatch(arguments.reference):
        _check_trial(arguments.reference)
    store = existing_store(f"'{arguments.reference}'")
    record = exporting.choose(store, arguments.reference)
    result = exporting.export(store, record, to, arguments.format)
    if arguments.json:
        _print_json(result)
        return DONE
    print(f"{result['trial']} -> {result['bundle']}")
    for line in task_kind_of_run(record.tags).told_of_bundle(result):
        print(line)
    return DONE


def generate(arguments: Namespace) -> int:
    """Print sequences that an exported model continues."""
    from lstm_sweep.search.results import generate as generating

    request = generating.GenerationRequest(
        arguments.prompt,
        arguments.length,
        arguments.temperature,
        arguments.count,
        arguments.seed,
    )
    bundle, turns = generating.generate(arguments.bundle, request)
    between = "" if bundle.alphabet.is_text else " "
    if arguments.json:
        rows = [list(row) for row in zip(*turns, strict=True)]
        made = rows if between else ["".join(map(str, row)) for row in rows]
        _print_json(
            {"bundle": arguments.bundle, "trial": bundle.trial, "prompt": request.prompt,
             "temperature": request.temperature, "seed": request.seed, "sequences": made}
        )  # fmt: skip
        return DONE
    if request.count == 1:  # as it comes
        start = request.prompt + between if request.prompt else ""
        print(generating.printable(start), end="", flush=True)
        for (symbol,) in turns:
            print(generating.printable(str(symbol)), end=between, flush=True)
        print()
        return DONE
    for number, row in enumerate(zip(*turns, strict=True), start=1):
        text = between.join([*([request.prompt] if request.prompt else []), *map(str, row)])
        print(f"--- {number} ---\n{generating.printable(text)}")
    return DONE


def detect(arguments: Namespace) -> int:
    """Print what an exported model does not expect in new data."""
    from lstm_sweep.search.results import detect as detecting

    rule = detecting.Rule(arguments.below, arguments.candidates)
    found = detecting.detect(arguments.bundle, arguments.data, rule, arguments.top)
    if arguments.json:
        _print_json(found.to_dict())
        return DONE
    print(
        f"{found.symbols:,} symbols in {found.sessions:,} sessions: {bits(found.loss):.4f} bits a "
        f"symbol; {found.unexpected:,} {rule}, in {len(found.in_sessions):,} sessions"
    )
    for finding in found.findings:
        print(detecting.line_of(finding, found.bundle.alphabet))
    if more := found.unexpected - len(found.findings):
        print(f"... and {more:,} less surprising (--top N)")
    return DONE


def ui(arguments: Namespace) -> int:
    """Serve the MLflow UI until interrupted."""
    from lstm_sweep.search.store.server import serve

    port = arguments.port
    if port is not None and not 0 < port < 65536:
        raise InputError(f"--port is {shown(port)}: expected 1 to 65535")
    where = settings.load(Path.cwd())
    return serve(where, arguments.host, port, as_json=arguments.json)


def size(arguments: Namespace) -> int:
    """Say what the size rule thinks of the networks of a space."""
    if arguments.data is None:
        raise InputError("--data is missing: expected a path or a sample")
    spec = spec_of(arguments)
    corpus = corpora.load(spec.source())
    rule, symbols, alphabet = spec.rule(), len(corpus.train), len(corpus.alphabet)
    verdicts = [(config, rule.judge(config, alphabet, symbols)) for config in _structures(spec)]
    verdicts.sort(key=lambda pair: pair[1].parameters)
    passed = sum(verdict.admitted for _, verdict in verdicts)
    shown = verdicts if len(verdicts) <= LISTED_SIZES else [verdicts[0], verdicts[-1]]
    if arguments.json:
        rows = [_size_row(config) | _verdict_row(verdict) for config, verdict in shown]
        _print_json(
            {"training_symbols": symbols, "alphabet": alphabet, "low": rule.low, "high": rule.high,
             "structures": len(verdicts), "admitted": passed, "networks": rows}
        )  # fmt: skip
        return DONE
    print(f"corpus: {corpus.decided}")
    print(f"corpus: {symbols:,} training symbols, alphabet {alphabet}")
    for config, verdict in shown:
        print(f"{config.direction} {config.layers}x{config.layer_size}: {verdict.reason}")
    if len(shown) < len(verdicts):
        print(f"smallest and largest of {len(verdicts)} networks; {passed} of them pass")
    try:
        check_space(spec, corpus)
    except InputError as error:
        print(f"a sweep would refuse this: {error}")
    return DONE


SIZE_FIELDS = ("direction", "layers", "layer_size", "embedding_size")


def _structures(spec: SweepSpec) -> list[TrialConfig]:
    """All networks of a space, or those at its corners if there are too many to list."""
    axes = [spec.space[field].values() or [] for field in SIZE_FIELDS]
    if math.prod(map(len, axes)) > LISTABLE:
        axes = [list(dict.fromkeys((axis[0], axis[-1]))) for axis in axes]
    return [
        TrialConfig.from_dict(dict(zip(SIZE_FIELDS, values, strict=True)))
        for values in itertools.product(*axes)
    ]


def _size_row(config: TrialConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name in SIZE_FIELDS}


def _verdict_row(verdict: Any) -> dict[str, Any]:
    return {
        "parameters": verdict.parameters,
        "per_symbol": verdict.ratio,
        "admitted": verdict.admitted,
        "reason": verdict.reason,
    }
