from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.service.scheduler import fair_shares


def test_what_some_do_not_want_is_shared_by_the_others() -> None:
    assert fair_shares([1, 9, 9], 8) == [1, 4, 3]
    assert fair_shares([9, 0, 9], 3) == [2, 0, 1]
    assert fair_shares([], 3) == []


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 30))
def test_shares_are_even_and_nothing_is_left_that_somebody_wants(
    wanted: list[int], slots: int
) -> None:
    shares = fair_shares(wanted, slots)
    assert sum(shares) == min(slots, sum(wanted))
    assert all(share <= want for share, want in zip(shares, wanted, strict=True))
    short = [share for share, want in zip(shares, wanted, strict=True) if share < want]
    if short:
        assert max(shares) <= min(short) + 1
