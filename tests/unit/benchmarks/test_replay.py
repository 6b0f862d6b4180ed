"""Sweeps on recorded curves: what they may try, and what they take."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.curves import data_size_of
from benchmarks.replay import ALL, PLAIN, POLICIES, VARIANTS, Replay, Row, quartiles, summary
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.values.spec import Plan
from tests.unit.benchmarks.recordings import CORPUS, HEAD, config, curve, write

#: losses that fall from 3 to 2.2, and from 3 to 1.4
SLOW, FAST = ([3 - slope * n for n in range(9)] for slope in (0.1, 0.2))
#: every config of the space; 0.01 and 32 units is best
FULL = [
    *(curve(rate, size, SLOW) for rate in (0.001, 0.01) for size in (16, 32) if rate < 0.01),
    curve(0.01, 16, SLOW),
    curve(0.01, 32, FAST),
    *(curve(0.1, size, [], fixed=1.0) for size in (16, 32)),
]
RULES = {**POLICIES, **VARIANTS}


def test_a_config_is_found_after_the_seconds_of_its_rounds(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", [curve(0.01, 32, FAST, seconds=0.5, fixed=2.0)])
    assert Replay(file).sweep(PLAIN, slots=1) == (2.0 + 9 * 0.5, 1)


def test_a_loss_within_a_share_of_the_best_is_found_earlier(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", [curve(0.01, 32, FAST)])
    assert Replay(file, within=1.6 / 1.4).sweep(PLAIN, slots=1) == (8.0, 1)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_every_policy_finds_the_best_of_a_small_grid(rule: Plan, tmp_path: Path) -> None:
    replay = Replay(write(tmp_path / "r.jsonl", FULL))
    seconds, trials = replay.sweep(rule, slots=2)
    assert 9.0 <= seconds <= 9 * len(FULL)
    assert 1 <= trials <= len(FULL) + 3  # those of the ladder are tried again


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_only_recorded_configs_of_a_part_of_a_grid_are_tried(rule: Plan, tmp_path: Path) -> None:
    part = [curve(0.001, 32, SLOW), curve(0.01, 32, FAST), curve(0.1, 16, [], fixed=1.0)]
    replay = Replay(write(tmp_path / "r.jsonl", part))
    assert not replay.problem.admits(config(0.001, 16))
    assert 9.0 <= replay.sweep(rule, slots=2)[0] < math.inf


def test_the_network_of_a_ladder_that_is_not_recorded_is_replaced_by_one_like_it(
    tmp_path: Path,
) -> None:
    replay = Replay(write(tmp_path / "r.jsonl", [curve(0.001, 32, SLOW), curve(0.01, 32, FAST)]))
    assert replay.curve_of(config(0.001, 16)).config == config(0.001, 32)


def test_the_same_seed_takes_the_same_time(tmp_path: Path) -> None:
    replay = Replay(write(tmp_path / "r.jsonl", FULL))
    plan = replace(ALL, seed=5)
    assert replay.sweep(plan, slots=2) == replay.sweep(plan, slots=2)


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({}, DataSize(160_000, 30, 100, 9)),
        # of 90 rounds of an epoch 9 are recorded
        ({"rounds_per_epoch": 90}, DataSize(16_000, 30, 100, 9)),
        # all rounds of several epochs are
        ({"rounds_per_epoch": 3}, DataSize(160_000, 30, 100, 3)),
    ],
)
def test_an_epoch_is_what_was_recorded(changed: dict[str, int], expected: DataSize) -> None:
    assert data_size_of({**HEAD, **changed}) == expected


def test_a_recording_by_epochs_need_not_say_how_many_symbols_it_has() -> None:
    head = {"corpus": {"characters": 40_000, "targets": CORPUS["targets"]}}
    assert data_size_of(head) == DataSize(32_000, 90, 100)


def test_quartiles_are_infinite_where_that_many_sweeps_never_came_to_the_target() -> None:
    assert quartiles([1.0, 2.0, 3.0]) == (1.0, 2.0, 3.0)
    assert quartiles([1.0, 2.0, math.inf]) == (1.0, 2.0, math.inf)
    assert quartiles([math.inf] * 3) == (math.inf,) * 3
    assert quartiles([1.0, 1.0, math.inf, math.inf])[1:] == (math.inf, math.inf)


def test_the_summary_has_the_ratios_on_each_recording_and_their_geometric_mean() -> None:
    first = [Row("random", 1, 100, 1, 1), Row("all", 1, 20, 1, 1)]
    second = [Row("random", 1, 10, 1, 1), Row("all", 1, 8, 1, 1)]
    lines = summary({"text": first, "large (held out)": second}).splitlines()
    assert lines[-1].split() == ["all", "0.20", "0.80", "0.40"]


def test_there_is_no_mean_where_a_policy_never_came_to_the_target() -> None:
    first = [Row("random", 1, 100, 1, 1), Row("all", 1, math.inf, 1, 1)]
    assert summary({"text": first}).splitlines()[-1].split() == ["all", "never", "-"]
