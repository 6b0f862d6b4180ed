"""Whether a sweep that has ended can be continued, and how."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.search.policy.stop_reason import DONE, StopReason
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag

#: limits after which a sweep can continue
LIMITS = (StopReason.TRIALS, StopReason.MINUTES, StopReason.PATIENCE, StopReason.SPACE)


def resuming(name: str, more: str = "") -> str:
    """The command that continues a sweep; `more` is an option with a larger limit."""
    if more:
        return f"lstm-sweep resume {name} {more} goes on with more of them"
    return f"lstm-sweep resume {name} goes on with it"


def how_to_go_on(name: str, tags: Mapping[str, str]) -> str:
    """What continues an ended sweep with these tags."""
    if tags[Tag.STATE] != "finished":
        return resuming(name)
    match _limit(tags):
        case StopReason.MINUTES:
            return resuming(name, "--minutes M")
        case StopReason.PATIENCE:
            return "a new sweep with more --patience searches longer"
        case StopReason.SPACE:
            return "a new sweep with a wider space has more to try"
        case _:
            return resuming(name, "--trials N")


def spent(tags: Mapping[str, str], was: SweepSpec, spec: SweepSpec) -> str:
    """The limit that ended a finished sweep, if `spec` does not raise it; else ""."""
    if tags[Tag.STATE] != "finished":
        return ""
    sentence, limit = tags.get(Tag.REASON, DONE.text), _limit(tags)
    if limit is StopReason.SPACE:
        return f"the whole space ({sentence})"
    before, now = getattr(was, limit), getattr(spec, limit)
    if raised(before, now):
        return ""
    return f"--{limit} {before or 0:g} ({sentence})"


def raised(before: float | None, now: float | None) -> bool:
    """Whether a limit is wider than it was; None is no limit."""
    return before is not None and (now is None or now > before)


def _limit(tags: Mapping[str, str]) -> StopReason:
    """The limit that ended a finished sweep."""
    return next((one for one in LIMITS if one == tags.get(Tag.STOP_REASON)), StopReason.TRIALS)
