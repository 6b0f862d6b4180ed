"""The best trials of the newest sweeps of a store on a corpus, for one that begins."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.prior import MOST, EarlierBest
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.reader import CORPUS, run_kind
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store

#: what the tag holds, for people
EXPECTED = "trials with their configs, as `launch` has written them"


def prior_tag(prior: Sequence[EarlierBest]) -> dict[str, str]:
    """The tag; none if there is nothing to begin with."""
    if not prior:
        return {}
    written = [[one.trial, one.config.to_dict()] for one in prior]
    return {Tag.PRIOR: json.dumps(written, separators=(",", ":"))}


def read_prior(tags: Tags) -> tuple[EarlierBest, ...]:
    """With what a sweep was begun.

    Raises:
        BadRunError: the tag holds something else.
    """
    if Tag.PRIOR not in tags:
        return ()
    written = tags.json(Tag.PRIOR, list)
    if len(written) > MOST:
        raise tags.bad(Tag.PRIOR, EXPECTED)
    return tuple(_read(tags, one) for one in written)


def _read(tags: Tags, written: object) -> EarlierBest:
    if not (isinstance(written, list) and list(map(type, written)) == [str, dict]):
        raise tags.bad(Tag.PRIOR, EXPECTED)
    trial, values = written
    try:
        return EarlierBest(trial, TrialConfig.from_dict(values))
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.PRIOR}: {error}") from None


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
        trained = [one for one in children if one.data.tags.get(Tag.PHASE) in reader.TRAINED]
        records = reader.readable_trials(trained)
        if best := next(iter(reader.ranked(records)), None):
            config = as_lstm_config(best.trial.config)
            found.setdefault(config, EarlierBest(best.trial.id, config))
        if len(found) == MOST:
            break
    return tuple(found.values())
