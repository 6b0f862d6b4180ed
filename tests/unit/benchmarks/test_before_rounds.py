"""Recordings are told to the version before rounds by its epochs."""

from __future__ import annotations

import json

import pytest

from benchmarks.before_rounds import FIELDS, by_epochs, recording, target_share
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
    first, *rows = map(json.loads, recording({**HEAD, "common": COMMON}, found).splitlines())
    assert set(first["space"]) == set(FIELDS) >= set(first["common"])
    assert first["space"]["epochs"] == first["common"]["epochs"] == 3
    assert first["corpus"] == HEAD["corpus"]
    assert [row["config"]["layer_size"] for row in rows] == [16, 32]
    assert [row["losses"] for row in rows] == [[7, 4, 1]] * 2


def test_the_loss_to_come_to_is_that_of_all_rounds() -> None:
    found = [curve(0.01, 16, [3, 2, 2.5, 2.2])]
    assert target_share(found, found) == pytest.approx(1.01)
    assert target_share(found, [by_epochs(found[0], 2)]) == pytest.approx(1.01)
    assert target_share(found, [by_epochs(found[0], 4)]) == pytest.approx(2.02 / 2.2)


def test_a_recording_that_ends_within_its_first_epoch_has_no_loss_to_come_to() -> None:
    found = [curve(0.01, 16, [3, 2])]
    assert target_share(found, [by_epochs(found[0], 4)]) == 0
