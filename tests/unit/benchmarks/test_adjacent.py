"""How much targets side by side say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adjacent import inflation, losses, read_of
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source


def test_values_that_are_alike_side_by_side_say_as_much_as_one() -> None:
    values = np.random.default_rng(0).standard_normal(24_000)
    assert inflation(values, 8) == pytest.approx(1.0, abs=0.1)
    assert inflation(np.repeat(values, 8), 8) == pytest.approx(8.0)
    opposite = np.stack([values, -values], axis=1).reshape(-1)
    assert inflation(opposite, 8) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("length", "size", "read"), [(20, 24, 160 / 24), (160, 24, 320 / 24), (9, 24, 9.0), (50, 1, 50)]
)
def test_scoring_reads_as_many_windows_as_the_targets_need(
    length: int, size: int, read: float
) -> None:
    assert read_of(length, size) == pytest.approx(read)


def test_a_longer_past_predicts_better() -> None:
    corpus = load(Source(data="workflow-log"))
    short, long = (losses(corpus, order, 2_000) for order in (3, 4))
    assert len(short) == len(long) == 2_000
    assert 0.9 < long.mean() < short.mean() < 2.0
