"""Which trials are paused since another sweep needs their slots."""

from __future__ import annotations

from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.values.trial import Paused, RoundDone, Trial

#: seconds for which a trial keeps a slot that another sweep needs, if no checkpoint is written
#: meanwhile; twice as many each time that it had to go without one
KEEPS_S = 1_800.0


class Preemption:
    """Lets trials of one sweep wait while there are more than it may have slots.

    A trial gives its slot up as soon as it has a checkpoint of the round that it was in, so it goes
    on where it was. Without that, one whose start and round take longer than others let it have a
    slot would begin the same round again and again. One whose round takes longer than `KEEPS_S` is
    paused within it, and keeps its slot for twice as long the next time: so each gets on, and
    others wait at most twice as long as it takes to begin and to finish a round. A trial that runs
    code of the user has no checkpoint: it keeps its slot until it ends.
    """

    def __init__(self, engine: Engine, *, user_code: bool = False) -> None:
        self._engine, self._user_code = engine, user_code
        #: since when there are too many trials, in seconds of the driver's clock
        self._since: float | None = None
        #: for how long each trial keeps its slot that had to wait without a checkpoint
        self._keeps_s: dict[int, float] = {}

    def receive(self, progress: Trial, done: RoundDone, state: SweepState) -> None:
        """Let a trial wait that has just finished a round, if its slot is needed."""
        may = done.saved and not progress.last and not self._user_code
        if may and not state.closing and self._engine.surplus():
            self._preempt(progress)

    def look(self, state: SweepState) -> None:
        """Let trials wait that have kept their slots for too long, the last that began first."""
        surplus = 0 if state.closing or self._user_code else self._engine.surplus()
        if not surplus:
            self._since = None
            return
        self._since = state.now if self._since is None else self._since
        kept = state.now - self._since
        late = [
            one for one in state.running.values() if kept > self._keeps_s.get(one.number, KEEPS_S)
        ]
        for progress in sorted(late, key=lambda one: -one.stretch_began)[:surplus]:
            number = progress.number
            self._keeps_s[number] = 2 * self._keeps_s.get(number, KEEPS_S)
            self._preempt(progress)

    def _preempt(self, progress: Trial) -> None:
        epoch = progress.epoch_text(len(progress.rounds))
        waits = Paused(f"at epoch {epoch}: makes room", preempted=True)
        self._engine.stop(progress.slot, waits)
