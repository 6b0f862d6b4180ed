"""Configs of points, which a space remembers."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_sweep.spaces import presets
from lstm_sweep.spaces import space as spaces
from lstm_sweep.spaces.space import Space

SPACES = {"default": presets.DEFAULT, "quick": presets.QUICK, "fixed": Space({})}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_point_gives_the_same_config_each_time(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are remembered; what is forgotten is made again."""
    monkeypatch.setattr(spaces, "REMEMBERED", 3)
    space = space.replace()  # which remembers none
    rng = np.random.default_rng(4)
    points = [{name: d.draw(rng) for name, d in space.varying.items()} for _ in range(9)]
    for point in [*points, *points, points[-1]]:
        values = {name: d.decode(point.get(name, 0.0)) for name, d in space.items()}
        assert repr(space.decode(point)) == repr(space.config(values))
    assert len(space._decoded) <= 3
    assert space.decode(points[-1]) is space.decode(points[-1])
