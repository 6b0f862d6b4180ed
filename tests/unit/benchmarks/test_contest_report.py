"""Tables of contestants."""

from __future__ import annotations

from benchmarks.contest_records import OURS, Run, Setting
from benchmarks.contest_report import ahead, table

SETTING = Setting("d", minutes=10.0, direction="uni", workers=2)


def run(contestant: str, improvements: list[tuple[float, float]], seed: int = 0) -> Run:
    return Run(contestant, seed, SETTING, improvements, {}, 3, 2, 3, 9)


US = [run(OURS, [(40.0, 3.0), (200.0, 2.0)])]


def test_a_contestant_is_ahead_while_its_loss_is_lower() -> None:
    other = [run("other", [(20.0, 2.5), (400.0, 1.9)])]
    assert ahead(other, US) == [(30.0, 200.0), (400.0, 600.0)]


def test_the_first_seconds_and_equal_losses_do_not_count() -> None:
    assert ahead([run("other", [(10.0, 3.0)])], [run(OURS, [(29.0, 3.0)])]) == []
    assert ahead([run("other", [])], US) == []


def test_medians_over_the_seeds_are_compared() -> None:
    others = [run("other", [(20.0, loss)], seed) for seed, loss in enumerate((1.0, 2.5, 4.0))]
    assert ahead(others, US) == [(30.0, 200.0)]


def test_a_table_says_who_is_ahead_and_when() -> None:
    first, second = (
        run("first", [(20.0, 2.5)]),
        run("second", [(500.0, 2.2)]),
    )
    lines = table([*US, first, second]).splitlines()
    assert lines[0].endswith("ahead of ours")
    assert [line.split()[0] for line in lines[1:4]] == [OURS, "first", "second"]
    assert lines[2].endswith("  30-200 s")
    assert lines[3].endswith("  never")
