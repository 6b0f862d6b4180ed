"""Where the time of a sweep went: what its slots were used for. No input or output, and no clock.

All numbers were measured; nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from lstm_sweep.models.strict_json import json_text
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store.tags import Tag, Tags, is_finite
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.trial import Outcome, Phase

#: the shares in the order in which they are shown, and what people are told
SHARES = {
    "ladder": "ladder",
    "best": "the best trial",
    "cut_short": "trials cut short",
    "beaten": "other trials run to their end",
    "confirmation": "confirmation",
    "failures": "failures",
    "idle": "idle",
}


@dataclass(frozen=True, kw_only=True)
class TimeSpent:
    """Seconds of all slots of a sweep together, and what they were used for.

    Each attempt of a trial belongs to one share; all shares add up to `slot_seconds`.
    """

    #: seconds for which there were slots, all slots together
    slot_seconds: float = 0.0
    #: attempts of the ladder, also those that have diverged
    ladder: float = 0.0
    #: all attempts of the best trial, which may run still
    best: float = 0.0
    #: trials of the search that were pruned or stopped
    cut_short: float = 0.0
    #: trials of the search that came to their end, but are not the best
    beaten: float = 0.0
    #: trials that train the best configs again
    confirmation: float = 0.0
    #: attempts that have diverged, run out of memory, hung, failed or were lost
    failures: float = 0.0
    #: slots without a trial
    idle: float = 0.0
    #: of all these, scoring after rounds; None if it was not measured for each round
    scoring: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """The times as `launch --json` prints them."""
        found: dict[str, float | None] = asdict(self)
        return {
            name: None if seconds is None else round(seconds, 3) for name, seconds in found.items()
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self | None:
        """Times that `to_dict` has written; None if they are not as they should be."""
        values: dict[str, Any] = {field.name: given.get(field.name) for field in fields(cls)}
        known = [values[name] for name in values if (name, values[name]) != ("scoring", None)]
        if not all(is_finite(seconds) and seconds >= 0 for seconds in known):
            return None
        return cls(**values)

    def __str__(self) -> str:
        """The shares in per cent, without those that are none; empty if no time has passed."""
        percent = {name: self._percent(getattr(self, name)) for name in SHARES}
        parts = [f"{percent[name]} % {words}" for name, words in SHARES.items() if percent[name]]
        if not parts:
            return ""
        scoring = self._percent(self.scoring or 0.0)
        return ", ".join(parts) + (f" (of all, {scoring} % scoring)" if scoring else "")

    def _percent(self, seconds: float) -> int:
        return round(100 * seconds / self.slot_seconds) if self.slot_seconds else 0


def time_spent(state: SweepState) -> TimeSpent:
    """Where the time of a sweep went so far."""
    attempts = [*state.unfinished, *state.finished, *state.under_way]
    leader = None if state.left_open else state.leader
    best = leader[0] if leader else state.best
    timed = [(one, one.seconds if one.ended else one.seconds_by(state.now)) for one in attempts]
    spent = shares(timed, best.trial.number if best else None)
    used = sum(spent.values())
    # attempts of an earlier driver are timed by the store, which may differ a little
    slot_seconds = max(state.slot_seconds, used)
    spent["idle"] = slot_seconds - used
    return TimeSpent(slot_seconds=slot_seconds, scoring=_scoring(attempts), **spent)


def shares(attempts: Sequence[tuple[TrialProgress, float]], best: int | None) -> dict[str, float]:
    """Seconds by what they were used for; each attempt with those for which it had a slot.

    `best` is the number of the best trial.
    """
    spent = dict.fromkeys(SHARES, 0.0)
    in_order = sorted(attempts, key=lambda one: one[0].trial.attempt)
    last = {one.trial.number: one for one, _ in in_order}
    for one, seconds in attempts:
        spent[_share(one, last[one.trial.number], best)] += seconds
    return spent


def _share(attempt: TrialProgress, last: TrialProgress, best: int | None) -> str:
    """The share that an attempt belongs to; `last` is the last attempt of its trial.

    An unfinished attempt, with which the next one went on, belongs to the share of its trial.
    """
    trial = attempt.trial
    if trial.number == best:
        return "best"
    ended = last.ended if attempt.ended and attempt.ended.unfinished else attempt.ended
    outcome = ended.outcome if ended and not ended.unfinished else None
    if trial.phase is Phase.LADDER and outcome in (None, Outcome.DIVERGED):
        return "ladder"  # it looks for the rate from which on trials diverge
    if outcome and not outcome.ranks:
        return "failures"
    phases = {Phase.LADDER: "ladder", Phase.CONFIRM: "confirmation"}
    return phases.get(trial.phase, "beaten" if outcome is Outcome.COMPLETE else "cut_short")


def _scoring(attempts: Iterable[TrialProgress]) -> float | None:
    """Seconds of scoring; None unless each round says its own.

    A round that a later attempt has from the checkpoint of an earlier one counts once.
    """
    known = set[tuple[int, int, float]]()
    for attempt in attempts:
        for number, metrics in enumerate(attempt.rounds):
            if "scoring_seconds" not in metrics:
                return None
            # to a millisecond, as it is stored
            known.add((attempt.trial.number, number, round(metrics["scoring_seconds"], 3)))
    return sum(seconds for _, _, seconds in known) if known else None


def tags_of(state: SweepState) -> dict[str, str]:
    """The tags that say where the time of a sweep went."""
    spent = time_spent(state)
    return {
        Tag.SLOT_SECONDS: f"{spent.slot_seconds:.3f}",
        Tag.TIME: json_text(spent.to_dict()),
    }


def stored_time(tags: Tags) -> TimeSpent | None:
    """Where the time of a sweep went when it was closed last; None if its version did not say.

    Raises:
        BadRunError: the tag holds something else.
    """
    if Tag.TIME not in tags:
        return None
    found = TimeSpent.from_dict(tags.json(Tag.TIME, dict))
    if found is None:
        raise tags.bad(Tag.TIME, "seconds of each share")
    return found
