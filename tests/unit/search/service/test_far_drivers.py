from __future__ import annotations

import dataclasses

from lstm_sweep.search.service.far_drivers import FarDrivers
from lstm_sweep.search.sweep.lease import STALE_S, Holder


def test_a_driver_on_another_machine_lives_as_long_as_it_renews_its_lease() -> None:
    drivers = FarDrivers()
    holder = Holder("far", "another machine", 7, 0, "token")
    assert drivers.lives("run", holder, 100.0)
    assert drivers.lives("run", holder, 99.0 + STALE_S)
    renewed = dataclasses.replace(holder, beat=1)
    assert drivers.lives("run", renewed, 200.0)
    assert drivers.lives("run", renewed, 199.0 + STALE_S)
    assert not drivers.lives("run", renewed, 200.0 + STALE_S)
    assert drivers.lives("other", renewed, 200.0 + STALE_S)
