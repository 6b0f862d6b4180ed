"""Whether a sweep that has ended can be continued, and how."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.models.wording import Wording, option, worded
from lstm_sweep.search.policy.stop_reason import DONE, StopReason
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.tags import Tag

#: limits after which a sweep can continue
LIMITS = (StopReason.TRIALS, StopReason.MINUTES, StopReason.PATIENCE, StopReason.SPACE)


def resuming(name: str, option: str = "", number: str = "") -> Wording:
    """The call, or command, that continues a sweep, with another value of an option."""
    given = f"{option}={number}" if option else ""
    typed = f" --{option} {number}" if option else ""
    return worded(
        Wording(f"lstm_sweep.sweep('{name}').resume({given})", f"lstm-sweep resume {name}{typed}"),
        " goes on with more of them" if option else " goes on with it",
    )


def how_to_go_on(name: str, tags: Mapping[str, str]) -> Wording:
    """What continues an ended sweep with these tags."""
    if tags[Tag.STATE] != "finished":
        return resuming(name)
    match _limit(tags):
        case StopReason.MINUTES:
            return resuming(name, "minutes", "M")
        case StopReason.PATIENCE:
            return worded("a new sweep with more ", option("patience"), " searches longer")
        case StopReason.SPACE:
            return Wording("a new sweep with a wider space has more to try")
        case _:
            return resuming(name, "trials", "N")


def spent(tags: Mapping[str, str], was: SweepSpec, spec: SweepSpec) -> Wording:
    """The limit that ended a finished sweep, if `spec` does not raise it; else ""."""
    if tags[Tag.STATE] != "finished":
        return Wording("")
    sentence, limit = tags.get(Tag.REASON, DONE.text), _limit(tags)
    if limit is StopReason.SPACE:
        return Wording(f"the whole space ({sentence})")
    before, now = getattr(was, limit), getattr(spec, limit)
    if raised(before, now):
        return Wording("")
    number = f"{before or 0:g}"
    return worded(Wording(f"{limit}={number}", f"--{limit} {number}"), f" ({sentence})")


def raised(before: float | None, now: float | None) -> bool:
    """Whether a limit is wider than it was; None is no limit."""
    return before is not None and (now is None or now > before)


def _limit(tags: Mapping[str, str]) -> StopReason:
    """The limit that ended a finished sweep."""
    return next((one for one in LIMITS if one == tags.get(Tag.STOP_REASON)), StopReason.TRIALS)
