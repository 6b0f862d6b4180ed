from __future__ import annotations

import pytest

from lstm_sweep.search.engines.local import find_slots


@pytest.mark.parametrize(
    "workers, per_gpu, expected",
    [
        (None, 1, ["0", "1"]),
        (None, 2, ["0", "1", "0", "1"]),
        (2, 4, ["0", "1"]),  # fewer than there are places for: each has a GPU of its own
        (3, 2, ["0", "1", "0"]),
        (3, 1, ["0", "1", "0"]),
    ],
)
def test_places_are_spread_evenly_over_gpus(
    workers: int | None, per_gpu: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    slots = find_slots(workers, per_gpu)
    assert [slot.gpu for slot in slots] == expected
    assert [slot.index for slot in slots] == list(range(len(expected)))
