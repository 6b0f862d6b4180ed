"""Early and late losses of two recordings of the same configs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ranks
from lstm_sweep.models.errors import InputError
from tests.unit.benchmarks.recordings import COMMON, CORPUS, curve, write

CONFIGS = [(rate, size) for rate in (0.001, 0.01, 0.1) for size in (16, 32)]
#: losses of the six configs after the first round, and after all others
FIRST, REST = [2.6, 2.5, 2.4, 2.3, 2.2, 2.1], [2.0, 1.9, 1.8, 1.7, 1.6, 1.5]


def recorded(file: Path, first: list[float], *, averaging: str = "off", **head: object) -> Path:
    """A recording whose configs have these losses after the first round, and `REST` after it."""
    file.parent.mkdir(exist_ok=True)
    found = [
        curve(rate, size, [early, *[late] * 8])
        for (rate, size), early, late in zip(CONFIGS, first, REST, strict=True)
    ]
    found = [replace(one, config=one.config.evolve(averaging=averaging)) for one in found]
    return write(file, found, common=COMMON | {"averaging": averaging}, **head)


def test_a_table_has_the_correlations_of_both_recordings_and_what_is_gained(tmp_path: Path) -> None:
    without = recorded(tmp_path / "one.jsonl", FIRST[::-1])
    averaged = recorded(tmp_path / "averages" / "one.jsonl", FIRST, averaging="polynomial")
    pair = ranks.paired(without, averaged, near=False)
    assert pair.without.shape == pair.averaged.shape == (6, 9)
    assert ranks.correlation(pair.without, 1, "last") == pytest.approx(-1)
    assert ranks.correlation(pair.averaged, 1, "last") == pytest.approx(1)
    assert ranks.gained(pair, 1, "lowest") == pytest.approx((2, 2))
    rows = [line.split() for line in ranks.lines("one", pair, [1, 9])]  # 9 is the end
    assert rows == [
        ["one", "6", end, "1", "-1.00", "1.00", "+2.00", "to", "+2.00"]
        for end in ("last", "lowest")
    ]


def test_the_lowest_loss_is_not_the_last_one_of_a_curve_that_rises() -> None:
    losses = np.array([[2.0, 1.0, 3.0], [3.0, 2.0, 2.5], [4.0, 2.4, 2.2]])
    assert ranks.correlation(losses, 1, "lowest") == pytest.approx(1)
    assert ranks.correlation(losses, 1, "last") == pytest.approx(-1)


def test_only_configs_that_both_have_to_their_end_are_compared(tmp_path: Path) -> None:
    without = recorded(tmp_path / "one.jsonl", FIRST)
    cut = [curve(rate, size, [2.0] * (9 if rate > 0.001 else 3)) for rate, size in CONFIGS[:4]]
    pair = ranks.paired(without, write(tmp_path / "cut.jsonl", cut), near=False)
    assert pair.without[:, 0].tolist() == FIRST[2:4]
    near = ranks.paired(without, recorded(tmp_path / "two.jsonl", FIRST), near=True)
    assert near.without[:, 0].tolist() == FIRST[2:]  # the best rate is 0.1


def test_recordings_of_different_corpora_are_turned_down(tmp_path: Path) -> None:
    one = recorded(tmp_path / "one.jsonl", FIRST)
    other = recorded(tmp_path / "two.jsonl", FIRST, corpus=CORPUS | {"digest": "e"})
    with pytest.raises(InputError, match=r"two\.jsonl: corpus is e, expected d of .*one\.jsonl"):
        ranks.paired(one, other, near=False)
