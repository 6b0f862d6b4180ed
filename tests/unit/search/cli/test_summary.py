"""What is printed at the end of a sweep."""

from __future__ import annotations

from typing import Any

from lstm_sweep.search.actions.sweep_result import SweepResult
from lstm_sweep.search.cli.launch import result_text
from lstm_sweep.search.driver.time_spent import TimeSpent
from lstm_sweep.search.values.stop_reason import SweepStatus


def printed(time: TimeSpent | None) -> list[str]:
    """The lines that conclude a sweep without a trial."""
    known: dict[str, Any] = {"state": SweepStatus.FINISHED, "why": "the budget is spent"}
    empty: dict[str, Any] = {"trials": {}, "best": None, "confirmed": (), "baselines": {}}
    result = SweepResult(sweep="s", run_id="r", seconds=42.0, time=time, **known, **empty)
    return [*result_text(result, [])]


def test_a_line_says_what_the_slots_were_used_for() -> None:
    spent = TimeSpent(slot_seconds=50.0, best=20.0, failures=10.0, idle=20.0, scoring=3.0)
    ended = "ended after 42 s: the budget is spent"
    line = "time on slots: 40 % the best trial, 20 % failures, 40 % idle (of all, 6 % scoring)"
    assert printed(spent)[:3] == [ended, line, "next:"]
    assert printed(None)[:2] == printed(TimeSpent())[:2] == [ended, "next:"]


def test_each_command_that_comes_next_says_what_it_does_on_one_line() -> None:
    lines = printed(None)
    below = lines[lines.index("next:") + 1 :]
    assert [line.partition("   # ")[2] for line in below] == [
        "browse the runs in the MLflow UI",
        "list the trials",
    ]
