"""Sweeps that begin with what a network has learnt of sequences without classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lstm_sweep.models.data import labelled
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.export import choose
from lstm_sweep.search.actions.references import AHEAD, existing_store
from lstm_sweep.search.driver.corpus_task import CorpusTask, kept_network
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.process.files import keep, kept_folder
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.values.options import CLASSES, CORPUS
from lstm_sweep.search.values.spec import OFF, UNLABELLED_SHARE, SweepSpec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space

#: shares of the unlabelled sequences on which the networks that learn them are scored, and tested
VALIDATION, TEST = 0.05, 0.01
#: fewest of them, symbols that the networks read at once, and seed by which sequences are put in
#: order
FEWEST, LENGTH, SEED = 10, 40, 0
#: what varies among networks that learn unlabelled sequences, unless it is said of the others
SPACE = {
    "direction": Listed("direction", ("uni",)),
    "learning_rate": Listed("learning_rate", (1e-3, 1e-2)),
    "layers": Listed("layers", (1,)),
    "layer_size": Listed("layer_size", (64, 128)),
    "embedding_size": Listed("embedding_size", (32, 64)),
    "sequence_length": Listed("sequence_length", (LENGTH,)),
    "batch_size": Listed("batch_size", (32, 64)),
}
#: of what is said of the others, what holds for these, too
SHARED = ("layers", "layer_size", "embedding_size")


def with_network(settings: Settings, spec: SweepSpec, name: str | None) -> SweepSpec:
    """The spec with a folder in place of the sweep or trial that its trials are to begin with.

    If that came ahead of the sweep `name` and has no network, they begin at random.
    """
    given = spec.pretrained
    if given is None or Path(given).is_absolute():
        return spec
    came_ahead = given == f"{name}{AHEAD}"
    try:
        store = existing_store(f"pretrained '{given}'", settings)
        record = choose(store, given)
    except InputError:
        if came_ahead:
            return replace(spec, pretrained=None)
        raise
    if task_kind_of_run(record.tags) is not CorpusTask:
        raise InputError(
            f"pretrained {given}: {record.id} does not predict symbols, expected a trial of a "
            f"sweep with --task symbols, or a bundle of one"
        )
    if came_ahead:  # the words are those that it has learnt
        spec = replace(spec, vocabulary=None)
    return replace(spec, pretrained=str(kept_network(store, record)))


def _is_wanted(spec: SweepSpec) -> bool:
    """Whether a sweep comes ahead: where nothing is said, if that is possible."""
    if spec.kind != CLASSES or spec.unlabelled == OFF:
        return False
    has_lines = spec.source().has_lines
    if spec.unlabelled is None and (spec.pretrained or spec.minutes is None or has_lines):
        return False
    if spec.pretrained is not None:
        raise InputError("unlabelled is given with pretrained: expected one of them")
    if spec.minutes is None:
        raise InputError("unlabelled is given without minutes: expected them, to take a share")
    if has_lines:
        raise InputError(
            "unlabelled is given with symbols lines: expected a sweep over that log with --task "
            "symbols, and its name with --pretrained"
        )
    return True


def first_of(spec: SweepSpec) -> tuple[SweepSpec, str] | None:
    """The sweep over training sequences, and others without classes, that comes ahead of a sweep.

    With it a line that says of which sequences; None if none is wanted.
    """
    if not _is_wanted(spec):
        return None
    given = spec.unlabelled
    symbols, known, texts, left_out = labelled.plain_texts(spec.source(), given)
    if given is None:
        known, texts = [], known
    order = np.random.default_rng(SEED).permutation(len(texts)).tolist()
    sizes = [len(texts[one]) if symbols == "chars" else texts[one].count(" ") + 1 for one in order]
    total, ends = np.cumsum(sizes), [0]
    for share in (TEST, VALIDATION):  # each has some windows
        enough = np.searchsorted(total, int(sum(sizes[: ends[-1]])) + LENGTH, side="right") + 1
        ends.append(max(int(enough), ends[-1] + round(share * len(texts))))
    if len(texts) < FEWEST or ends[-1] > len(texts):
        if given is None:
            return None
        raise InputError(
            f"unlabelled {given}: found {len(texts):,} sequences, {sum(sizes):,} symbols, that "
            f"validation and test data lack, expected at least {FEWEST}, and some hundred symbols"
        )
    parts = {
        "test": [texts[one] for one in order[: ends[1]]],
        "validation": [texts[one] for one in order[ends[1] : ends[2]]],
        "train": known + [texts[one] for one in order[ends[2] :]],
    }
    with kept_folder() as (kept, scratch):
        made = scratch / "data"
        for part, lines in parts.items():
            (made / part).mkdir(parents=True)
            (made / part / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        data = keep(made, kept, Path(given or spec.data).name)
    own = [
        field
        for field in SHARED
        if all(spec.space[field] != of[field] for of in presets.CLASS_SPACES.values())
    ]
    said = f"unlabelled: {len(texts):,} sequences of {given} are learnt first"
    if given is None:
        said = (
            f"what follows in the {len(texts):,} training sequences is learnt first, in "
            f"{UNLABELLED_SHARE:.0%} of the time; --unlabelled {OFF} leaves that out"
        )
    if left_out:
        said += f"; {left_out:,} are left out, since validation or test data have them, too"
    return SweepSpec(
        data=str(data),
        task=CORPUS,
        symbols=symbols,
        vocabulary=spec.vocabulary,
        lower_case=spec.lower_case,
        ends=False,
        name=spec.name and f"{spec.name}{AHEAD}",
        space=Space({**SPACE, **{field: spec.space[field] for field in own}}),
        trials=spec.trials,
        minutes=UNLABELLED_SHARE * (spec.minutes or 0),
        workers=spec.workers,
        per_gpu=spec.per_gpu,
        on=spec.on,
        seed=spec.seed,
        size_rule="off",
        confirm_configs=0,
    ), said  # fmt: skip


def second_of(spec: SweepSpec, first: SweepSpec) -> SweepSpec:
    """What comes after that, in the time that is left, and begins with what that has learnt."""
    assert spec.minutes and first.minutes
    minutes = spec.minutes - first.minutes
    return replace(spec, minutes=minutes, unlabelled=OFF, pretrained=first.name)
