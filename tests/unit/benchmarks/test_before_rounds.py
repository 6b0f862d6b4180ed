"""Recordings are told to the version before rounds by its epochs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.before_rounds import KNOWN, by_epochs, is_whole, recording, target_share
from tests.unit.benchmarks.recordings import COMMON, HEAD, curve


def test_an_epoch_has_the_loss_at_its_end_and_the_seconds_of_its_rounds() -> None:
    found = by_epochs(curve(0.01, 16, [9, 8, 7, 6, 5, 4, 3, 2], seconds=0.5, fixed=2.0), 3)
    assert found.losses == (7, 4)
    assert found.seconds == (1.5, 1.5)
    assert found.fixed == 3.0  # with the two rounds of an epoch that was not ended


def test_by_rounds_a_curve_stays_as_it_is() -> None:
    one = curve(0.01, 16, [3, 2.5, 2.75])
    assert by_epochs(one, 1) == one


def test_a_recording_has_the_fields_and_epochs_of_that_version() -> None:
    found = [by_epochs(curve(0.01, size, range(9, 0, -1)), 3) for size in (16, 32)]
    text = recording({**HEAD, "common": COMMON}, found, symbols=4_000)
    first, *rows = map(json.loads, text.splitlines())
    assert set(first["space"]) == set(KNOWN) >= set(first["common"])
    assert first["space"]["epochs"] == first["common"]["epochs"] == 3
    assert first["corpus"] == HEAD["corpus"] | {"characters": 5_000}
    assert [row["config"]["layer_size"] for row in rows] == [16, 32]
    assert [row["losses"] for row in rows] == [[7, 4, 1]] * 2


def test_a_grid_is_replayed_if_all_configs_of_a_rate_are_recorded() -> None:
    file, part = Path("r.jsonl"), [curve(0.01, 16, [3, 2]), curve(0.1, 32, [3, 2])]
    assert not is_whole(HEAD, part, file)
    assert is_whole(HEAD, [*part, curve(0.01, 32, [3, 2])], file)


def test_the_loss_to_come_to_is_that_of_all_rounds() -> None:
    found = [curve(0.01, 16, [3, 2, 2.5, 2.2])]
    assert target_share(found, found) == pytest.approx(1.01)
    assert target_share(found, [by_epochs(found[0], 2)]) == pytest.approx(1.01)
    assert target_share(found, [by_epochs(found[0], 4)]) == pytest.approx(2.02 / 2.2)


def test_a_recording_that_ends_within_its_first_epoch_has_no_loss_to_come_to() -> None:
    found = [curve(0.01, 16, [3, 2])]
    assert target_share(found, [by_epochs(found[0], 4)]) == 0
