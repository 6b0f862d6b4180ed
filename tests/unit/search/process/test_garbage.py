from __future__ import annotations

import gc
import weakref

import pytest

from lstm_sweep.search.process.garbage import none_while_starting


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
