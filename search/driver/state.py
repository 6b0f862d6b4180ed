"""A sweep as its driver holds it, what can happen to it, and who is shown that.

Each event makes the next state. Times are seconds of the sweep's clock.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from typing_extensions import override

from lstm_sweep.models.rounds import Progressed, RoundDone
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import (
    DONE,
    STATUSES,
    Stop,
    StopReason,
    Sweep,
    SweepStatus,
    in_order_of_outcomes,
)
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Slot, Trial

#: why a sweep ended that was interrupted, or that `stop` has ended
INTERRUPTED = Stop(StopReason.INTERRUPTED, "interrupted")
ON_REQUEST = Stop(StopReason.ASKED, "stopped on request")
PAUSED = Stop(StopReason.PAUSED, "paused on request")


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepState(Sweep):
    """A sweep as its driver knows it; each event below gives the next state."""

    spec: SweepSpec
    slots: tuple[Slot, ...]
    running: Mapping[Slot, Trial] = field(default_factory=dict)
    #: how many slots may be used at once, since other sweeps have the rest; None: all
    allowed: int | None = None
    deadline: float | None = None
    #: when the sweep is expected to end, in seconds of the driver's clock; None if nobody knows
    expected_end: float | None = None
    #: the last of `finished` of each trial, by number
    ends: Mapping[int, Trial] = field(default_factory=dict)
    #: trials that wait for their run: those to be tried again, and one that is new
    waiting: tuple[Trial, ...] = ()
    #: why the sweep was ended before it was done; None while it goes on
    closed: Stop | None = None
    #: whether the store did not answer at the end, so that runs may be open
    left_open: bool = False
    #: why the policy begins no more trials; None while it does
    search_ended: Stop | None = None
    #: what came of the ladder; None before the sweep's end, and if there was none
    ladder: dict[str, Any] | None = None

    @property
    def usable(self) -> int:
        """How many slots can be used at once, without those that other sweeps have."""
        if self.allowed is None:
            return len(self.slots)
        return min(len(self.slots), max(self.allowed, len(self.running)))

    @property
    def preempted(self) -> Iterator[Trial]:
        """Trials that wait since other sweeps needed their slots, the first first."""
        return (progress for progress in self.paused.values() if progress.preempted)

    @property
    def closing(self) -> str:
        return self.closed.text if self.closed else ""

    @property
    def stop(self) -> Stop:
        return self.closed or self.search_ended or DONE

    @property
    def status(self) -> SweepStatus:
        return STATUSES.get(self.stop.reason, SweepStatus.FINISHED)

    @property
    def ending(self) -> str:
        text = self.stop.text
        return f"failed: {text}" if self.status is SweepStatus.FAILED else text

    @property
    def broken_off(self) -> bool:
        """Whether trials under way are to go on when the sweep does."""
        return self.status is not SweepStatus.FINISHED

    def open_trial(self, number: int) -> Trial | None:
        running = (one for one in self.running.values() if one.number == number)
        return self.paused.get(number) or next(running, None)

    @property
    def going_on(self) -> set[str]:
        """Numbers of the trials that go on when the sweep does."""
        if not self.broken_off:
            return set()
        under_way = [*self.under_way, *filter(_may_go_on, self.finished)]
        trials = [*self.waiting, *under_way]
        return {str(trial.number) for trial in trials}

    def is_among_best(self, progress: Trial, count: int) -> bool:
        """Whether a trial that ends just now is one of the best so many."""
        if progress.ranked_loss is None:
            return False
        return bisect.bisect(self.ranked, rank(progress), key=rank) < count

    @property
    def trials_done(self) -> int:
        return len(self.ends) - len(self._open_again)

    @property
    @override
    def counts(self) -> dict[str, int]:
        """Trials that have ended for good, by outcome; of a paused sweep also those that wait."""
        found = Counter(one.outcome for one in self.final)
        if self.status is SweepStatus.PAUSED:
            found["paused"] = found.pop(Outcome.STOPPED, 0)
        return in_order_of_outcomes(found)

    def as_ended(self) -> SweepState:
        """The sweep with how it has ended, or would end now, and where its time went."""
        ended = replace(self, state=str(self.status), why=self.stop.text)
        return replace(ended, time=ended.time_spent)

    @property
    def final(self) -> list[Trial]:
        """Trials that have ended for good, in order of their ends; of each its last attempt."""
        again, ends = self._open_again, self.ends
        last = (c for c in self.finished if ends[c.number] is c)
        return [c for c in last if c.number not in again]

    @property
    def _open_again(self) -> set[int]:
        """Numbers of the trials of which an attempt has ended, and that are tried again."""
        waiting = {trial.number for trial in self.waiting}
        running = {progress.number for progress in self.running.values()}
        return (waiting | running | self.paused.keys()) & self.ends.keys()

    @property
    def seconds_left(self) -> float | None:
        """Time to the expected end, or to the deadline if that comes first; None if unknown."""
        ends = [end for end in (self.expected_end, self.deadline) if end is not None]
        return max(0.0, min(ends) - self.now) if ends else None


def rank(progress: Trial) -> tuple[float, int]:
    """By what trials are ordered, the best first; those without a loss last."""
    loss = progress.ranked_loss
    return math.inf if loss is None else loss, progress.number


def _may_go_on(progress: Trial) -> bool:
    """Whether an attempt that has ended was not its trial's last."""
    ended, phase = progress.ended, progress.phase
    return ended is not None and (ended.unfinished or ended.outcome.most_attempts(phase) > 1)


Key = TypeVar("Key")
More = ParamSpec("More")


def time_passed(state: SweepState, now: float) -> SweepState:
    passed = state.usable * (now - state.now)
    return replace(state, now=now, slot_seconds=state.slot_seconds + passed)


def slot_came(state: SweepState, slot: Slot) -> SweepState:
    assert slot not in state.slots, f"{slot} is there already"
    return replace(state, slots=(*state.slots, slot))


def slot_gone(state: SweepState, slot: Slot) -> SweepState:
    _check_free(state, slot)
    return replace(state, slots=tuple(other for other in state.slots if other != slot))


def trial_proposed(state: SweepState, trial: Trial) -> SweepState:
    number = trial.number
    waits = any(other.number == number for other in state.waiting)
    known = waits or number in state.ends or state.open_trial(number)
    assert not known, f"trial {number} is known already"
    return replace(state, waiting=(*state.waiting, trial))


def trial_started(state: SweepState, trial: Trial, slot: Slot) -> SweepState:
    """A trial that waited, or was paused, is trained on a slot; its run is made meanwhile."""
    _check_free(state, slot)
    if paused := state.paused.get(trial.number):
        state = replace(state, paused=_without(state.paused, trial.number))
        return _with_running(state, paused.with_slot(slot, state.now))
    assert trial in state.waiting, f"trial {trial.number} does not wait"
    waiting = tuple(other for other in state.waiting if other != trial)
    return _with_running(replace(state, waiting=waiting), trial.with_slot(slot, state.now))


def run_created(state: SweepState, trial: Trial, run_id: str) -> SweepState:
    progress = state.open_trial(trial.number)
    if progress and progress.key == trial.key:
        progress = replace(progress, run_id=run_id)
        if trial.number in state.paused:
            return replace(state, paused={**state.paused, trial.number: progress})
        return _with_running(state, progress)
    ended = next((one for one in reversed(state.finished) if one.key == trial.key), None)
    assert ended, f"trial {trial.number} is not known"
    named = {id(ended): replace(ended, run_id=run_id)}
    return replace(
        state,
        finished=tuple(named.get(id(one), one) for one in state.finished),
        ranked=tuple(named.get(id(one), one) for one in state.ranked),
        ends={key: named.get(id(one), one) for key, one in state.ends.items()},
    )


def progress_reported(state: SweepState, slot: Slot, progress: Progressed) -> SweepState:
    return _with_running(state, replace(_on(state, slot), latest=progress))


def round_reported(state: SweepState, slot: Slot, done: RoundDone) -> SweepState:
    progress = _on(state, slot).with_round(done)
    state = _with_running(state, progress)
    return state if progress.best_loss is None else _with_loss(state, progress.best_loss, state.now)


def trial_paused(state: SweepState, slot: Slot, paused: Paused) -> SweepState:
    progress = _on(state, slot).with_pause(paused, state.now)
    paused_now = {**state.paused, progress.number: progress}
    return replace(state, running=_without(state.running, slot), paused=paused_now)


def trial_ended(state: SweepState, number: int, ended: Ended, *, again: bool = False) -> SweepState:
    """A trial that ran or was paused has ended; if it is tried `again`, its next attempt waits."""
    progress = state.open_trial(number)
    assert progress, f"trial {number} is not under way"
    if progress.paused:
        state = replace(state, paused=_without(state.paused, number))
    else:
        state = replace(state, running=_without(state.running, progress.slot))
    progress = progress.with_end(ended, state.now)
    if again:
        state = replace(state, waiting=(*state.waiting, progress.next_attempt()))
    ends = {**state.ends, number: progress}
    state = replace(state, finished=(*state.finished, progress), ends=ends)
    if progress.ranked_loss is None:
        return _without_losses(state)
    place = bisect.bisect(state.ranked, rank(progress), key=rank)
    ranked = (*state.ranked[:place], progress, *state.ranked[place:])
    return _with_loss(replace(state, ranked=ranked), progress.ranked_loss, state.now)


def with_attempts(
    state: SweepState,
    finished: Sequence[Trial],
    waiting: Sequence[Trial] = (),
    paused: Sequence[Trial] = (),
) -> SweepState:
    """A sweep of which these attempts are known, as after it was broken off.

    `finished` are in order of their ends, of trials that were tried several times each attempt;
    `waiting` are to be tried again, the first first; those that are `paused` have no slot.
    """
    for one in sorted([*finished, *paused], key=lambda one: one.began + one.seconds):
        loss = one.ranked_loss if one.ended else one.best_loss
        if loss is not None:
            state = _with_loss(state, loss, one.began + one.seconds)
    return replace(
        state,
        waiting=tuple(waiting),
        paused={one.number: one for one in paused},
        finished=tuple(finished),
        ranked=tuple(sorted((one for one in finished if one.ranked_loss is not None), key=rank)),
        ends={one.number: one for one in finished},
    )


def _check_free(state: SweepState, slot: Slot) -> None:
    assert slot in state.slots, f"there is no {slot}"
    assert slot not in state.running, f"a trial runs on {slot}"


def _on(state: SweepState, slot: Slot) -> Trial:
    assert slot in state.running, f"no trial runs on {slot}"
    return state.running[slot]


def _without(trials: Mapping[Key, Trial], key: Key) -> dict[Key, Trial]:
    left = dict(trials)
    del left[key]
    return left


def _with_running(state: SweepState, progress: Trial) -> SweepState:
    return replace(state, running={**state.running, progress.slot: progress})


def _with_loss(state: SweepState, loss: float, at: float) -> SweepState:
    """Note a validation loss, nats, of a round that was done at this time."""
    if state.best_over_time and loss >= state.best_over_time[-1][1]:
        return state
    return replace(state, best_over_time=(*state.best_over_time, (at, loss)))


def _without_losses(state: SweepState) -> SweepState:
    """Leave out losses of a trial that has failed: those below the best one that still counts.

    That one counts from now on, or from when it was the best first.
    """
    best = state.leader.best_loss if state.leader else None
    lowest = math.inf if best is None else best
    counting = tuple(one for one in state.best_over_time if one[1] >= lowest)
    state = replace(state, best_over_time=counting)
    return state if best is None else _with_loss(state, best, state.now)


class History:
    """Holds the state of a sweep, an immutable value, and replaces it as something happens.

    Its clock shows the seconds for which the sweep was driven, by earlier drivers too, but for
    those for which it was held: what is left of `minutes` is not used up by other sweeps.
    """

    def __init__(self, state: SweepState, clock: Callable[[], float]) -> None:
        self.state, self._clock = state, clock
        #: seconds of the clock that do not count
        self._skipped = clock() - state.now
        #: what the sweep's clock has shown since it is held
        self._held_at: float | None = None

    def apply(
        self,
        event: Callable[Concatenate[SweepState, More], SweepState],
        *args: More.args,
        **options: More.kwargs,
    ) -> SweepState:
        self.state = event(self.state, *args, **options)
        return self.state

    def learn(self, **facts: Any) -> SweepState:
        """Note facts of the sweep as a whole: fields of its state."""
        self.state = replace(self.state, **facts)
        return self.state

    def tick(self) -> float:
        """Read the clock into the state; return what it shows."""
        self.state = time_passed(self.state, self._time())
        return self.state.now

    def hold(self, *, held: bool) -> None:
        if held != (self._held_at is not None):
            now = self._time()
            self._held_at = now if held else None

    def _time(self) -> float:
        now = self._clock()
        if self._held_at is not None:
            self._skipped = now - self._held_at
        return now - self._skipped


class Observer:
    """Called in the driver's thread when something happens, to read it; this one shows nothing."""

    def started(self, state: SweepState) -> None:
        """Its trials begin."""

    def update(self, state: SweepState) -> None:
        """Something has changed, or a quarter of a second has passed."""

    def trial_ended(self, progress: Trial, state: SweepState) -> None: ...

    def said(self, text: str) -> None:
        """A line for people, before, while or after the sweep runs."""

    def ended(self, state: SweepState) -> None:
        """The sweep has ended, with or without success; the last call of all."""


SILENT = Observer()


class Viewer:
    """Forwards calls to an observer; after a broken pipe, only `ended`."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._has_reader = observer, True
        self.started, self.update = self._shown(observer.started), self._shown(observer.update)
        self.trial_ended = self._shown(observer.trial_ended)
        self.said = self._shown(observer.said)

    def _shown(self, call: Callable[More, None]) -> Callable[More, None]:
        def show(*args: More.args, **options: More.kwargs) -> None:
            if self._has_reader:
                try:
                    call(*args, **options)
                except (OSError, SystemExit):  # Rich turns a broken pipe into an exit
                    self._has_reader = False

        return show

    def ended(self, state: SweepState) -> None:
        with contextlib.suppress(OSError, SystemExit):
            self._observer.ended(state)
