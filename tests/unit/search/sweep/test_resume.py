"""What a sweep that goes on takes from runs that others may have written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.sweep import resume


def record_with(curve: str) -> Any:
    """The record of a trial whose run has this curve."""
    run = SimpleNamespace(
        info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags={Tag.CURVE: curve})
    )
    return SimpleNamespace(run_id="r", epochs=2, tags=Tags(run))


@pytest.mark.parametrize("seconds", ["NaN", "1e999", "-2", "0", "true", "null", "9" * 400])
def test_a_time_that_cannot_be_added_up_is_left_out(seconds: str) -> None:
    store: Any = None
    found = resume._curve(store, record_with(f"[[2.5, {seconds}], [2.0, 3.5]]"))
    assert found == [{"val_loss": 2.5}, {"val_loss": 2.0, "round_seconds": 3.5}]
    assert sum(resume._seconds(found)) == 3.5
