"""Which config an oracle has, what it is run as, and how searches compare with it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks.oracle import (
    EPOCHS,
    Run,
    _set,
    best_config,
    losses_table,
    missing,
    scored_as,
    settings_of,
    table,
)
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

FOUND = TrialConfig(layer_size=96, direction="bi").to_dict()


@pytest.mark.parametrize("setting", ["layer_size=64,128", "dropout=0..0.5"])
def test_a_field_has_one_value(setting: str) -> None:
    assert _set(["layer_size=256"]) == {"layer_size": 256}
    with pytest.raises(InputError, match="expected one value"):
        _set([setting])


def test_as_settings_of_a_space_the_config_is_the_only_one_and_has_time() -> None:
    settings = [part for part in settings_of(FOUND) if part != "--set"]
    points = list(with_settings(DEFAULT, settings).points())
    assert points == [TrialConfig.from_dict({**FOUND, "epochs": EPOCHS})]


def run(kind: str, seed: int, found: list[tuple[float, float]], **changes: Any) -> Run:
    fields = {"corpus": "d", "minutes": 20.0, "workers": 2, "settings": "", "config": {}}
    return Run(
        kind, seed, improvements=found, rounds_per_epoch=4, targets=100, **{**fields, **changes}
    )


#: after 5 minutes 2.0, which it has had for 100 s, after 10 minutes 1.8 and after 20 minutes 1.5
ORACLE = run("oracle", 0, [(100, 2.0), (400, 1.8), (900, 1.5)])


def test_a_run_is_read_as_it_was_written() -> None:
    assert Run.from_dict(json.loads(json.dumps(ORACLE.to_dict()))) == ORACLE


def test_an_oracle_is_scored_as_the_runs_that_there_are() -> None:
    found = scored_as([ORACLE], "no file", "", [])
    assert found == ["--targets", "100", "--adjacent-targets", "1", "--rounds-per-epoch", "4"]


def test_the_best_config_is_that_of_the_search_with_the_lowest_loss() -> None:
    searches = [
        run("search", 0, [(9, 2.0)], config={"layers": 2}),
        run("search", 1, [(9, 1.9)], config={"layers": 3}),
        run("oracle", 0, [(9, 1.0)], config={"layers": 4}),
    ]
    assert best_config(searches) == {"layers": 3}
    with pytest.raises(InputError, match="no search has a loss"):
        best_config(searches[2:])


def rows(runs: list[Run]) -> list[list[str]]:
    return [line.split() for line in table("text", runs).splitlines()]


def test_a_ratio_is_the_time_of_the_search_to_a_loss_by_that_of_the_oracle() -> None:
    search = run("search", 0, [(150, 2.0), (1000, 1.8), (1200, 1.4)], minutes=40.0)
    head, _, row, last = rows([ORACLE, search])
    assert head == ["text", "5", "min", "10", "min", "20", "min", "at", "the", "end"]
    assert row == ["0", "2.0000", "100", "150", "1.50", "1.8000", "400", "1000", "2.50",
                   "1.5000", "900", "1200", "1.33", "1.5000", "1.4000"]  # fmt: skip
    assert last == ["median", "ratio", "1.50", "2.50", "1.33"]


def test_a_search_that_never_came_there_has_a_ratio_of_at_least_its_time() -> None:
    search = run("search", 0, [(150, 2.0)], minutes=40.0)
    _, _, row, last = rows([ORACLE, search])
    assert row[7:9] == ["never", ">6.0"]
    assert last == ["median", "ratio", "1.50", "never", "never"]


def test_there_is_no_ratio_before_the_oracle_has_a_loss() -> None:
    late = run("oracle", 0, [(400, 1.8)])
    *_, row, last = rows([late, run("search", 0, [(150, 1.5)])])
    assert row[1:5] == ["inf", "inf", "150", "nan"]
    assert last[:3] == ["median", "ratio", "never"]


def test_each_search_is_compared_with_the_oracle_of_its_seed_or_else_the_first() -> None:
    other = run("oracle", 1, [(50, 1.9)])
    searches = [run("search", seed, [(150, 1.0)]) for seed in range(3)]
    table_rows = rows([ORACLE, other, *searches])
    assert [row[:3] for row in table_rows[2:5]] == [
        ["0", "2.0000", "100"], ["1", "1.9000", "50"], ["2", "2.0000", "100"],
    ]  # fmt: skip


def test_there_is_no_table_without_both() -> None:
    assert "1 searches and 0 oracles" in table("text", [run("search", 0, [(1, 2.0)])])


def test_what_a_run_had_by_when() -> None:
    assert ORACLE.best_at(99) == math.inf
    assert ORACLE.best_at(500) == 1.8
    assert ORACLE.reached(1.85) == 400
    assert ORACLE.reached(1.0) == math.inf


def test_searches_are_shown_by_quarters_of_their_time_with_when_they_had_a_loss() -> None:
    found = [
        run("search", 1, [(60, 2.0), (500, 1.6)]),
        run("search", 0, [(100, 1.9), (700, 1.5), (1100, 1.4)]),
        run("search", 2, [(400, 1.8)]),
    ]
    shown = losses_table("text", [*found, ORACLE], [1.6])
    assert [" ".join(line.split()) for line in shown.splitlines()] == [
        "text 5 min 10 min 15 min 20 min last gain s to 1.6",
        "seed 0 1.9000 1.9000 1.5000 1.4000 1100 700",
        "seed 1 2.0000 1.6000 1.6000 1.6000 500 500",
        "seed 2 never 1.8000 1.8000 1.8000 400 never",
        "median 2.0000 1.8000 1.6000 1.6000 500 700",
    ]


def test_oracles_are_shown_so_if_there_are_no_searches() -> None:
    shown = [line.split() for line in losses_table("text", [ORACLE]).splitlines()]
    assert shown[1] == ["seed", "0", "2.0000", "1.8000", "1.5000", "1.5000", "900"]
    assert losses_table("text", []) == "text: no searches and no oracles, expected some"


def test_losses_on_more_targets_have_a_column_of_their_own() -> None:
    found = [
        run("search", 0, [(30, 1.4)], rescored=9_000, rescored_loss=1.45),
        run("search", 1, [(40, 1.6)]),
    ]
    assert Run.from_dict(found[0].to_dict()) == found[0]
    shown = [line.split() for line in losses_table("text", found).splitlines()]
    assert shown[0][-2:] == ["on", "9,000"]
    assert [line[-1] for line in shown[1:3]] == ["1.4500", "never"]


def test_searches_that_are_missing() -> None:
    found = [run("search", 1, []), run("oracle", 0, [])]
    assert missing(found, 3) == [0, 2]
