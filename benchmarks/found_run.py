"""What a search or an oracle has left in the store of its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from pathlib import Path

from benchmarks.contest_records import Event
from benchmarks.contestants import our_events, runs_in
from benchmarks.oracle_records import ORACLE, Run, improvements
from lstm_sweep.models.config import FIELDS
from lstm_sweep.search.store.tags import Tag, Tags, scoring_of
from lstm_sweep.search.sweep.time_spent import stored_time
from lstm_sweep.search.trial import Outcome, Phase


def found_run(
    kind: str, seed: int, minutes: float, workers: int, settings: str, folder: Path, began: float
) -> Run | None:
    """What a run has left in the store of its folder; None if there is no loss."""
    events = our_events(folder, began)
    begin = min((e.seconds for e in events), default=0.0) if kind == ORACLE else 0.0
    in_time = [e for e in events if e.seconds - begin <= 60 * minutes]
    scored = [e for e in in_time if e.val_loss is not None]
    if not scored:
        return None
    tags = [Tags(run) for run in runs_in(folder)]
    own = own_of(tags)
    best: Event = min(scored, key=lambda event: event.val_loss or 0.0)
    return Run(
        kind=kind,
        seed=seed,
        corpus=own.text(Tag.CORPUS_DIGEST),
        minutes=minutes,
        workers=workers,
        settings=settings,
        rounds_per_epoch=max(one.whole(Tag.ROUNDS_PER_EPOCH, 1, default=1) for one in tags),
        targets=scoring_of(own).targets,
        adjacent=scoring_of(own).adjacent,
        config={name: best.config[name] for name in FIELDS if name in best.config},
        improvements=improvements(scored, begin),
        judged=judged(tags, {e.trial for e in scored}),
        spent=spent_by(own),
    )


def own_of(tags: Iterable[Tags]) -> Tags:
    """Those of the run of the sweep, in a store with one sweep."""
    [own] = [found for found in tags if found.get(Tag.ROLE) == "sweep"]
    return own


def spent_by(own: Tags) -> dict[str, float | None]:
    """Seconds on slots, by what they were for; empty if the sweep has not said it."""
    spent = stored_time(own)
    return spent.to_dict() if spent else {}


def judged(tags: Iterable[Tags], scored: Container[str]) -> dict[str, int]:
    """How many trials there were by phase, and how many of the search have diverged.

    Those count that were `scored`, by their numbers, and those that have diverged before. Of each
    trial the last attempt counts.
    """
    counts = Counter({phase.value: 0 for phase in (Phase.LADDER, Phase.SEARCH, Phase.CONFIRM)})
    seen = dict[str, tuple[str, bool]]()
    for one in sorted(tags, key=lambda one: one.whole(Tag.ATTEMPT, 0, default=0)):
        if Tag.TRIAL in one:
            diverged = one.get(Tag.OUTCOME) == Outcome.DIVERGED
            if diverged or one.text(Tag.TRIAL) in scored:
                seen[one.text(Tag.TRIAL)] = (one.text(Tag.PHASE), diverged)
    for phase, diverged in seen.values():
        counts[phase] += 1
        counts["diverged"] += diverged and phase == Phase.SEARCH
    return dict(counts)
