"""The progress of a sweep as lines of JSON on standard error, for programs."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from lstm_sweep.search.commands.json_lines import write_line
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.values.progress import TrialProgress

#: seconds between two lines `progress`, at most
PROGRESS_S = 5.0


class JsonLines:
    """An observer that writes a line of JSON for each thing that happens: see `json_lines`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._sweep: str | None = None
        #: run, and number of rounds, of each trial that is known
        self._seen: dict[int, tuple[str, int]] = {}
        self._paused: set[int] = set()
        self._told = float("-inf")

    def started(self, state: SweepState) -> None:
        """Say what is searched within which budget."""
        self._sweep = state.name
        spec = state.spec
        for progress in (*state.finished, *state.paused.values()):  # whose rounds are old
            self._seen[progress.trial.number] = (progress.run_id, len(progress.rounds))
        self._write("started", state.run_id, spec.trials, spec.minutes, len(state.slots))

    def update(self, state: SweepState) -> None:
        """Say which trials have begun, waited, gone on, or finished a round; now and then, all."""
        for progress in state.under_way:
            self._follow(progress)
        if state.now - self._told >= PROGRESS_S:
            self._told = state.now
            done, running, paused = state.trials_done, len(state.running), len(state.paused)
            self._write(
                "progress", done, state.spec.trials, running, paused, _leader(state),
                round(state.seconds, 3), state.seconds_left,
            )  # fmt: skip

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """Say how a trial has ended, and its rounds that were not said yet."""
        self._follow(progress)
        self._paused.discard(progress.trial.number)
        ended = progress.ended
        assert ended
        loss, seconds = progress.best_loss, round(progress.seconds, 3)
        trial, run = progress.trial.id, progress.run_id
        self._write("trial_ended", trial, run, str(ended.outcome), ended.reason, loss, seconds)

    def said(self, text: str) -> None:
        """Write a line for people as a message."""
        self._write("message", text)

    def ended(self, state: SweepState) -> None:
        """Say how the sweep has ended."""
        self._sweep = state.name
        best = state.best and {"trial": state.best.trial.id, "val_loss": state.best_loss}
        done, seconds = state.trials_done, round(state.seconds, 3)
        self._write("ended", str(state.status), state.ending, done, best, seconds)

    def _follow(self, progress: TrialProgress) -> None:
        trial, number = progress.trial, progress.trial.number
        run, known = self._seen.get(number, ("", 0))
        if run != progress.run_id:
            known = 0
            self._write(
                "trial_started", trial.id, progress.run_id, str(trial.phase), trial.attempt,
                trial.rounds, trial.config.to_dict(),
            )  # fmt: skip
        for done in range(known + 1, len(progress.rounds) + 1):
            metrics, epoch = dict(progress.rounds[done - 1]), trial.epochs_after(done)
            self._write("round", trial.id, done, trial.rounds, epoch, metrics)
        self._seen[number] = (progress.run_id, len(progress.rounds))
        if progress.paused and number not in self._paused:
            self._paused.add(number)
            self._write("trial_paused", trial.id, progress.paused)
        elif number in self._paused and not progress.paused and not progress.ended:
            self._paused.discard(number)
            self._write("trial_resumed", trial.id)

    def _write(self, event: str, *values: Any) -> None:
        write_line(self._stream, self._sweep, event, *values)


def _leader(state: SweepState) -> dict[str, Any] | None:
    """The trial with the lowest loss so far, which may go on still."""
    if state.leader is None:
        return None
    progress, loss = state.leader
    return {"trial": progress.trial.id, "val_loss": loss}
