"""Which config an oracle has, what it is run as, and how searches compare with it."""

from __future__ import annotations

from typing import Any

from benchmarks.oracle import (
    Run,
    missing,
    oracle_config,
    table,
)


def run(kind: str, seed: int, found: list[tuple[float, float]], **changes: Any) -> Run:
    return Run(
        kind, seed, improvements=found,
        **{"minutes": 20.0, "workers": 2, "settings": "", "corpus": "d", "rounds_per_epoch": 4,
           "targets": 100, "adjacent": 1, "config": {}, **changes},
    )  # fmt: skip


#: after 5 minutes 2.0, which it has had for 100 s, after 10 minutes 1.8 and after 20 minutes 1.5
ORACLE = run("oracle", 0, [(100, 2.0), (400, 1.8), (900, 1.5)])


def test_the_best_config_is_that_of_the_search_with_the_lowest_loss() -> None:
    searches = [
        run("search", 0, [(9, 2.0)], config={"layers": 2}),
        run("search", 1, [(9, 1.9)], config={"layers": 3}),
        run("oracle", 0, [(9, 1.0)], config={"layers": 4}),
    ]
    assert oracle_config([], searches) == {"layers": 3}
    assert missing(searches, 4) == [2, 3]


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_ratio_is_the_time_of_the_search_to_a_loss_by_that_of_the_oracle_of_its_seed() -> None:
    other = run("oracle", 1, [(50, 1.9)])
    first = run("search", 0, [(150, 2.0), (1000, 1.8), (1200, 1.4)], minutes=40.0)
    never = run("search", 2, [(150, 2.0)], minutes=40.0)
    _, row, second, last = rows(table("text", [ORACLE, other, first, never]))
    assert row[2:] == ["2.0000", "100", "150", "1.50", "1.8000", "400", "1000", "2.50",
                       "1.5000", "900", "1200", "1.33", "1.5000", "1.4000"]  # fmt: skip
    # without an oracle of its seed it is compared with the first
    assert second[2:10] == ["2.0000", "100", "150", "1.50", "1.8000", "400", "never", "never"]
    assert last == ["median", "ratio", "1.50", "never", "never"]
    assert "1 searches and 0 oracles" in table("text", [first])
