"""One sweep for each name, whoever begins one at the same moment, and whatever their clocks say.

A store of runs has no locks, but a param of a run is written once: of two that write it, the second
is refused. Each sweep has one such param, `OWNS_NAME`. A sweep looks for others of its name once
its run is there. It gives way to those that are before it. Those behind it, which may have looked
before its run was there, it puts out of the race by that param of theirs, or gives way if they have
claimed the name already. Then it claims the name by its own param.

So at most one sweep owns a name: of two, the one whose run was there last has seen the other. And
one does: who gives way has seen one that owns the name, or one that is before it in an order which
is the same for all.
"""

from __future__ import annotations

from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: param of a sweep's run that says whether it owns its name
OWNS_NAME = "owns_name"
#: tags of a run that is no sweep any more
WITHDRAWN = {Tag.ROLE: "withdrawn"}


def claim(store: Store, name: str, run_id: str) -> bool:
    """Claim a name for a sweep whose run is there; return whether it owns the name now.

    If it does not, its run is withdrawn.
    """
    owns = _outruns(store, name, run_id) and store.log_once(run_id, OWNS_NAME, "yes")
    if not owns:
        store.log(run_id, tags=WITHDRAWN)
    return owns


def _outruns(store: Store, name: str, run_id: str) -> bool:
    """Whether no other sweep of this name is before this one, or owns it; the others are out."""
    same = store.runs(sweep_role="sweep", sweep_name=name)
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
