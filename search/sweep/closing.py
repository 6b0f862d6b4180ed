"""Closes the runs of trials that have ended, and keeps the weights of the best few."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_sweep.models.network.network_file import keep_reported
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.sweep.events import TrialClosed
from lstm_sweep.search.sweep.loop_parts import LoopParts, needing_room
from lstm_sweep.search.trial import TrialFiles


class Closing:
    """Closes runs of one sweep."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        #: runs whose weights are in the store, by the number of their trial
        self._kept: dict[int, str] = {}

    def take_up(self, weights: Mapping[int, str]) -> None:
        """Know the runs with weights of an earlier driver, and delete what is not needed."""
        self._kept = dict(weights)
        self._drop_displaced()

    def close(self, progress: TrialProgress) -> None:
        """Log how a trial has ended, with its weights if it is among the best."""
        with self._parts.beating():  # large files may take long
            self._close(progress)

    def _close(self, progress: TrialProgress) -> None:
        parts, state = self._parts, self._parts.history.state
        best_before = state.best
        files = self.collect(progress)
        among_best = state.is_among_best(progress, parts.spec.keep)
        keep = among_best and files is not None and files.weights.exists()
        if among_best and files is not None and not keep:
            self._name_without_weights(progress)
        keep = keep and not parts.interrupts.short_of_time
        try:
            parts.journal.close_trial(progress, files, keep=keep)
        except StoreError:
            if not (keep and parts.interrupts.signal_number):
                raise
            keep = False  # there was no time for its weights, but may be for its end
            parts.journal.close_trial(progress, files, keep=False)
        state = parts.history.apply(TrialClosed(progress.trial.number))
        if keep:
            self._kept[progress.trial.number] = progress.run_id
        self._drop_displaced()
        is_best = state.best is not best_before
        # to find the best of thousands of trials under way takes long
        if is_best or parts.journal.was_news(progress.best_loss):
            parts.journal.follow(state.trials_done, state.leading_loss, new_best=is_best)

    def _name_without_weights(self, progress: TrialProgress) -> None:
        """Tell people of a trial that has lost its weights, which a resume would not bring back."""
        goes_on = progress.ended is not None and progress.ended.unfinished
        if not (goes_on or progress.trial.objective.returned):
            why = f"its files could not be had from {progress.slot}"
            text = f"{progress.trial.id} has no weights: {why}; its rerun has them"
            self._parts.viewer.said(text)

    def collect(self, progress: TrialProgress) -> TrialFiles | None:
        """Files that a trial has written; None if no worker was started for it."""
        parts, number = self._parts, progress.trial.number
        if number in parts.history.state.paused:  # they were collected when it was paused
            folder = parts.folder / str(number)
            return TrialFiles(folder=folder) if folder.exists() else None
        if not progress.job:
            return None
        if not progress.started:  # if it has waited, it has written files before
            folder = progress.job.folder
            return TrialFiles(folder=folder) if progress.waited and folder.exists() else None
        with needing_room(f"folder {progress.job.folder}"), parts.beating():
            files = TrialFiles(folder=parts.engine.collect(progress.slot))
            keep_reported(files.weights, len(progress.rounds))
            return files

    def _drop_displaced(self) -> None:
        """Delete stored weights of trials that are no longer among the best."""
        parts = self._parts
        state = parts.history.state
        best = {one.run_id for one in state.ranked[: parts.spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best and number not in state.paused:
                parts.journal.drop_weights(run_id)
                del self._kept[number]
