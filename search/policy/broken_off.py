"""`BrokenOff`: the trials of a sweep that was broken off, as they were then."""

from __future__ import annotations

from collections.abc import Sequence

from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Phase, Trial


class BrokenOff:
    """Trials that had ended, were under way, or had no slot."""

    def __init__(
        self,
        all_progress: Sequence[TrialProgress],
        waiting: Sequence[Trial],
        paused: Sequence[TrialProgress],
    ) -> None:
        """`all_progress` are attempts that have ended, in order of their ends.

        `waiting` are trials that were under way, and `paused` those that had no slot.
        """
        last = {progress.trial.number: progress for progress in all_progress}
        #: the last attempt of each trial of which one has ended, in order of their ends
        self.last = [one for one in all_progress if one is last[one.trial.number]]
        trials = [*(progress.trial for progress in (*self.last, *paused)), *waiting]
        searched = max((t.number for t in trials if t.phase is not Phase.CONFIRM), default=-1)
        again = {trial.number for trial in trials if trial.phase is Phase.CONFIRM}
        confirming = {number for number in again if number > searched}
        #: the first trial that confirms a config since the search has ended; None: it goes on
        self.first_again = min(confirming, default=None)
        #: numbers of those that have not ended for good
        self.under_way = {trial.number for trial in (*waiting, *(one.trial for one in paused))}
        known = last | {progress.trial.number: progress for progress in paused}
        #: those of which anything is known, by number: up to the end of the search, and since then
        self.begun = [known[number] for number in sorted(known.keys() - confirming)]
        self.further = [known[number] for number in sorted(known.keys() & confirming)]
