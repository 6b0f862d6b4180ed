"""Whether a sweep that has ended can be continued, and by which command."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from lstm_sweep.search.policy.stop_reason import DONE, StopReason
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag

#: how to continue after each limit; only the first two limits can be raised
ADVICE = {
    StopReason.TRIALS: "lstm-sweep resume {name} --trials N goes on with more of them",
    StopReason.MINUTES: "lstm-sweep resume {name} --minutes M goes on with more of them",
    StopReason.PATIENCE: "a new sweep with more --patience searches longer",
    StopReason.SPACE: "a new sweep with a wider space has more to try",
}


def how_to_go_on(name: str, tags: Mapping[str, str]) -> str:
    """The command that continues an ended sweep with these tags."""
    if tags[Tag.STATE] != "finished":
        return f"lstm-sweep resume {name} goes on with it"
    return ADVICE[_limit(tags)].format(name=name)


def spent(tags: Mapping[str, str], was: SweepSpec, spec: SweepSpec) -> str:
    """The limit that ended a finished sweep, if `spec` does not raise it; else ""."""
    if tags[Tag.STATE] != "finished":
        return ""
    sentence, limit = tags.get(Tag.REASON, DONE.text), _limit(tags)
    if limit is StopReason.SPACE:
        return f"the whole space ({sentence})"
    before, now = getattr(was, limit), getattr(spec, limit)
    if (now or math.inf) > (before or math.inf):
        return ""
    return f"--{limit} {before or 0:g} ({sentence})"


def _limit(tags: Mapping[str, str]) -> StopReason:
    """The limit that ended a finished sweep."""
    reason = next((one for one in ADVICE if one == tags.get(Tag.STOP_REASON)), None)
    return reason or read_from_sentence(tags.get(Tag.REASON, ""))


def read_from_sentence(sentence: str) -> StopReason:
    """The limit from the sentence in `Tag.REASON`: earlier versions wrote nothing else."""
    limits = (
        (StopReason.MINUTES, "minutes are over|s are left"),
        (StopReason.PATIENCE, "no better for"),
        (StopReason.SPACE, "configs of the space"),
    )
    return next((limit for limit, words in limits if re.search(words, sentence)), StopReason.TRIALS)
