"""Asks a server for many things at a time, each in a thread."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from lstm_sweep.search.store.tracking import Store, at_once

Item = TypeVar("Item")

#: requests at a time; MLflow's client has ten connections
AT_ONCE = 8


def each_of(items: Iterable[Item], ask: Callable[[Store, Item], None], store: Store) -> list[Item]:
    """Call `ask` for each of the items, many at a time; those for which it did not fail.

    Nothing is tried again, and nothing more is begun once a request has a time limit, and reaches
    it.
    """
    waiting = collections.deque(items)
    answers: queue.SimpleQueue[tuple[Item, bool]] = queue.SimpleQueue()
    other, count = at_once(store), len(waiting)

    def work() -> None:
        while waiting:
            with contextlib.suppress(IndexError):  # another thread has taken the last
                item = waiting.popleft()
                answers.put((item, _asked(ask, other, item)))

    for _ in range(min(AT_ONCE, count)):
        # it does not keep the program from ending if the server is mute
        threading.Thread(target=work, name="requests", daemon=True).start()
    done = list[Item]()
    with contextlib.suppress(TimeoutError):
        for _ in range(count):
            with store.limit_request():
                item, succeeded = answers.get()
            if succeeded:
                done.append(item)
    waiting.clear()
    return done


def _asked(ask: Callable[[Store, Item], None], store: Store, item: Item) -> bool:
    try:
        ask(store, item)
    except Exception:
        return False
    return True
