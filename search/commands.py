"""What each command does; one function a command, named like it."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from models import corpus as corpora
from models.config import FIELDS, TrialConfig, check_field
from models.corpus import Corpus
from models.errors import InputError
from models.scoring import bits
from search import settings
from search.cli import BAD_INPUT, DIFFERENT, DONE, FAILED, INTERRUPTED
from search.display import Lines, LiveTable, duration, loss_text, trials_table
from search.spec import SweepSpec, read_spec
from search.trial import TrialRecord
from spaces.dimension import Listed, parse

if TYPE_CHECKING:
    from search.sweep import State
    from search.tracking import Store

OPTIONS = (
    "data", "symbols", "name", "trials", "minutes", "workers", "per_gpu", "on", "space", "algo",
    "seed", "size_rule", "targets", "keep",
)  # fmt: skip
#: structures that `size` lists one by one, at most
LISTED_SIZES = 12


def _open_store() -> Store:
    from search.tracking import Store

    return Store(settings.load(Path.cwd()))


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, allow_nan=False))


def _console() -> Console:
    """A console for tables; never narrower than a table needs when nobody watches."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def _spec(arguments: Namespace) -> SweepSpec:
    changes = {name: getattr(arguments, name, None) for name in OPTIONS}
    given = {name: value for name, value in changes.items() if value is not None}
    extra = [f"epochs={arguments.epochs}"] if getattr(arguments, "epochs", None) is not None else []
    file = getattr(arguments, "spec", None)
    return read_spec(Path(file) if file else None, given, [*arguments.settings, *extra])


# --- launch ---------------------------------------------------------------------------------------


def launch(arguments: Namespace) -> int:
    """Run a sweep."""
    from search import journal
    from search.engines import open_engine
    from search.sweep import Sweep, check_space

    spec = _spec(arguments)
    where = settings.load(Path.cwd())
    talk = Console(stderr=True, highlight=False) if arguments.json else _console()
    corpus = corpora.load(spec.source())
    passed = check_space(spec, corpus)
    engine = open_engine(spec.on, workers=spec.workers, per_gpu=spec.per_gpu)
    engine.warm_up()  # Keras is imported over there while MLflow is imported here
    from search.tracking import Store

    store = Store(where)
    name = spec.name or _free_name(store, corpus.name)
    if journal.find_sweep(store, name):
        raise InputError(
            f"sweep '{name}' exists in {where}; expected a new --name. "
            f"To look at it: lstm-sweep trials {name}"
        )
    display = LiveTable(talk) if talk.is_terminal else Lines(talk)
    for line in _introduction(spec, name, corpus, passed, len(engine.slots)):
        display.say(line)
    display.say(f"store: {where}")
    sweep = Sweep(spec, name=name, corpus=corpus, store=store, engine=engine, display=display)
    code = DONE
    with display:
        try:
            sweep.run()
        except KeyboardInterrupt:
            code = INTERRUPTED
    if arguments.json:
        _print_json(sweep.state.to_dict())
    else:
        _conclude(talk, sweep.state, store)
    if code == DONE and sweep.state.best is None:
        print(f"lstm-sweep: no trial of '{name}' has a result", file=sys.stderr)
        return FAILED
    return code


def _free_name(store: Store, data: str) -> str:
    from search import journal

    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    taken = {run.data.tags["sweep.name"] for run in journal.sweeps(store)}
    return next(
        name for number in itertools.count(1) if (name := f"{stem[:80]}-{number}") not in taken
    )


def _introduction(
    spec: SweepSpec, name: str, corpus: Corpus, passed: float, slots: int
) -> list[str]:
    parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
    unknown = corpus.unknown_share(corpus.validation)
    budget = f"{spec.trials} trials"
    if spec.minutes is not None:
        budget += f" or {spec.minutes:g} minutes"
    return [
        f"sweep {name}: up to {budget}, {slots} at once, {spec.algo}, seed {spec.seed}",
        f"corpus: {corpus.decided}",
        f"corpus: {parts} symbols, alphabet {len(corpus.alphabet)}"
        + (f", {unknown:.2%} of validation unknown in training" if unknown else ""),
        f"size rule ({spec.size_rule}): {passed:.0%} of draws pass",
    ]


def _conclude(console: Console, state: State, store: Store) -> None:
    from search import journal

    records = journal.ranked(journal.trials(store, state.name))
    if records:
        console.print(trials_table(records[:10], f"{state.name}: the best of {_counts(state)}"))
    best = state.best
    if best and best.ranked_loss is not None:
        loss = best.ranked_loss
        config = best.trial.config
        console.print(
            f"best: {best.trial.id}, {loss:.4f} nats = {bits(loss):.4f} bits per symbol "
            f"({config.direction}, {config.layers} layers of {config.layer_size}, "
            f"learning rate {config.learning_rate:g})"
        )
        for name, other in state.baselines.items():
            better = f"the best trial is {other - loss:.4f} nats better"
            worse = f"the best trial is {loss - other:.4f} nats worse"
            verdict = better if loss < other else worse
            console.print(f"  {name.replace('_', ' '):<12} {other:.4f}   {verdict}")
    ending = state.closing or "the budget is spent"
    console.print(f"ended after {duration(state.seconds)}: {ending}")
    program = _program()
    console.print("next:")
    console.print(f"  {program} ui")
    if best:
        console.print(f"  {program} export {state.name} --to {state.name}-best")
        console.print(f"  {program} rerun {best.trial.id}")
    console.print(f"  {program} trials {state.name}")


def _program() -> str:
    """The program as one has to type it here."""
    if shutil.which("lstm-sweep"):
        return "lstm-sweep"
    path = Path(sys.argv[0]).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _counts(state: State) -> str:
    total = sum(state.counts.values())
    parts = ", ".join(f"{count} {outcome}" for outcome, count in state.counts.items())
    return f"{total} trials ({parts})"


# --- looking --------------------------------------------------------------------------------------


def sweeps(arguments: Namespace) -> int:
    """List sweeps, oldest first."""
    from search import journal

    store = _open_store()
    rows = []
    for run in journal.sweeps(store):
        name, metrics = run.data.tags["sweep.name"], run.data.metrics
        state = run.data.tags.get("sweep.state", "")
        rows.append(
            {
                "sweep": name,
                "run_id": run.info.run_id,
                "state": state,
                "trials_done": int(metrics.get("trials_done", 0)),
                "best_val_loss": metrics.get("best_val_loss"),
                "data": run.data.params.get("data"),
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
            row["sweep"], row["state"], str(row["trials_done"]), loss_text(row["best_val_loss"]),
            row["data"],
        )  # fmt: skip
    _console().print(table)
    return DONE


def _existing_sweep(store: Store, name: str) -> Any:
    from search import journal

    run = journal.find_sweep(store, name)
    if run is None:
        known = ", ".join(run.data.tags["sweep.name"] for run in journal.sweeps(store)) or "none"
        raise InputError(f"sweep '{name}': no such sweep in {store.settings}; sweeps: {known}")
    return run


def trials(arguments: Namespace) -> int:
    """List the trials of a sweep, the best first, those without a result last."""
    from search import journal

    if arguments.top is not None and arguments.top < 1:
        raise InputError(f"--top is {arguments.top}: expected at least 1")
    store = _open_store()
    _existing_sweep(store, arguments.sweep)
    records = journal.trials(store, arguments.sweep)
    best = journal.ranked(records)
    rest = [record for record in records if record not in best]
    chosen = [*best, *rest][: arguments.top]
    if arguments.json:
        _print_json([record.to_dict() for record in chosen])
        return DONE
    console = _console()
    console.print(trials_table(chosen, arguments.sweep))
    for name, loss in journal.baselines(store, arguments.sweep).items():
        console.print(f"baseline {name.replace('_', ' '):<12} {loss:.4f}")
    return DONE


def show(arguments: Namespace) -> int:
    """Show one trial, epoch by epoch."""
    from search import journal

    store = _open_store()
    record = journal.find_trial(store, arguments.trial)
    history = {metric: store.history(record.run_id, metric) for metric in journal.RESULTS}
    steps = sorted({step for values in history.values() for step in values})
    if arguments.json:
        epochs = [
            {"epoch": step} | {name: values.get(step) for name, values in history.items()}
            for step in steps
        ]
        _print_json(record.to_dict() | {"reason": record.reason, "by_epoch": epochs})
        return DONE
    console = _console()
    console.print(trials_table([record]))
    if record.reason:
        console.print(f"reason: {record.reason}", markup=False)
    table = Table("epoch", *journal.RESULTS)
    for step in steps:
        table.add_row(str(step), *(loss_text(values.get(step)) for values in history.values()))
    console.print(table)
    _show_details(console, record)
    return DONE


def _show_details(console: Console, record: TrialRecord) -> None:
    config = record.trial.config.to_dict()
    console.print("config: " + ", ".join(f"{name} {value}" for name, value in config.items()))
    versions = ", ".join(
        f"{tag.removeprefix('version.')} {value}"
        for tag, value in sorted(record.tags.items())
        if tag.startswith("version.")
    )
    kept = "kept" if record.has_weights else "not kept"
    console.print(f"run {record.run_id}, seed {record.trial.seed}, weights {kept}")
    console.print(f"{record.tags.get('sweep.device', '')}; {versions}")
    if record.rerun_of:
        verdict = record.tags.get("sweep.verdict", "")
        console.print(f"a rerun of run {record.rerun_of}: {verdict}")


# --- using ----------------------------------------------------------------------------------------


def rerun(arguments: Namespace) -> int:
    """Train a trial again and compare."""
    from search import journal
    from search.engines import open_engine
    from search.rerun import rerun as run_again

    changes = dict(_change(setting) for setting in arguments.settings)
    engine = open_engine(arguments.on, workers=1)
    store = _open_store()
    record = journal.find_trial(store, arguments.trial)
    record.trial.config.evolve(**changes)
    talk = sys.stderr if arguments.json else sys.stdout
    print(f"training {record.trial.id} again (run {record.run_id})", file=talk, flush=True)
    result = run_again(store, record, engine, changes)
    for name, (was, now) in result.versions.items():
        print(f"version of {name}: then {was}, now {now}", file=talk)
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
                f"was {first['was']}, is {first['is']}"
            )
        print(f"run {result.run_id}; to look at it: lstm-sweep show {result.run_id}")
    differs = result.comparison.verdict == "different" and not result.variation
    return DIFFERENT if differs else DONE


def _change(setting: str) -> tuple[str, Any]:
    name, equals, value = setting.partition("=")
    where = f"--set {setting}"
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
    from search import export as exporting

    store = _open_store()
    record = exporting.choose(store, arguments.reference)
    result = exporting.export(store, record, Path(arguments.to), arguments.format)
    if arguments.json:
        _print_json(result)
        return DONE
    parity = result["parity"]
    print(f"{result['trial']} -> {result['bundle']}")
    print(
        f"test loss {result['test_loss']:.4f} nats, {bits(result['test_loss']):.4f} bits a symbol"
    )
    print(
        f"a clean process with plain {'Keras' if result['format'] == 'keras' else 'TensorFlow'} "
        f"predicts the same on {parity['windows']} windows "
        f"(largest difference {parity['max_difference']:.2g})"
    )
    return DONE


def ui(arguments: Namespace) -> int:
    """Serve the MLflow UI until interrupted."""
    from search.browse import serve

    return serve(_open_store(), arguments.port, as_json=arguments.json)


def size(arguments: Namespace) -> int:
    """Say what the size rule thinks of the networks of a space."""
    from search.sweep import check_space

    if arguments.data is None:
        print("lstm-sweep size: --data is missing: expected a path or a sample", file=sys.stderr)
        return BAD_INPUT
    spec = _spec(arguments)
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
    axes = [spec.space[field].values() or [] for field in SIZE_FIELDS]
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
