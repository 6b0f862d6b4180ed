from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.search.process import forkserver


@pytest.mark.parametrize("failures", [1, 1_000])
def test_a_forkserver_that_dies_in_a_long_import_is_replaced_and_not_for_ever(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, starts = [0.0], [0]

    class Process:
        def __init__(self, **about: Any) -> None:
            pass

        def start(self) -> None:
            starts[0] += 1
            now[0] += 2 * forkserver.FORK_WITHIN_S
            if starts[0] <= failures:
                raise EOFError

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(forkserver, "time", clock)
    monkeypatch.setattr(forkserver, "_Process", Process)
    monkeypatch.setattr(forkserver, "warm_up", lambda **more: None)
    if failures == 1:
        process, pipe = forkserver.fork(print)
        assert isinstance(process, Process)
        pipe.close()
        assert starts == [2]
    else:
        with pytest.raises(EOFError):
            forkserver.fork(print)
        assert starts == [2]
