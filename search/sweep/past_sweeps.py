"""Reads what the newest sweeps of a store have found, for one that begins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy.cost import DataSize, pace
from lstm_sweep.search.policy.experience import PastSweep
from lstm_sweep.search.policy.past_sweep import Trained, past_sweep
from lstm_sweep.search.progress import comparable, round_seconds
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.run_kind import CORPUS, run_kind
from lstm_sweep.search.store.tags import Tag, Tags, scoring_of
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep.stored_curve import written_curve
from lstm_sweep.search.trial import Outcome, Phase

#: sweeps over corpora of a store that are looked at, the newest, and their runs that are read: the
#: newest of each, and of all together; a run takes 2 ms
MOST_SWEEPS, MOST_OF_SWEEP, MOST_RUNS = 20, 200, 400
#: runs of a ladder, and of baselines, that are read besides where a sweep has more
MOST_BESIDES = 20
#: trials of a search without which nothing is learned from it
FEWEST_TRIALS = 4
#: rounds of a trial that are looked at
MOST_ROUNDS = 1_000
#: outcomes that say nothing of a config
SAYS_NOTHING = ("", Outcome.LOST, Outcome.ERROR, Outcome.HUNG)


@dataclass(frozen=True)
class StoredPast:
    """What the newest sweeps of a store have found."""

    sweeps: tuple[PastSweep, ...]
    #: what rounds took on devices of the same kinds, as multiples of what `cost.PRIOR` predicts
    paces: tuple[float, ...]


@dataclass(frozen=True)
class _Known:
    """What is known of a trial; None: it says nothing of that."""

    phase: Phase
    trained: Trained | None
    pace: float | None


def read_past(store: Store, corpus_digest: str, kinds: Collection[str]) -> StoredPast:
    """What the newest sweeps of a store say to one on a corpus, on devices of these kinds.

    Those on the same corpus are read first. Runs that cannot be read are left out.
    """
    sweeps: list[PastSweep] = []
    paces: list[float] = []
    looked_at = map(Tags, store.runs({Tag.ROLE: "sweep"}, having=CORPUS.tag, newest=MOST_SWEEPS))
    newest = [tags for tags in looked_at if run_kind(tags) is CORPUS]
    left = MOST_RUNS
    for tags in sorted(newest, key=lambda tags: tags.get(Tag.CORPUS_DIGEST) != corpus_digest):
        if left <= 0:
            break
        children = _children(store, tags.run_id, min(MOST_OF_SWEEP, left))
        left -= len(children)
        trials = list(_readable(children, kinds))
        same = tags.get(Tag.CORPUS_DIGEST) == corpus_digest
        found = _past_sweep(trials, _unigram_loss(children), same_corpus=same)
        sweeps += [found] if found else []
        paces += [one.pace for one in trials if one.pace is not None]
    return StoredPast(tuple(sweeps), tuple(paces))


def _children(store: Store, run_id: str, most: int) -> list[Any]:
    """The newest runs of a sweep; if there are more, those of its ladder and baselines besides."""
    found = store.runs({Tag.PARENT: run_id}, newest=most)
    if len(found) == most:
        known = {run.info.run_id for run in found}
        for phase in (Phase.LADDER, Phase.BASELINE):
            tags = {Tag.PARENT: run_id, Tag.PHASE: str(phase)}
            first = store.runs(tags, newest=MOST_BESIDES)
            found += [run for run in first if run.info.run_id not in known]
    return found


def _past_sweep(
    trials: Sequence[_Known], untrained: float | None, *, same_corpus: bool
) -> PastSweep | None:
    """What the trials of a sweep say; None if they are too few."""
    by_phase = {
        phase: [one.trained for one in trials if one.phase is phase and one.trained]
        for phase in (Phase.LADDER, Phase.SEARCH)
    }
    searched, climbed = by_phase[Phase.SEARCH], by_phase[Phase.LADDER]
    if len(searched) < FEWEST_TRIALS:
        return None
    return past_sweep(searched, climbed, untrained, same_corpus=same_corpus)


def _readable(runs: Iterable[Any], kinds: Collection[str]) -> Iterable[_Known]:
    for run in runs:
        if not run.data.tags.get(Tag.CURVE) or run.data.tags.get(Tag.RERUN_OF):
            continue
        try:
            record = archive.read_trial(run)
            config = as_lstm_config(record.trial.config)
            rounds = written_curve(record)[:MOST_ROUNDS]
            curve = _best_so_far(record, rounds)
            yield _Known(
                record.trial.phase,
                None if curve is None else Trained(config, curve),
                _pace(run, record, config, rounds) if _device(record) in kinds else None,
            )
        except InputError:
            continue


def _best_so_far(record: TrialRecord, rounds: Iterable[dict[str, float]]) -> list[float] | None:
    """Lowest loss so far after each round; none if it has failed, None if that says nothing."""
    if record.outcome in SAYS_NOTHING:
        return None
    if not Outcome(record.outcome).ranks:
        return []
    losses = [comparable(one.get("val_loss")) for one in rounds]
    return list(itertools.accumulate((math.inf if x is None else x for x in losses), min)) or None


def _device(record: TrialRecord) -> str | None:
    return record.tags.get(Tag.DEVICE)


def _pace(
    run: Any, record: TrialRecord, config: TrialConfig, rounds: Iterable[dict[str, float]]
) -> float | None:
    """What the rounds of a trial took, as a multiple of what is predicted; None if unknown.

    How much there was to train and to score follows from what its run says of its network.
    """
    written = run.data.params.get("parameters_per_symbol", "")
    try:
        symbols = round(record.parameters / float(written))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    alphabet = _alphabet(config, record.parameters)
    if alphabet is None or symbols < 1:
        return None
    scoring = scoring_of(record.tags)
    size = DataSize(
        symbols,
        alphabet,
        scoring.targets,
        record.trial.rounds_per_epoch,
        adjacent=scoring.adjacent,
    )
    return pace(config, size, round_seconds(rounds))


def _alphabet(config: TrialConfig, count: int) -> int | None:
    """The codes of the alphabet with which a network has so many parameters; None: no number."""
    none, one = (parameters(config, size) for size in (0, 1))
    found, rest = divmod(count - none, one - none)
    return None if rest or found < 1 else found


def _unigram_loss(runs: Iterable[Any]) -> float | None:
    """Loss of the unigram baseline among the runs of a sweep, nats; None if it is not there."""
    for run in runs:
        if run.data.tags.get(Tag.BASELINE) == "unigram":
            try:
                return archive.read_baseline(run)[1]
            except InputError:
                return None
    return None
