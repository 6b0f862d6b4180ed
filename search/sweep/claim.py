"""At most one sweep owns a name, even if several start at the same time with different clocks.

MLflow has no locks, but a param of a run can be written only once: a second, different value is
refused. Each sweep has such a param, `OWNS_NAME`. After its run is created, a sweep lists the
running sweeps of its name, ordered by start time and run ID:

1. If another sweep is first, it withdraws.
2. It writes `no` to the param of each sweep behind it, which may have listed the sweeps before this
   run existed. If one of these has written `yes`, it withdraws.
3. It writes `yes` to its own param, and withdraws if another sweep has written `no` to it.

At most one sweep owns a name, since of any two, the one whose run was created last has listed the
other. At least one does, since a sweep withdraws only for an owner or for a sweep that is before it
in an order which is the same for all.
"""

from __future__ import annotations

from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: param of a sweep's run: `yes` if it owns its name, `no` if it cannot own it
OWNS_NAME = "owns_name"
#: tags of the run of a sweep that has withdrawn
WITHDRAWN = {Tag.ROLE: "withdrawn"}


def claim(store: Store, name: str, run_id: str) -> bool:
    """Claim a name for a sweep whose run exists; return whether it owns the name.

    If it does not, its run is withdrawn.
    """
    owns = _may_claim(store, name, run_id) and store.log_once(run_id, OWNS_NAME, "yes")
    if not owns:
        store.log(run_id, tags=WITHDRAWN)
    return owns


def _may_claim(store: Store, name: str, run_id: str) -> bool:
    """Steps 1 and 2: whether this sweep may claim the name."""
    same = store.runs({Tag.ROLE: "sweep", Tag.NAME: name})
    others = (run for run in same if run.info.run_id != run_id)
    if any(run.data.params.get(OWNS_NAME) == "yes" for run in others):  # it may have ended since
        return False
    under_way = [run.info for run in same if run.info.status == "RUNNING"]
    order = sorted(under_way, key=lambda info: (info.start_time, info.run_id))
    if order and order[0].run_id != run_id:
        return False
    for other in order[1:]:
        if not store.log_once(other.run_id, OWNS_NAME, "no"):
            return False
        store.log(other.run_id, tags=WITHDRAWN)
    return True
