"""Recordings are read as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import curves
from tests.unit.benchmarks.recordings import COMMON, curve, write


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [curve(0.01, 16, [2.5, 2.25], seconds=0.5), curve(0.1, 32, [], fixed=1.5)]
    head, found = curves.read(write(tmp_path / "r.jsonl", written, held_out=True))
    assert found == written
    assert head["held_out"] is True


def test_a_line_has_only_the_fields_in_which_configs_differ() -> None:
    row = json.loads(curves.line_of(curve(0.01, 16, [2.0]), COMMON))
    assert row["config"] == {"learning_rate": 0.01, "layer_size": 16}


@pytest.mark.parametrize("file", sorted(curves.FOLDER.rglob("*.jsonl")), ids=lambda file: file.stem)
def test_each_recording_is_of_its_grid_and_its_curves_are_whole(file: Path) -> None:
    head, found = curves.read(file)
    rounds = head.get("rounds", head["space"]["epochs"])
    assert len({one.config for one in found}) == len(found) > 1
    for one in found:
        assert len(one.losses) == len(one.seconds) <= rounds
        assert one.outcome in ("complete", "diverged")
        assert one.outcome == "complete" or len(one.losses) < rounds
        assert min(one.seconds, default=one.fixed) > 0
