"""Chains of second order: their entropy, what can be learned of them, and the table of results."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.chains import IDS, SIZES, Chain, Result, data_of, table

#: two ids: a coin after a pair of the same ids, else the second of the pair again
COIN = Chain(np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]]))
RESULT = Result(
    seed=3, minutes=10.0, workers=2, settings="", entropy=1.4, bound=1.42, val_loss=1.43,
    network=1.44, further=[1.44, 1.45], trials=40,
)  # fmt: skip


def test_the_entropy_is_that_of_the_pairs_as_often_as_they_occur() -> None:
    # each id comes at least twice in a row, so two of three pairs are of the same id
    assert COIN.pairs() == pytest.approx(np.array([[1 / 3, 1 / 6], [1 / 6, 1 / 3]]), abs=1e-12)
    assert COIN.entropy == pytest.approx(math.log(2) * 2 / 3)


def test_ids_follow_each_other_as_the_chain_says() -> None:
    ids = Chain.drawn(0).ids(60_000, np.random.default_rng(0))
    assert set(ids) == set(range(IDS))
    counts = np.zeros((IDS, IDS, IDS))
    np.add.at(counts, (ids[:-2], ids[1:-1], ids[2:]), 1.0)
    often = counts.sum(-1) > 300
    seen = counts[often] / counts[often].sum(-1, keepdims=True)
    assert often.sum() > 50 and np.abs(seen - Chain.drawn(0).after[often]).max() < 0.15
    pairs = counts.sum(-1) / counts.sum()
    assert pairs == pytest.approx(Chain.drawn(0).pairs(), abs=0.005)


def test_the_bound_lies_above_the_entropy_by_what_is_not_known_after_so_many_ids() -> None:
    chain, parts = data_of(0)
    assert {name: len(parts[name]) for name in SIZES} == SIZES
    # about half an id's worth for each of the probabilities that are learned
    most = IDS**2 * (IDS - 1) / 2 / SIZES["train"]
    assert 0.5 * most < chain.bound(parts["train"]) - chain.entropy < 1.2 * most
    assert chain.bound(parts["train"]) < chain.bound(parts["train"][:10_000])


def test_chains_differ_by_their_seed_and_have_about_the_entropy_that_is_meant() -> None:
    found = [Chain.drawn(seed).entropy for seed in range(20)]
    assert len(set(found)) == 20
    assert 1.35 < sum(found) / 20 < 1.5
    assert (data_of(1)[1]["test"] == data_of(1)[1]["test"]).all()


def test_a_network_counts_only_if_it_is_near_the_bound_and_confirmed() -> None:
    far, alone = replace(RESULT, network=1.46), replace(RESULT, further=[])
    assert [one.reached for one in (RESULT, far, alone)] == [True, False, False]
    lines = table([far, replace(alone, seed=1)]).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["1", "3"]
    assert lines[1].endswith("none") and lines[2].split()[6:] == ["2.8%", "40", "1.4400,", "1.4500"]
    assert lines[3] == "within 2% of the bound and confirmed: 0 of 2"
    assert table([RESULT]).endswith("1 of 1")
