"""The rounds of a trial as they are read from runs that others may have written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.search.progress import round_seconds
from lstm_sweep.search.store.curves import read_curve
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags


def record_with(curve: str, **more: str) -> Any:
    """The record of a trial whose run has this curve, and more tags."""
    return SimpleNamespace(run_id="r", epochs=2, tags=Tags(run_with({Tag.CURVE: curve} | more)))


def run_with(tags: dict[str, str]) -> Any:
    """A run that has these tags."""
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


@pytest.mark.parametrize("seconds", ["NaN", "1e999", "-2", "0", "true", "null", "9" * 400])
def test_a_time_that_cannot_be_added_up_is_left_out(seconds: str) -> None:
    store: Any = None
    found = read_curve(store, record_with(f"[[2.5, {seconds}], [2.0, 3.5]]"))
    assert found == [{"val_loss": 2.5}, {"val_loss": 2.0, "round_seconds": 3.5}]
    assert sum(round_seconds(found)) == 3.5


def test_the_seconds_of_scoring_are_read_if_the_version_has_written_them() -> None:
    store: Any = None
    more = {Tag.SCORING_SECONDS: "[0.25, null]"}
    found = read_curve(store, record_with("[[2.5, 1.0], [2.0, 3.5]]", **more))
    assert [one.get("scoring_seconds") for one in found] == [0.25, None]
    known: dict[str, Any] = {"val_loss": {1: 2.5}, "scoring_seconds": {1: 0.5}}
    of_metrics: Any = SimpleNamespace(history=lambda run_id, name: known.get(name, {}))
    no_tag: Any = SimpleNamespace(run_id="r", epochs=1, tags=Tags(run_with({})))
    assert read_curve(of_metrics, no_tag) == [{"val_loss": 2.5, "scoring_seconds": 0.5}]


@pytest.mark.parametrize("text", ["[0.25]", '["a", "b"]', "[NaN, 1]", "{}"])
def test_seconds_of_scoring_that_are_none_are_refused(text: str) -> None:
    store: Any = None
    record = record_with("[[2.5, 1.0], [2.0, 3.5]]", **{Tag.SCORING_SECONDS: text})
    with pytest.raises(BadRunError, match=f"tag {Tag.SCORING_SECONDS} is "):
        read_curve(store, record)
