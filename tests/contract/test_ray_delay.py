"""How long a report takes from a worker on a node to the driver, which is printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.rounds import Round
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.values.trial import Ended, Job, Outcome, RoundDone, Slot, Trial
from tests.ray_cluster import RayCluster

#: reports of each slot, and seconds between two
REPORTS, EVERY_S = 250, 0.04


@dataclass(frozen=True)
class Clock:
    """Trains nothing, and reports what time it is."""

    runs_user_code: bool = False
    reads: None = None

    def reading(self, folder: Path) -> Self:
        return self

    def load(self) -> None:
        """Nothing is imported."""

    def events(self, job: Job) -> Iterator[Round]:
        for number in range(1, REPORTS + 1):
            time.sleep(EVERY_S)
            yield Round(number, {"sent": time.time()}, repeated=False)

    def place_of(self, error: Exception) -> str:
        return ""


@pytest.mark.full
def test_reports_arrive_in_order_at_a_hundred_a_second(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    heard: dict[Slot, list[int]] = {}
    delays_s: list[float] = []
    with RayEngine() as engine:
        for slot in engine.slots:
            trial = Trial(sweep="s", number=slot.index, config=TrialConfig(), seed=1)
            folder = tmp_path / str(slot.index)
            engine.start(Job(trial=trial, slot=slot, training=Clock(), folder=folder))
        ended = 0
        while ended < len(engine.slots):
            for slot, event in engine.wait(0.25):
                if isinstance(event, RoundDone):
                    delays_s.append(time.time() - event.metrics["sent"])
                    heard.setdefault(slot, []).append(event.number)
                elif isinstance(event, Ended):
                    assert event == Ended(Outcome.COMPLETE)
                    ended += 1
    assert heard == {slot: [*range(1, REPORTS + 1)] for slot in heard} and len(heard) == 4
    shares = {share: 1000 * np.quantile(delays_s, share) for share in (0.5, 0.99, 1.0)}
    rate = len(heard) / EVERY_S
    print(f"{rate:.0f} reports a second, ms to the driver, median, 99%, longest:", end=" ")
    print(", ".join(f"{delay:.1f}" for delay in shares.values()))
