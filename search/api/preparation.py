"""What happens before a sweep begins: its name, its slots, and what people should know of it."""

from __future__ import annotations

import itertools
from pathlib import Path

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.api.errors import SweepExistsError
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.engines.local import cores, find_gpus
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.gpu_sharing import pack
from lstm_sweep.search.sweep.preflight import check_space
from lstm_sweep.search.sweep.task import task_of
from lstm_sweep.spaces.template.config import shown_label


def engine_of(spec: SweepSpec, per_gpu: int | None = None) -> Engine:
    """The engine of a spec; `per_gpu` trials share a GPU, or as many as the spec says, or one."""
    stated = spec.per_gpu if isinstance(spec.per_gpu, int) else 1
    return open_engine(spec.on, workers=spec.workers, per_gpu=per_gpu or stated)


def sharing(spec: SweepSpec, corpus: Corpus | None, engine: Engine) -> tuple[int, list[str]]:
    """How many trials are to share a GPU; if that is measured, which `engine` does, also why."""
    if isinstance(spec.per_gpu, int):
        return spec.per_gpu, []
    count, why = pack(spec, task_of(spec, corpus), engine, len(cores()))
    return count, [why]


def check_free(store: Store, name: str) -> None:
    """Refuse a name that a sweep of the store has.

    Raises:
        SweepExistsError: one has it.
    """
    run = archive.find_sweep(store, name)
    if run is None:
        return
    state = run.data.tags.get(Tag.STATE, "")
    advice = {
        "finished": f"lstm-sweep trials {name} lists its trials",
        "running": f"lstm-sweep stop {name} ends it, lstm-sweep resume {name} goes on with it",
    }.get(state, f"lstm-sweep resume {name} goes on with it")
    raise SweepExistsError(
        f"sweep '{name}' exists in {store.settings}, it is {state}: expected a new --name; {advice}"
    )


def free_name(store: Store, data: str) -> str:
    """The name of the data with the first number that no sweep of the store has."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    taken = {run.data.tags[Tag.NAME] for run in archive.sweeps(store)}
    return next(
        name for number in itertools.count(1) if (name := f"{stem[:80]}-{number}") not in taken
    )


def budget(spec: SweepSpec, name: str, slots: int) -> str:
    """How much a sweep may take, in a line."""
    budget = f"{spec.trials} trials"
    if spec.minutes is not None:
        budget += f" or {spec.minutes:g} minutes"
    return f"sweep {name}: up to {budget}, {slots} at once, {spec.algo}, seed {spec.seed}"


def about(spec: SweepSpec, corpus: Corpus | None) -> list[str]:
    """What people should know of a corpus, or of a template.

    Raises:
        InputError: space and corpus do not fit.
    """
    if corpus is None:
        return _about_template(spec)
    parts = ", ".join(f"{split} {len(part):,}" for split, part in corpus.splits().items())
    unknown = corpus.unknown_share(corpus.validation)
    passed = check_space(spec, corpus)
    return [
        f"corpus: {corpus.decided}",
        f"corpus: {parts} symbols, alphabet {len(corpus.alphabet)}"
        + (f", {unknown:.2%} of validation unknown in training" if unknown else ""),
        f"size rule ({spec.size_rule}): {passed:.0%} of draws pass",
        f"scoring: {min(spec.scoring().targets, len(corpus.validation)):,} validation targets",
    ]


def _about_template(spec: SweepSpec) -> list[str]:
    template = spec.template
    assert template
    slow = template.gpu_notes if find_gpus() else ()
    varying = ", ".join(map(shown_label, spec.space.varying))
    return [
        f"template: {template.path}, which runs with your rights",
        f"template: searched are {varying}",
        *(f"template: {note}" for note in (*template.notes, *slow)),
    ]
