from __future__ import annotations

import pytest

from lstm_sweep.search.sweep.corpus_task import parity_windows


@pytest.mark.parametrize(
    ("length", "alphabet", "windows"),
    [(20, 100, 100), (160, 1_000, 100), (100, 5_000, 33), (160, 50_000, 10)],
)
def test_a_bundle_is_compared_on_fewer_windows_where_they_take_much_memory(
    length: int, alphabet: int, windows: int
) -> None:
    assert parity_windows(length, alphabet) == windows
