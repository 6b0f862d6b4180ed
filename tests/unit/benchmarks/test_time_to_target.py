"""The contest: what is kept of a contestant, which results stand together, and their table."""

from __future__ import annotations

from benchmarks.alone import OURS
from benchmarks.time_to_target import Event, Run, Setting, condensed, table

SETTING = Setting("d", minutes=10.0, direction="uni", workers=2)


def run(contestant: str, improvements: list[tuple[float, float]], seed: int = 0) -> Run:
    return Run(contestant, seed, SETTING, improvements, 3, 9)


def test_of_events_in_time_the_improvements_and_counts_are_kept() -> None:
    events = [
        Event(1, "0", 0, None, {"layers": 1}), Event(9, "0", 1, 2.5, {"layers": 1}),
        Event(20, "0", 2, 2.6, {"layers": 1}), Event(21, "0", 2, None, {"layers": 1}, ended=True),
        Event(30, "1", 1, 2.0, {"layers": 2}), Event(700, "1", 2, 1.0, {"layers": 2}),
    ]  # fmt: skip
    found = condensed("peer", 0, SETTING, events)
    assert found.improvements == [(9, 2.5), (30, 2.0)]
    assert (found.configs, found.epochs) == (2, 3)


def test_the_target_is_what_the_best_peer_has_at_its_end() -> None:
    runs = [
        *(run(OURS, [(40.0 + seed, 1.5)], seed) for seed in range(3)),
        run("first", [(200.0, 1.6)]),
        run("second", [(20.0, 2.5)]),
    ]
    lines = [line.split() for line in table(runs).splitlines()]
    assert [line[0] for line in lines[1:4]] == [OURS, "first", "second"]
    assert lines[1][-2:] == ["41", "1.00"] and lines[2][-2:] == ["200", "4.88"]
    assert lines[3][-2:] == ["over", "14.63"]
