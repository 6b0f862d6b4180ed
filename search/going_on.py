"""Whether a sweep that has ended can go on, and what to type for that."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from search.spec import SweepSpec


def how_to_go_on(name: str, tags: Mapping[str, str]) -> str:
    """What to type so that a sweep with these tags, which has ended, goes on."""
    if tags["sweep.state"] != "finished":
        return f"lstm-sweep resume {name} goes on with it"
    return {
        "trials": f"lstm-sweep resume {name} --trials N goes on with more of them",
        "minutes": f"lstm-sweep resume {name} --minutes M goes on with more of them",
        "patience": "a new sweep with more --patience searches longer",
        "space": "a new sweep with a wider space has more to try",
    }[_limit(tags)]


def _limit(tags: Mapping[str, str]) -> str:
    """What there would have to be more of for a finished sweep; only the first two may change."""
    reason = tags.get("sweep.reason", "")
    limits = (
        ("minutes", "minutes are over|s are left"),
        ("patience", "no better for"),
        ("space", "configs of the space"),
    )
    return next((limit for limit, words in limits if re.search(words, reason)), "trials")


def spent(tags: Mapping[str, str], was: SweepSpec, spec: SweepSpec) -> str:
    """What a finished sweep has spent, if `spec` gives it no more of that; else nothing."""
    if tags["sweep.state"] != "finished":
        return ""
    reason, limit = tags.get("sweep.reason", "the budget is spent"), _limit(tags)
    if limit == "space":
        return f"the whole space ({reason})"
    before, now = getattr(was, limit), getattr(spec, limit)
    if (now or math.inf) > (before or math.inf):
        return ""
    return f"--{limit} {before or 0:g} ({reason})"
