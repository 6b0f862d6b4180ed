"""Which config an oracle has, what it is run as, and how searches compare with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from benchmarks.oracle import (
    EPOCHS,
    Run,
    losses_table,
    missing,
    oracle_config,
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
    config = TrialConfig(layer_size=256).to_dict()
    assert oracle_config(["layer_size=256"], []) == config
    with pytest.raises(InputError, match="expected one value"):
        oracle_config([setting], [])


def test_as_settings_of_a_space_the_config_is_the_only_one_and_has_time() -> None:
    settings = [part for part in settings_of(FOUND) if part != "--set"]
    points = list(with_settings(DEFAULT, settings).points())
    assert points == [TrialConfig.from_dict({**FOUND, "epochs": EPOCHS})]


def run(kind: str, seed: int, found: list[tuple[float, float]], **changes: Any) -> Run:
    return Run(
        kind, seed, improvements=found,
        **{"minutes": 20.0, "workers": 2, "settings": "", "corpus": "d", "rounds_per_epoch": 4,
           "targets": 100, "adjacent": 1, "config": {}, **changes},
    )  # fmt: skip


#: after 5 minutes 2.0, which it has had for 100 s, after 10 minutes 1.8 and after 20 minutes 1.5
ORACLE = run("oracle", 0, [(100, 2.0), (400, 1.8), (900, 1.5)])


def test_a_run_is_read_as_it_was_written() -> None:
    assert Run.from_dict(json.loads(json.dumps(asdict(ORACLE)))) == ORACLE


def test_an_oracle_is_scored_as_the_runs_that_there_are() -> None:
    found = scored_as([ORACLE])
    assert found == ["--targets", "100", "--adjacent-targets", "1", "--rounds-per-epoch", "4"]


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


def test_runs_are_shown_by_quarters_of_their_time_with_when_they_had_a_loss() -> None:
    found = [
        run("search", 1, [(60, 2.0), (500, 1.6)], rescored=9_000, rescored_loss=1.65),
        run("search", 0, [(400, 1.8), (700, 1.5), (1100, 1.4)]),
    ]
    shown = losses_table("text", [*found, ORACLE])
    assert [" ".join(row) for row in rows(shown)] == [
        "text 1/4 1/2 3/4 end last gain on more",
        "search 0, 20 min never 1.8000 1.5000 1.4000 1100 never",
        "search 1, 20 min 2.0000 1.6000 1.6000 1.6000 500 1.6500",
        "search median never 1.7000 1.5500 1.5000 800 never",
        "oracle 0, 20 min 2.0000 1.8000 1.5000 1.5000 900 never",
        "oracle median 2.0000 1.8000 1.5000 1.5000 900 never",
    ]
