"""MLflow's client with its requests counted, which can be made to wait or to fail."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class CountedClient:
    """A client whose requests are counted by name."""

    def __init__(self, client: Any) -> None:
        self._client, self.asked = client, Counter[str]()
        #: what the next requests wait for
        self.may = threading.Event()
        self.may.set()
        #: what they raise
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            self.asked[name] += 1
            assert self.may.wait(60)
            if self.fault:
                raise self.fault
            return getattr(self._client, name)(*arguments, **more)

        return call

    @property
    def count(self) -> int:
        """How many requests there were."""
        return self.asked.total()
