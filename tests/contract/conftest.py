from __future__ import annotations

import pytest

from lstm_sweep.search.store.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    """Where sweeps are kept, unless a module has a store of its own."""
    return MemoryStore()
