"""What a sweep was begun with, as a tag of its run: a resume then knows no more, and no less."""

from __future__ import annotations

import json

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.policy.experience import (
    HIGHEST,
    LOWEST,
    MOST_OPENINGS,
    NO_EXPERIENCE,
    SLOWEST,
    Experience,
    Opening,
)
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags, is_finite

#: what the tag holds, for people
EXPECTED = "openings and a pace as `launch` has written them"


def experience_tags(experience: Experience) -> dict[str, str]:
    """The tag; none if there is no experience."""
    if experience == NO_EXPERIENCE:
        return {}
    written = {
        "first": [[one.multiple, one.config.to_dict()] for one in experience.first],
        "later": [[one.multiple, one.config.to_dict()] for one in experience.later],
        "pace": experience.pace,
    }
    return {Tag.EXPERIENCE: json.dumps(written, separators=(",", ":"))}


def read_experience(tags: Tags) -> Experience:
    """What a sweep was begun with; nothing if its version did not say.

    Raises:
        BadRunError: the tag holds something else.
    """
    if Tag.EXPERIENCE not in tags:
        return NO_EXPERIENCE
    written = tags.json(Tag.EXPERIENCE, dict)
    pace = written.get("pace")
    if not (is_finite(pace) and 1 / SLOWEST <= pace <= SLOWEST):
        raise tags.bad(Tag.EXPERIENCE, EXPECTED)
    first, later = (_openings(tags, written.get(name)) for name in ("first", "later"))
    return Experience(first, later, float(pace))


def _openings(tags: Tags, written: object) -> tuple[Opening, ...]:
    if not isinstance(written, list) or len(written) > MOST_OPENINGS:
        raise tags.bad(Tag.EXPERIENCE, EXPECTED)
    return tuple(_opening(tags, one) for one in written)


def _opening(tags: Tags, written: object) -> Opening:
    if not (isinstance(written, list) and len(written) == 2 and isinstance(written[1], dict)):
        raise tags.bad(Tag.EXPERIENCE, EXPECTED)
    multiple, values = written
    if not (is_finite(multiple) and LOWEST <= multiple <= HIGHEST):
        raise tags.bad(Tag.EXPERIENCE, EXPECTED)
    try:
        return Opening(TrialConfig.from_dict(values), float(multiple))
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.EXPERIENCE}: {error}") from None
