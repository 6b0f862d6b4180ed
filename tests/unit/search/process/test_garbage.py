from __future__ import annotations

import gc
import itertools
import weakref

import pytest

from lstm_sweep.search.process.garbage import AT_ONCE, none_while_starting, only_of_what_comes


class Knot:
    """Refers to itself, so only a search for garbage finds it."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_made_while_starting_is_left_alone_and_later_garbage_is_found() -> None:
    try:
        with pytest.raises(KeyError), none_while_starting():
            assert not gc.isenabled()
            early = weakref.ref(Knot())
            raise KeyError
        assert gc.isenabled()
        late = weakref.ref(Knot())
        gc.collect()
        assert early() is not None
        assert late() is None
    finally:
        gc.unfreeze()
        gc.collect()
    assert early() is None


def test_what_is_there_before_is_left_alone_until_it_is_over_and_later_garbage_is_found() -> None:
    gc.collect()
    early = weakref.ref(Knot())
    with pytest.raises(KeyError), only_of_what_comes() as leave_out:
        leave_out(AT_ONCE - 1)
        late = weakref.ref(Knot())
        gc.collect()
        assert early() is not None
        assert late() is None
        raise KeyError
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert early() is None


def test_the_more_is_kept_the_more_is_left_alone_some_at_a_time() -> None:
    with only_of_what_comes() as leave_out:
        counts = [gc.get_freeze_count()]
        kept = list[Knot]()
        for number in range(1, 2 * AT_ONCE + 1):
            kept.append(Knot())
            leave_out(number)
            if number % (AT_ONCE // 2) == 0:
                counts.append(gc.get_freeze_count())
        grown = [later - earlier for earlier, later in itertools.pairwise(counts)]
        # a few that were left alone before may go away meanwhile
        assert grown[0] <= 0 and grown[2] <= 0
        assert min(grown[1], grown[3]) > AT_ONCE // 2
