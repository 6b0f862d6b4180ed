"""Tables of replays."""

from __future__ import annotations

import math

from benchmarks.replay_report import Row, heading, line, quartiles, summary


def test_quartiles_are_infinite_where_that_many_sweeps_never_came_to_the_target() -> None:
    assert quartiles([1.0, 2.0, 3.0]) == (1.0, 2.0, 3.0)
    assert quartiles([1.0, 2.0, math.inf]) == (1.0, 2.0, math.inf)
    assert quartiles([math.inf] * 3) == (math.inf,) * 3
    assert quartiles([1.0, 1.0, math.inf, math.inf])[1:] == (math.inf, math.inf)


def test_a_line_has_the_ratio_of_the_median_to_the_first() -> None:
    rows = [
        Row.of("random", [(100.0, 8), (200.0, 9), (300.0, 10)]),
        Row.of("all", [(25.0, 4)] * 3),
        Row.of("none", [(math.inf, 20)] * 3),
    ]
    lines = [line(row, rows[0]).split() for row in rows]
    assert [words[-1] for words in lines] == ["1.00", "0.12", "never"]
    assert lines[1] == ["all", "25.0", "25.0", "25.0", "4", "0.12"]
    assert lines[0][1:4] == ["100", "200", "300"]
    assert len(heading().split()) == len(lines[1])


def test_the_summary_has_the_ratios_on_each_recording_and_their_geometric_mean() -> None:
    first = [Row("random", 1, 100, 1, 1), Row("all", 1, 20, 1, 1)]
    second = [Row("random", 1, 10, 1, 1), Row("all", 1, 8, 1, 1)]
    lines = summary({"text": first, "large (held out)": second}).splitlines()
    assert lines[-1].split() == ["all", "0.20", "0.80", "0.40"]


def test_there_is_no_mean_where_a_policy_never_came_to_the_target() -> None:
    first = [Row("random", 1, 100, 1, 1), Row("all", 1, math.inf, 1, 1)]
    assert summary({"text": first}).splitlines()[-1].split() == ["all", "never", "-"]
