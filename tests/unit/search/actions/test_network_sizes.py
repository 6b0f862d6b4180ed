"""What `size` counts, also where there are too many networks to list them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.search.actions import network_sizes
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import with_settings

SETTINGS = ["direction=uni,bi", "layers=2,3", "layer_size=8..200", "embedding_size=0,4,300"]


@pytest.fixture
def spec(tmp_path: Path) -> SweepSpec:
    data = tmp_path / "book.txt"
    data.write_text("a fox and the lazy dog. " * 2_000, encoding="utf-8")
    return SweepSpec(data=str(data), space=with_settings(presets.DEFAULT, SETTINGS))


def test_networks_are_counted_alike_whether_they_are_listed_or_not(
    spec: SweepSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = network_sizes.size(spec)
    assert listed.structures == 2 * 2 * 193 * 3
    assert 0 < listed.admitted < listed.structures
    monkeypatch.setattr(network_sizes, "LISTABLE", 100)
    counted = network_sizes.size(spec)
    assert counted == listed
    smallest, largest = counted.networks
    assert smallest.embedding_size == 4 and largest.embedding_size == 300
    assert (smallest.layer_size, largest.layer_size) == (8, 200)
