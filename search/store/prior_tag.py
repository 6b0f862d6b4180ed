"""With which earlier configs a sweep was begun, as a tag of its run: `resume` knows the same."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.prior import MOST, EarlierBest
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags

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
