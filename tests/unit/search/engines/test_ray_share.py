from __future__ import annotations

from pathlib import Path

from lstm_sweep.search.engines.ray import CONTENT_S, Share


class Time:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(file: Path) -> str | None:
    demand = file.with_suffix(".demand")
    return demand.read_text() if demand.exists() else None


def test_a_sweep_that_had_a_slot_too_many_asks_for_no_more_for_a_while(tmp_path: Path) -> None:
    file, clock = tmp_path / "r.slots", Time()
    share = Share(file, clock)
    share.demand_of(2, 2)  # all are used: perhaps more could be
    assert said(file) is None
    share.demand_of(1, 2)
    assert said(file) == "1"
    share.demand_of(1, 1)
    clock.now += CONTENT_S - 1
    share.demand_of(1, 1)
    assert said(file) == "1"
    clock.now += 1
    share.demand_of(1, 1)
    assert said(file) is None
    share.demand_of(1, 2)  # in vain again: now for twice as long
    clock.now += CONTENT_S
    share.demand_of(1, 1)
    assert said(file) == "1"
    share.demand_of(2, 2)  # slots that it still has are of use after all
    assert said(file) is None
