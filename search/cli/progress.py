"""The progress of a sweep, as a table, lines or JSON; a table of trials."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import plain
from lstm_sweep.models.rounds import epochs_text
from lstm_sweep.search.cli import plain_json
from lstm_sweep.search.driver.state import SILENT, Observer, SweepState
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.values.documents import duration, loss_text, time_left_text, trained_text
from lstm_sweep.search.values.trial import Outcome, Phase, Trial

#: seconds between two repaints of the live table, and of a notebook's, and between two lines
#: `progress` of JSON
REPAINT_S, UPDATE_S, PROGRESS_S = 0.25, 0.5, 5.0
#: seconds without a line after which one says how the running trials stand, and of how many
QUIET_S, STANDING = 30.0, 4
WAITING = (
    "trials that fall behind wait with all that they have learned; the best third of those that "
    "came as far go on, the others if there is time"
)
#: lines of the live table that are no slots: its head, how many are hidden, and the summary
LINES_AROUND = 4
#: trials, slots and characters of a line in a notebook
LISTED, SLOTS, NOTEBOOK = 5, 16, 115
COMMON = ("event", "time", "sweep")
#: further fields of each kind of line, in order
SCHEMA: Mapping[str, tuple[str, ...]] = {
    "message": ("text",),
    "started": ("run_id", "trials", "minutes", "slots"),
    "trial_started": ("trial", "run_id", "phase", "attempt", "rounds", "config"),
    "round": ("trial", "round", "rounds", "epoch", "metrics"),
    "trial_paused": ("trial", "reason"),
    "trial_resumed": ("trial",),
    "trial_ended": ("trial", "run_id", "outcome", "reason", "val_loss", "seconds"),
    "progress": (
        "trials_done", "trials", "running", "paused", "best", "seconds", "seconds_left",
    ),
    "ended": ("state", "why", "trials_done", "best", "seconds"),
}  # fmt: skip


def observer_of(kind: str, console: Console) -> Observer:
    if kind == "json":
        return JsonLines()
    if kind == "off":
        return SILENT
    table = kind == "table" or (kind == "auto" and console.is_terminal)
    return LiveTable(console) if table else Lines(console)


class Lines(Observer):
    """Plain lines, for logs and pipes: one for each trial, when it waits or ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        #: when the last line was written, in seconds of the driver's clock; None before the first
        self._spoke: float | None = None
        #: trials of which was said that they wait, and how many of those are pruned since
        self._waiting: set[int] = set()
        self._pruned = 0

    def started(self, state: SweepState) -> None:
        self._spoke = state.now
        self._waiting |= state.paused.keys()  # they waited before the sweep was broken off

    def update(self, state: SweepState) -> None:
        """Say which trials wait, and how others stand after `QUIET_S` seconds without a line."""
        if self._spoke is None:
            self._spoke = state.now
        for number in state.paused.keys() - self._waiting:
            progress = state.paused[number]
            if not self._waiting:
                self.said(WAITING)
            self._waiting.add(number)
            self._spoke = state.now
            self.said(f"{_named(progress)} waits {plain(progress.paused)}")
        if state.now - self._spoke >= QUIET_S:
            self._spoke = state.now
            self.said(_standing(state))

    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        assert progress.ended
        if progress.ended.outcome is Outcome.PRUNED and progress.waited:
            self._pruned += 1
            return
        self._tell_pruned()
        self._spoke = state.now
        self.said(f"[{_done_of(state)}] {_ended_text(progress, state)}")

    def ended(self, state: SweepState) -> None:
        self._tell_pruned()

    def _tell_pruned(self) -> None:
        if self._pruned:
            are = "trials that waited are" if self._pruned > 1 else "trial that waited is"
            self.said(f"{self._pruned:,} {are} pruned: others were better")
            self._pruned = 0

    def said(self, text: str) -> None:
        self._console.print(without_secrets(text), markup=False, highlight=False, soft_wrap=True)


class LiveTable(Lines):
    """A table that is repainted in place, with a line for each trial that ends above it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._painted = float("-inf")

    def started(self, state: SweepState) -> None:
        super().started(state)
        self._live.start()

    def ended(self, state: SweepState) -> None:
        self.take_away()
        super().ended(state)

    def take_away(self) -> None:
        self._live.stop()

    def update(self, state: SweepState) -> None:
        if state.now - self._painted >= REPAINT_S:
            self._painted = state.now
            rows = max(1, self._console.size.height - LINES_AROUND)
            self._live.update(running(state, rows), refresh=True)


class JsonLines(Observer):
    """Lines of JSON on standard error, for programs: one for each thing that happens."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._sweep: str | None = None
        #: each trial as it was told last
        self._told = dict[int, Trial]()
        self._progressed = float("-inf")

    def started(self, state: SweepState) -> None:
        self._sweep = state.name
        spec = state.spec
        for one in (*state.finished, *state.paused.values()):  # whose rounds are old
            self._told[one.number] = replace(one, paused="")
        self._write("started", state.run_id, spec.trials, spec.minutes, len(state.slots))

    def update(self, state: SweepState) -> None:
        """Say which trials have begun, waited, gone on, or finished a round; now and then, all."""
        for progress in state.under_way:
            self._follow(progress)
        if state.now - self._progressed >= PROGRESS_S:
            self._progressed = state.now
            leader = state.leader
            best = leader and {"trial": leader.id, "val_loss": leader.best_loss}
            self._write(
                "progress", state.trials_done, state.spec.trials, len(state.running),
                len(state.paused), best, round(state.seconds, 3), state.seconds_left,
            )  # fmt: skip

    def trial_ended(self, progress: Trial, state: SweepState) -> None:
        ended = progress.ended
        assert ended
        self._follow(progress)
        loss, seconds = progress.best_loss, round(progress.seconds, 3)
        trial, run = progress.id, progress.run_id
        self._write("trial_ended", trial, run, str(ended.outcome), ended.reason, loss, seconds)

    def said(self, text: str) -> None:
        self._write("message", text)

    def ended(self, state: SweepState) -> None:
        self._sweep = state.name
        best = state.best and {"trial": state.best.id, "val_loss": state.best_loss}
        done, seconds = state.trials_done, round(state.seconds, 3)
        self._write("ended", str(state.status), state.ending, done, best, seconds)

    def _follow(self, trial: Trial) -> None:
        if not trial.run_id:  # it will be told when it has one
            return
        before = self._told.get(trial.number)
        waited = bool(before and before.paused)
        if before is None or before.run_id != trial.run_id:
            before = None
            self._write(
                "trial_started", trial.id, trial.run_id, str(trial.phase), trial.attempt,
                trial.planned_rounds, trial.config.to_dict(),
            )  # fmt: skip
        known = len(before.rounds) if before else 0
        for done, metrics in enumerate(trial.rounds[known:], start=known + 1):
            epoch = trial.epochs_after(done)
            self._write("round", trial.id, done, trial.planned_rounds, epoch, dict(metrics))
        self._told[trial.number] = trial
        if trial.paused and not waited:
            self._write("trial_paused", trial.id, trial.paused)
        elif waited and not trial.paused and not trial.ended:
            self._write("trial_resumed", trial.id)

    def _write(self, event: str, *values: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        names = (*COMMON, *SCHEMA[event])
        line = dict(zip(names, (event, now, self._sweep, *values), strict=True))
        text = plain_json(json_text(line), self._stream.encoding)
        print(without_secrets(text), file=self._stream, flush=True)


class NotebookTable(Observer):
    """The live table in the output of a notebook's cell, with the best trials and what was said."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._lines = list[str]()
        self._painted = float("-inf")

    def started(self, state: SweepState) -> None:
        self._paint(state)

    def update(self, state: SweepState) -> None:
        if state.now - self._painted >= UPDATE_S:
            self._paint(state)

    def said(self, text: str) -> None:
        self._lines.append(without_secrets(text))

    def ended(self, state: SweepState) -> None:
        self._paint(state, ended=True)

    def _paint(self, state: SweepState, *, ended: bool = False) -> None:
        from IPython.display import display

        self._painted = state.now
        text = io.StringIO()
        console = Console(file=text, width=NOTEBOOK, force_jupyter=False, markup=False, emoji=False)
        console.print(state.name, Text(result(state)) if ended else running(state, SLOTS))
        if best := state.ranked[:LISTED]:
            console.print(trials_table(best, "the best that have ended"))
        for line in self._lines:
            console.print(line, highlight=False, soft_wrap=True)
        shown = {"text/plain": text.getvalue()}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def running(state: SweepState, rows: int) -> Group:
    """The trials on the first so many slots, and how the sweep stands."""
    first = next(iter(state.running.values()), None)
    shape = list(first.config.table_columns()) if first else []
    lines = list[list[str | Text]]()
    for slot in state.slots[:rows]:
        progress = state.running.get(slot)
        if progress is None:
            is_free = len(state.running) < state.usable
            text = "free" if is_free else "used by other sweeps"
            lines.append([str(slot), Text(text, style="dim")])
            continue
        line = [
            str(slot),
            _named(progress),
            *progress.config.table_columns().values(),
            trained_text(progress),
            loss_text(progress.latest.loss if progress.latest else None),
            loss_text(progress.best_loss),
        ]
        lines.append([*line])
    head = ["slot", "trial", *shape, "epochs", "loss", "best"]
    may_go = [*reversed(shape), "slot", "epochs", "loss"]
    hidden = len(state.slots) - rows
    more = [Text(f"and {hidden:,} more slots", style="dim")] if hidden > 0 else []
    table = FittedTable(head, lines, may_go, boxed=False)
    return Group(table, *more, Text(summary(state), style="bold"))


def summary(state: SweepState) -> str:
    paused = f"{len(state.paused)} paused, " if state.paused else ""
    gone, left = duration(state.seconds), time_left_text(state.seconds_left)
    return f"{_done_of(state, ' of ')} trials, {paused}{_best_text(state)}, {gone} gone, {left}"


def result(state: SweepState) -> str:
    best = state.best and f"best {state.best.id} {loss_text(state.best_loss)}, "
    how = f"{state.status} after {duration(state.seconds)}: {state.ending}"
    return f"{_done_of(state, ' of ')} trials, {best or ''}{how}"


def _named(progress: Trial) -> str:
    phase = progress.phase
    return progress.id + ("" if phase is Phase.SEARCH else f" ({phase})")


def _done_of(state: SweepState, of: str = "/") -> str:
    done, most = state.trials_done, state.spec.trials
    return f"{done}" if most is None else f"{done}{of}{most}"


def _ended_text(progress: Trial, state: SweepState) -> str:
    """How a trial has ended, and its network; if it has failed, why, and which is the best now."""
    assert progress.ended
    outcome, best = progress.ended.outcome, state.best
    words = f"{_named(progress)} {str(outcome).replace('_', ' ')}"
    if progress.best_loss is not None:
        words += f", loss {loss_text(progress.best_loss)}"
    if best and best.number == progress.number:
        words += ", the best so far"
    words += f", {duration(progress.seconds)}"
    if label := progress.config.label():
        words += f" ({label})"
    if outcome.ranks:
        return words
    why = f": {plain(progress.ended.reason)}" if progress.ended.reason else ""
    return f"{words}{why}; {_best_text(state)}"


def _standing(state: SweepState) -> str:
    shown = []
    for one in itertools.islice(state.running.values(), STANDING):
        loss = one.best_loss  # of the best round so far, or in training within the first one
        if loss is None and one.latest:
            loss = one.latest.loss
        shown.append(f"{_named(one)} after {trained_text(one)} epochs, loss {loss_text(loss)}")
    if (more := len(state.running) - len(shown)) > 0:
        shown.append(f"and {more:,} more")
    return f"[{_done_of(state)}] {'; '.join([*shown, summary(state)])}"


def _best_text(state: SweepState) -> str:
    if (best := state.leader) is None:
        return "no result yet"
    going = "" if best.ended else " (paused)" if best.paused else " (running)"
    return f"best {best.id} {loss_text(best.best_loss)}{going}"


@dataclass(frozen=True)
class FittedTable:
    """A table that lacks the first of the columns that `may_go` where it is too wide."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    may_go: Sequence[str]
    title: str = ""
    boxed: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, unlimited = list(range(len(self.head))), options.update(width=9_999)
        for gone in self.may_go:
            if Measurement.get(console, unlimited, self._of(shown)).maximum <= options.max_width:
                break
            shown = [place for place in shown if self.head[place] != gone]
        yield self._of(shown)

    def _of(self, shown: Sequence[int]) -> Table:
        table = Table(*(self.head[place] for place in shown), title=self.title or None)
        if not self.boxed:
            table.box = None
        for row in self.rows:
            table.add_row(*(row[place] for place in shown if place < len(row)))
        return table


def trials_table(records: Iterable[Trial], title: str = "") -> FittedTable:
    records = list(records)
    shape = list(records[0].config.table_columns()) if records else []
    head = ["trial", "phase", "outcome", "loss", "bits", "epochs", "best epoch", *shape]
    rows = []
    for record in records:
        loss = record.best_loss
        trained = epochs_text(record.epochs, record.rounds_per_epoch)
        planned = record.config.planned_epochs
        best = record.best_epoch and epochs_text(record.best_epoch, record.rounds_per_epoch)
        row = [
            record.id,
            str(record.phase),
            record.state,
            loss_text(loss),
            loss_text(record.objective.bits_per_symbol(loss)),
            trained if planned is None else f"{trained}/{planned}",
            best or "-",
            *record.config.table_columns().values(),
            f"{record.parameters:,}" if record.parameters else "-",
        ]
        rows.append(row)
    first_to_go = [*reversed(shape), "bits", "parameters", "phase", "best epoch", "epochs"]
    head.append("parameters")
    if records and not any(one.objective.bits_per_symbol(1.0) for one in records):  # of classes
        bits = head.index("bits")
        for row in (head, *rows):
            del row[bits]
    return FittedTable(head, rows, [*first_to_go, "outcome"], title)
