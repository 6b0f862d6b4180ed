"""Reads the best trials of the newest sweeps of a store on a corpus, for one that begins."""

from __future__ import annotations

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.prior import MOST, EarlierBest
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.run_kind import CORPUS, run_kind
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store

#: sweeps that are looked at, the newest, and trials of each, those with the lowest losses
MOST_SWEEPS, MOST_TRIALS = 20, 20


def earlier_best(store: Store, corpus_digest: str) -> tuple[EarlierBest, ...]:
    """The best trials of the newest sweeps on a corpus, no config twice.

    Runs that cannot be read are left out.
    """
    found: dict[TrialConfig, EarlierBest] = {}
    own = {Tag.ROLE: "sweep", Tag.CORPUS_DIGEST: corpus_digest}
    for tags in map(Tags, store.runs(own, newest=MOST_SWEEPS)):
        if run_kind(tags) is not CORPUS:
            continue
        children = store.lowest_runs({Tag.PARENT: tags.run_id}, "best_val_loss", MOST_TRIALS)
        trained = [one for one in children if one.data.tags.get(Tag.PHASE) in archive.TRAINED]
        records = [record for _, record in archive.readable_trials(trained)]
        if best := next(iter(archive.ranked(records)), None):
            config = as_lstm_config(best.trial.config)
            found.setdefault(config, EarlierBest(best.trial.id, config))
        if len(found) == MOST:
            break
    return tuple(found.values())
