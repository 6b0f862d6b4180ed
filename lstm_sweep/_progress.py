"""What takes long: where its progress is shown, and how Ctrl-C ends it in order."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.texts import (
    duration,
    loss_text,
    trained_text,
)

if TYPE_CHECKING:
    from lstm_sweep.search.driver.observer import Observer


def observer_of(progress: bool | None) -> Observer:
    """What shows progress: a notebook's table, lines on standard error, or nothing.

    `progress` None means that it is shown in a notebook alone.
    """
    from lstm_sweep.search.driver.observer import SILENT

    notebook = in_notebook()
    if not (notebook if progress is None else progress):
        return SILENT
    if notebook:
        return NotebookTable()
    from lstm_sweep.search.cli.progress import Lines
    from lstm_sweep.search.cli.terminal import open_console

    return Lines(open_console(stderr=True))


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


#: seconds between two updates
UPDATE_S = 0.5
#: finished trials that are listed
LISTED = 5


class NotebookTable:
    """An observer that shows a table in the output of the cell."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._lines: list[str] = []
        self._painted = float("-inf")

    def started(self, state: SweepState) -> None:
        """Show the table."""
        self._paint(state)

    def update(self, state: SweepState) -> None:
        """Show it anew, if the last time is long enough ago."""
        if state.now - self._painted >= UPDATE_S:
            self._paint(state)

    def trial_ended(self, progress: TrialProgress, state: SweepState) -> None:
        """Show the trial among the others, at the next update."""

    def said(self, text: str) -> None:
        """Keep a line, which can be unfolded below the table."""
        self._lines.append(without_secrets(text))

    def ended(self, state: SweepState) -> None:
        """Show the result of the sweep."""
        self._paint(state, ended=True)

    def _paint(self, state: SweepState, *, ended: bool = False) -> None:
        from IPython.display import display

        self._painted = state.now
        shown = {
            "text/html": page(state, self._lines, ended=ended),
            "text/plain": _summary(state, ended=ended),
        }
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


def _summary(state: SweepState, *, ended: bool) -> str:
    """The state of a sweep in a line."""
    from lstm_sweep.search.cli.progress import summary

    if not ended:
        return f"{state.name}: {summary(state)}"
    of = "" if state.spec.trials is None else f" of {state.spec.trials}"
    best = state.best and f"best {state.best.trial.id} {loss_text(state.best_loss)}, "
    how = f"{state.status} after {duration(state.seconds)}: {state.ending}"
    return f"{state.name}: {state.trials_done}{of} trials, {best or ''}{how}"


def page(state: SweepState, lines: Iterable[str], *, ended: bool) -> str:
    """A sweep as HTML: a summary, trials that run, the best ones, baselines; `lines` folded up."""
    done, most = float(state.trials_done), state.spec.trials
    if most is None:
        done, most = state.seconds, round(state.seconds + (state.seconds_left or 0.0))
    parts = [f"<div>{escape(_summary(state, ended=ended))}</div>"]
    if not ended:
        parts.append(f'<progress value="{done:.0f}" max="{most}" style="width:100%"></progress>')
        parts.append(_table("running", state.running.values()))
        parts.append(_table("paused", state.paused.values()))
    parts.append(_table("best" if ended else "best that have ended", state.ranked[:LISTED]))
    if state.baselines:
        losses = (
            f"{name.replace('_', ' ')} {loss_text(loss)}" for name, loss in state.baselines.items()
        )
        parts.append(f"<div>baselines: {escape(', '.join(losses))}</div>")
    folded = "<br>".join(map(escape, lines))
    parts.append(f"<details><summary>details</summary>{folded}</details>" if folded else "")
    return "".join(parts)


def _table(title: str, trials: Iterable[TrialProgress]) -> str:
    """Trials as a table with a head; nothing if there are none."""
    rows = list(trials)
    if not rows:
        return ""
    columns = [*rows[0].trial.config.table_columns()]
    body = [
        [
            progress.trial.id,
            *progress.trial.config.table_columns().values(),
            trained_text(progress),
            loss_text(progress.best_loss),
        ]
        for progress in rows
    ]
    return (
        f"<table><thead>{_row('th', [title, *columns, 'epochs', 'loss'])}</thead>"
        f"<tbody>{''.join(_row('td', row) for row in body)}</tbody></table>"
    )


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


Answer = TypeVar("Answer")

#: seconds between two looks whether the caller is interrupted
LOOK_S = 0.2


def drive(
    work: Callable[[Interrupts], Answer], advice: Callable[[Answer], str] | None = None
) -> Answer:
    """What `work` returns in a thread of its own.

    If this thread is interrupted, `work` is asked to end and waited for, and then the interruption
    is raised here, with a note of what `advice` makes of the answer, or of the result of a sweep
    whose store has failed. A second one does not wait: what is open then, `Sweep.resume` closes.
    """
    request = Interrupts()
    answer = Future[Answer]()

    def run() -> None:
        try:
            answer.set_result(work(request))
        except BaseException as error:
            answer.set_exception(error)

    # with the context of the caller, by which a notebook knows the cell that output belongs to
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="lstm-sweep", daemon=True)
    try:
        thread.start()
        while not wait([answer], LOOK_S).done:  # a wait without a timeout may not notice Ctrl-C
            pass
        return answer.result()
    except BaseException as error:
        request.request()
        with contextlib.suppress(RuntimeError):  # it was not started
            thread.join()
        if advice and answer.done():
            failure = answer.exception()
            result = getattr(failure, "result", None) if failure else answer.result()
            if result is not None:
                error.add_note(advice(result))
        raise
