"""Which config an oracle has, and what it is run as."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import oracle
from benchmarks.oracle import EPOCHS, oracle_config, oracle_loss, scored_as, settings_of
from benchmarks.oracle_records import Run, read_runs
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.presets import DEFAULT
from lstm_sweep.spaces.space import with_settings

FOUND = TrialConfig(layer_size=96, direction="bi").to_dict()
SEARCH = Run("search", 0, "d", 20.0, 2, "", 1, 100, FOUND, [(1.0, 2.0)])


def test_a_config_that_is_given_has_defaults_in_the_other_fields() -> None:
    config = oracle_config(["layer_size=256", "learning_rate=0.002"], None, None, [SEARCH])
    assert config == TrialConfig(layer_size=256, learning_rate=0.002).to_dict()


def test_else_it_is_the_best_that_a_search_has_found() -> None:
    assert oracle_config([], None, None, [SEARCH]) == FOUND


@pytest.mark.parametrize("setting", ["layer_size=64,128", "dropout=0..0.5"])
def test_a_field_has_one_value(setting: str) -> None:
    with pytest.raises(InputError, match="expected one value"):
        oracle_config([setting], None, None, [])


def test_as_settings_of_a_space_the_config_is_the_only_one_and_has_time() -> None:
    settings = [part for part in settings_of(FOUND) if part != "--set"]
    points = list(with_settings(DEFAULT, settings).points())
    assert points == [TrialConfig.from_dict({**FOUND, "epochs": EPOCHS})]


def test_an_oracle_is_scored_as_the_runs_that_there_are() -> None:
    found = scored_as([SEARCH], "no file", "", [])
    assert found == ["--targets", "100", "--adjacent-targets", "1", "--rounds-per-epoch", "1"]


def test_before_there_is_a_run_it_is_scored_as_a_search_would_be(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 2_000, encoding="utf-8")
    asked = ["--targets", "321", "--rounds-per-epoch", "1"]
    found = scored_as([], str(text), "--set direction=uni", [*asked, "--minutes", "1"])
    adjacent = found[found.index("--adjacent-targets") + 1]
    assert [*found[:2], *found[-2:]] == asked and int(adjacent) > 0
    with pytest.raises(InputError, match="no-such-file"):
        scored_as([], "no-such-file", "", [])


def test_a_search_until_its_oracle_is_over_at_the_lowest_loss_of_the_oracle_of_its_seed() -> None:
    other = dataclasses.replace(SEARCH, kind="oracle", seed=1, improvements=[(5, 1.5), (9, 1.4)])
    assert oracle_loss([SEARCH, other], 1) == 1.4
    assert oracle_loss([SEARCH, other], 0) is None


@pytest.mark.parametrize(
    ("options", "kind", "goal"),
    [
        (["--until-oracle"], "search", 1.4),
        ([], "search", None),
        (["--until-oracle"], "oracle", None),
    ],
)
def test_only_a_search_that_is_asked_to_is_ended_by_its_loss(
    options: list[str],
    kind: str,
    goal: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = dataclasses.replace(SEARCH, kind="oracle", improvements=[(9, 1.4)])
    kept = [first] if kind == "search" else [SEARCH, dataclasses.replace(first, seed=1)]
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps(one.to_dict()) + "\n" for one in kept), encoding="utf-8")
    losses = iter((1.5, 1.4, 0.0))
    asked = list[bool]()

    def run_alone(*arguments: Any) -> int:
        asked.extend(arguments[-1]() for _ in range(3))
        return 0

    monkeypatch.setattr(oracle, "lowest_loss", lambda folder: next(losses))
    monkeypatch.setattr(oracle, "run_alone", run_alone)
    found = dataclasses.replace(SEARCH, kind=kind, improvements=[(3, 1.3)])
    monkeypatch.setattr(oracle, "found_run", lambda *arguments: found)
    arguments = ["oracle", "--data", "text", "--out", str(tmp_path), "--seed", "0", *options]
    monkeypatch.setattr(sys, "argv", arguments)
    oracle._run_one(oracle._arguments(), "text", kind, 0, 20.0, 2, [])
    assert asked == [goal is not None and loss <= goal for loss in (1.5, 1.4, 0.0)]
    assert len([*losses]) == (3 if goal is None else 0), "a store is not looked at for nothing"
    assert read_runs(file)[-1].until_loss == goal
