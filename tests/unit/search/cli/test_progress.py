from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lstm_sweep._sweep import observer_of
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.rounds import Progressed
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.cli import open_console
from lstm_sweep.search.cli.progress import (
    COMMON,
    PROGRESS_S,
    QUIET_S,
    SCHEMA,
    WAITING,
    JsonLines,
    Lines,
    LiveTable,
    NotebookTable,
    trials_table,
)
from lstm_sweep.search.cli.progress import running as slots_table
from lstm_sweep.search.driver.state import SILENT, SweepState
from lstm_sweep.search.process import secrets
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Outcome, Slot, Trial
from lstm_sweep.spaces.template.template import TemplateConfig
from tests.fakes import with_trials
from tests.unit.documents import DOCS, rows, section, text_of

SLOTS = (Slot(0, core=0), Slot(1, core=1))
CONFIG = TrialConfig(
    direction="bi",
    layers=3,
    layer_size=96,
    learning_rate=1e-5,
    dropout=0.25,
    sequence_length=30,
    batch_size=128,
    epochs=4,
)


def progress(*losses: float, number: int = 2, **more: Any) -> Trial:
    """A trial of `CONFIG` on the first slot."""
    made = Trial(
        sweep="docs", number=number, config=CONFIG, seed=0, run_id=f"run-{number}", slot=SLOTS[0],
        rounds=[{"val_loss": loss} for loss in losses],
    )  # fmt: skip
    return replace(made, **more)


def state(
    *finished: Trial, running: Sequence[Trial] = (), now: float = 0.0, **more: Any
) -> SweepState:
    """A sweep of five trials with these finished."""
    new = SweepState(name="docs", spec=SweepSpec(trials=5), run_id="parent", slots=SLOTS, now=now)
    return replace(with_trials(new, finished, running), **more)


@contextmanager
def live_table(out: Console) -> Iterator[LiveTable]:
    table = LiveTable(out)
    table.started(state())
    yield table
    table.ended(state())


def console(width: int = 160) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=width), text


def test_a_trial_that_has_ended_is_one_line_however_narrow_the_terminal_is() -> None:
    out, text = console(width=20)
    done = progress(2.0, 1.5, ended=Ended(Outcome.COMPLETE), seconds=65.0)
    Lines(out).trial_ended(done, state(done))
    failed = progress(ended=Ended(Outcome.ERROR, "[bold]ValueError[/bold]: no"), seconds=1.0)
    Lines(out).trial_ended(failed, state(failed))
    assert text.getvalue().splitlines() == [
        "[1/5] docs/2 complete, loss 1.5000, the best so far, 1 min 05 s (bi 3x96, lr 1e-05)",
        "[1/5] docs/2 error, 1 s (bi 3x96, lr 1e-05): [bold]ValueError[/bold]: no; no result yet",
    ]


def test_a_trial_that_waits_is_told_of_once_and_counted_if_it_is_pruned() -> None:
    out, text = console()
    lines = Lines(out)
    waits = replace(progress(3.0), paused="at epoch 1: loss 3.0000, number 1 of 1 there")
    found = replace(state(), paused={2: replace(waits, waited=True)})
    lines.started(state())
    for _ in range(3):
        lines.update(found)
    assert text.getvalue().splitlines() == [
        WAITING,
        "docs/2 waits at epoch 1: loss 3.0000, number 1 of 1 there",
    ]
    ended = Ended(Outcome.PRUNED, "it waited at epoch 1: loss 3.0000, number 1 of 1 there")
    lines.trial_ended(replace(waits, paused="", waited=True, ended=ended), state())
    lines.ended(state())
    assert text.getvalue().splitlines()[2:] == ["1 trial that waited is pruned: others were better"]


def shown_by_live_table(found: SweepState, height: int = 25) -> str:
    text = StringIO()
    out = Console(file=text, width=160, height=height, force_terminal=True, color_system=None)
    with live_table(out) as table:
        table.update(found)
        before = text.getvalue()
        table.update(replace(found, now=found.now + 0.1))  # too soon
        assert text.getvalue() == before
        table.update(replace(found, now=found.now + 0.3))
        assert text.getvalue() != before
    return before


def test_the_live_table_shows_each_slot_and_what_is_left() -> None:
    running = replace(progress(2.0, number=3), latest=Progressed(2, 0.5, 1.75))
    done = progress(1.5, ended=Ended(Outcome.COMPLETE), seconds=40.0)
    shown = shown_by_live_table(state(done, running=[running], now=100.0))
    for part in ("docs/3", "1.5/4", "1.7500", "2.0000", "core 1", "free"):
        assert part in shown
    assert "1 of 5 trials, best docs/2 1.5000, 1 min 40 s gone, about" in shown
    one = progress(2.0, 1.9, 1.8, number=3)
    running = replace(one, rounds_per_epoch=5, latest=Progressed(4, 0.25, 1.75))
    assert " 0.65/4 " in shown_by_live_table(state(running=[running], now=100.0))
    waiting = {3: replace(progress(2.0, number=3), paused="waits")}
    paused = shown_by_live_table(replace(state(now=100.0), paused=waiting))
    assert "0 of 5 trials, 1 paused, best docs/3 2.0000 (paused)," in paused
    slots = tuple(Slot(index, core=index) for index in range(1_236))
    shown = shown_by_live_table(replace(state(now=100.0), slots=slots), height=6)
    assert "core 1 " in shown and "core 2 " not in shown
    assert "and 1,234 more slots" in shown and "0 of 5 trials" in shown


@pytest.mark.parametrize(
    "finished, running, best",
    [
        ((), (), "no result yet"),
        ((), (1.25, 1.75), "best docs/3 1.2500 (running)"),
        ((1.5,), (), "best docs/2 1.5000"),
        ((1.5,), (1.75,), "best docs/2 1.5000"),
        ((1.5,), (1.25,), "best docs/3 1.2500 (running)"),
        ((1.5,), (1.5,), "best docs/2 1.5000"),
        ((1.5,), (float("nan"), float("-inf")), "best docs/2 1.5000"),
    ],
)
def test_the_best_so_far_may_run_still_and_is_said_to(
    finished: tuple[float, ...], running: tuple[float, ...], best: str
) -> None:
    done = [progress(*finished, ended=Ended(Outcome.COMPLETE))] if finished else []
    found = state(*done, running=[progress(*running, number=3)], now=100.0)
    assert f"trials, {best}, 1 min 40 s gone" in shown_by_live_table(found)
    out, text = console()
    other = progress(ended=Ended(Outcome.ERROR, "no"), number=9)
    Lines(out).trial_ended(other, found)
    assert text.getvalue().endswith(f": no; {best}\n")
    assert found.best_loss == (finished[0] if finished else None)  # ended trials alone
    ranked = SweepResult.of(found).to_dict()["best"]
    assert ranked is None if not finished else ranked["trial"] == "docs/2"


NAMED = "[red]units[/red] (line 3) [a, b] :car: ["


def test_brackets_of_a_user_stand_in_tables_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    config = TemplateConfig((("units:3", "[a, b] :car: ["),))
    for error in (False, True):
        out = open_console(stderr=error)
        out.width = 200
        out.print(trials_table([record(config=config)], NAMED))
        out.print(NAMED)
        running = replace(progress(), config=config)
        Lines(out).trial_ended(progress(ended=Ended(Outcome.ERROR, NAMED)), state())
        out.print(slots_table(state(running=[running]), 9))
        written = capsys.readouterr()[error]
        assert written.count("units (line 3) [a, b] :car: [") == 2
        assert written.count(NAMED) == 3


def record(outcome: Outcome = Outcome.COMPLETE, **changes: Any) -> TrialRecord:
    """A finished trial as it is read from the store."""
    values: dict[str, Any] = {
        "sweep": "docs",
        "number": 2,
        "config": CONFIG,
        "seed": 0,
        "run_id": "run",
        "ended": Ended(outcome),
        "parameters": 12345,
        "logged_loss": 1.0,
        "logged_best": 3,
        "logged_rounds": 4,
        "tags": Tags.of("run", {}),
    }
    return TrialRecord(**(values | changes))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 140])
def test_a_narrow_table_lacks_columns_and_breaks_no_cell(width: int) -> None:
    out, text = console()
    out.width = width
    out.print(trials_table([record(), record(Outcome.OUT_OF_MEMORY)]))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("docs/2" in line and "1.0000" in line for line in lines) == 2
    assert len(lines) == 6  # a head, two trials, and three lines between
    whole = ("trial", "phase", "outcome", "loss", "bits", "epochs", "rate", "parameters")
    missing = {name for name in whole if name not in lines[1]}
    assert not missing & {"trial", "loss"} and bool(missing) == (width < 115)


@pytest.mark.parametrize("kind", [Lines, LiveTable])
def test_no_line_has_a_secret_that_an_error_has_brought(
    kind: type[Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "PLANTED-1")
    monkeypatch.setattr(secrets, "_hidden", {"PLANTED-2"})
    out, text = console()
    kind(out).said("the store does not answer: http://me:PLANTED@host, PLANTED-1, PLANTED-2")
    failed = progress(ended=Ended(Outcome.ERROR, "no login PLANTED-1"))
    kind(out).trial_ended(failed, state(failed))
    JsonLines(text).said("cannot log in with PLANTED-2")
    assert "answer: http://me:***@host, ***, ***\n" in text.getvalue()
    assert ": no login ***;" in text.getvalue()
    assert "PLANTED" not in text.getvalue()


def test_a_long_trial_is_not_silent_for_minutes() -> None:
    out, text = console(400)
    lines, running = Lines(out), progress(2.0, 1.75, number=3)
    lines.started(state())
    for now in (0.0, QUIET_S - 1, QUIET_S, QUIET_S + 1):
        lines.update(state(running=[running], now=now))
    assert text.getvalue() == (
        "[0/5] docs/3 after 2/4 epochs, loss 1.7500; 0 of 5 trials, best docs/3 1.7500 (running), "
        "30 s gone, about ? left\n"
    )
    lines.update(state(running=[running], now=2 * QUIET_S))
    assert text.getvalue().count("\n") == 2


def lines_of(text: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_each_thing_that_happens_is_a_line_of_the_schema() -> None:
    text = StringIO()
    shown = JsonLines(text)
    shown.said("store: here")
    shown.started(state())
    shown.update(state(running=[progress(number=1)]))
    shown.update(state(running=[progress(2.0, float("nan"), number=1)]))
    shown.update(state(paused={1: progress(2.0, 1.5, 1.25, paused="at epoch 3", number=1)}))
    shown.update(state(running=[progress(2.0, 1.5, 1.25, number=1)]))
    done = progress(2.0, 1.5, 1.25, 1.0, number=1, ended=Ended(Outcome.COMPLETE), seconds=8.0)
    shown.trial_ended(done, state())
    shown.ended(state(now=9.0))
    found = lines_of(text)
    assert [line["event"] for line in found] == [
        "message", "started", "trial_started", "progress", "round", "round", "round",
        "trial_paused", "trial_resumed", "round", "trial_ended", "ended",
    ]  # fmt: skip
    for line in found:
        assert tuple(line) == (*COMMON, *SCHEMA[line["event"]])
        assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert [line["sweep"] for line in found] == [None, *["docs"] * 11]
    rounds = [line for line in found if line["event"] == "round"]
    assert [line["metrics"]["val_loss"] for line in rounds] == [2.0, None, 1.25, 1.0]
    assert [(line["round"], line["epoch"]) for line in rounds] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert (found[-2]["val_loss"], found[-2]["outcome"]) == (1.0, "complete")
    assert found[-1]["seconds"] == 9.0


def test_the_whole_sweep_is_told_now_and_then() -> None:
    text = StringIO()
    shown = JsonLines(text)
    for now in (0.0, PROGRESS_S / 2, PROGRESS_S):
        shown.update(state(running=[progress(2.0, number=1)], now=now, expected_end=60.0))
    told = [line for line in lines_of(text) if line["event"] == "progress"]
    assert [line["seconds_left"] for line in told] == [60.0, 60.0 - PROGRESS_S]
    assert told[0]["best"] == {"trial": "docs/1", "val_loss": 2.0}


def test_rounds_that_an_earlier_driver_has_seen_are_not_told_again() -> None:
    text = StringIO()
    shown = JsonLines(text)
    paused = state(paused={1: progress(2.0, 1.5, paused="waits", number=1)})
    shown.started(paused)
    shown.update(paused)
    shown.update(state(running=[progress(2.0, 1.5, 1.0, number=1)]))
    events = [line["event"] for line in lines_of(text)]
    assert events == ["started", "trial_paused", "progress", "round", "trial_resumed"]


# A sweep in a notebook


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.outputs = 0

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Cell:
        """Make an output."""
        self.outputs += 1
        self.update(data, raw=raw)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        """Change it."""
        self.shown.append(data)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """That of a notebook in which this process is the kernel."""
    found = Cell()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=found.display))
    return found


def test_outside_a_notebook_it_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert observer_of(None) is SILENT and observer_of(False) is SILENT
    lines = observer_of(True)
    assert isinstance(lines, Lines)
    lines.said("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_in_a_notebook_one_output_has_what_runs_what_is_best_and_what_was_said_without_secrets(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "PLANTED")
    assert observer_of(False) is SILENT
    table = observer_of(None)
    assert isinstance(table, NotebookTable)
    table.said("no [answer]: PLANTED")
    assert cell.outputs == 0
    done = progress(1.5, 1.25, number=1, ended=Ended(Outcome.COMPLETE))
    found = state(done, running=[progress(1.75)], now=1.0)
    table.started(found)
    table.update(replace(found, now=1.1))  # too soon
    table.update(replace(found, now=2.0))
    table.ended(replace(found, now=2.1))
    assert (cell.outputs, len(cell.shown)) == (1, 3)
    assert "1 of 5 trials, best docs/1 1.2500" in cell.shown[1]["text/plain"]
    name, *lines = cell.shown[0]["text/plain"].splitlines()
    assert name == "docs" and lines[-1] == "no [answer]: ***"
    words = [line.split() for line in lines]
    assert any("docs/2" in row and row[-1:] == ["1.7500"] for row in words)
    assert any("docs/1" in row and "1.2500" in row for row in words)


def test_the_page_on_commands_has_the_schema() -> None:
    table = rows(section(DOCS / "commands.md", "Progress"))
    fields = {event.strip("`"): tuple(re.findall(r"`(\w+)`", names)) for event, names, _ in table}
    assert fields == dict(SCHEMA)
    assert text_of(DOCS / "commands.md").count("--progress json") > 0
