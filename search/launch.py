"""`launch`: what the command line asks becomes a sweep, and its end a table and the next steps."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from models import corpus as corpora
from models.corpus import Corpus
from models.errors import InputError
from models.scoring import bits
from search import settings
from search.display import Lines, LiveTable, duration, open_console, trials_table
from search.exits import DONE, FAILED, INTERRUPTED
from search.spec import SweepSpec, read_spec
from search.state import State

if TYPE_CHECKING:
    from search.tracking import Store

OPTIONS = (
    "data", "symbols", "name", "trials", "minutes", "workers", "per_gpu", "on", "space", "algo",
    "ladder", "halving", "early_stopping", "patience", "confirm_configs",
    "confirm_seeds", "seed", "size_rule", "targets", "keep",
)  # fmt: skip


def spec_of(arguments: Namespace) -> SweepSpec:
    """The spec that the options of `launch` and `size` describe."""
    changes = {name: getattr(arguments, name, None) for name in OPTIONS}
    given = {name: value for name, value in changes.items() if value is not None}
    extra = [f"epochs={arguments.epochs}"] if getattr(arguments, "epochs", None) is not None else []
    file = getattr(arguments, "spec", None)
    return read_spec(Path(file) if file else None, given, [*arguments.settings, *extra])


def launch(arguments: Namespace) -> int:
    """Run a sweep."""
    from search import journal
    from search.engines import open_engine
    from search.sweep import Sweep, check_budget, check_space

    spec = spec_of(arguments)
    where = settings.load(Path.cwd())
    talk = Console(stderr=True, highlight=False) if arguments.json else open_console()
    check_budget(spec)
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
        except KeyboardInterrupt as interrupt:
            code = getattr(interrupt, "code", INTERRUPTED)
    if arguments.json:
        print(json.dumps(sweep.state.to_dict(), ensure_ascii=False, allow_nan=False))
    else:
        with contextlib.suppress(SystemExit):  # what Rich makes of a pipe that nobody reads
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
    confirmed = state.policy.confirmation.results() if state.policy else []
    if confirmed:
        console.print("trained again:")
    for one in confirmed:
        console.print(f"  {one}")
    console.print(f"ended after {duration(state.seconds)}: {state.ending}")
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
