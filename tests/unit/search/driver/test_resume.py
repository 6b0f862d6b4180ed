"""What a sweep that goes on takes from runs that others may have written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.driver.read_back import slot_s
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store


def run_with(tags: dict[str, str]) -> Any:
    """A run that has these tags."""
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


@pytest.mark.parametrize(
    ("tags", "slot_seconds"),
    [
        ({}, 0.0),
        ({Tag.SECONDS: "50", Tag.SLOTS: "4"}, 200.0),  # of an earlier version
        ({Tag.SECONDS: "50"}, 0.0),  # of one that did not say its slots either
        ({Tag.SECONDS: "50", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "120.5"}, 120.5),
        # another driver with 8 slots has died 10 seconds later
        ({Tag.SECONDS: "50", Tag.SLOTS: "8", Tag.SLOT_SECONDS: "120.5", Tag.LEASE: "60"}, 200.5),
        ({Tag.SLOTS: "8", Tag.LEASE: "60"}, 480.0),
        # others may write to the store: what is no number counts as none
        ({Tag.SECONDS: "50", Tag.SLOTS: "x"}, 0.0),
        ({Tag.SECONDS: "soon", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "120.5"}, 120.5),
        ({Tag.SECONDS: "50", Tag.SLOTS: "4", Tag.SLOT_SECONDS: "nan"}, 0.0),
    ],
)
def test_the_time_for_which_there_were_slots_is_kept(
    tags: dict[str, str], slot_seconds: float
) -> None:
    if Tag.LEASE in tags:
        tags = tags | Lease(cast("Store", None), "r", float(tags[Tag.LEASE])).tag
    assert slot_s(run_with(tags)) == slot_seconds
