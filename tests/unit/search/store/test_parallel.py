from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lstm_sweep.search.store.journal import AT_ONCE, each_of


class Asked:
    """Stands in for a store whose requests have a limit."""

    wait_for_answer = None

    def __init__(self, *, times_out_after: int | None = None) -> None:
        self._left = times_out_after

    @contextmanager
    def limit_request(self) -> Iterator[None]:
        if self._left == 0:
            raise TimeoutError
        self._left = None if self._left is None else self._left - 1
        yield


def test_many_are_asked_for_at_a_time_and_each_once() -> None:
    store: Any = Asked()
    together = threading.Barrier(AT_ONCE, timeout=20)
    asked = list[int]()

    def ask(other: Any, item: int) -> None:
        assert other is not store and other.wait_for_answer is None
        together.wait()  # passes if so many threads are in it
        asked.append(item)

    items = range(3 * AT_ONCE)
    assert sorted(each_of(items, ask, store)) == sorted(asked) == [*items]


def test_one_that_fails_does_not_count() -> None:
    store: Any = Asked()

    def ask(other: Any, item: int) -> None:
        if item == 1:
            raise OSError

    assert sorted(each_of([0, 1, 2], ask, store)) == [0, 2]
    assert each_of([], ask, store) == []


def test_what_is_late_is_not_waited_for_and_nothing_more_is_begun() -> None:
    store: Any = Asked(times_out_after=1)
    goes_on, asked = threading.Event(), list[int]()

    def ask(other: Any, item: int) -> None:
        asked.append(item)
        if item:
            goes_on.wait(20)

    done = each_of(range(100), ask, store)
    goes_on.set()
    assert done == [0] and len(asked) <= AT_ONCE + 1
