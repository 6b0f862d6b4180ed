"""Where TensorFlow computes; the GPUs are a stand-in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lstm_sweep.models import backend


@pytest.mark.parametrize("begun", [False, True])
def test_what_is_to_use_the_cpu_uses_no_gpu_or_says_that_it_cannot(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = ["gpu 0"]

    def set_visible_devices(devices: list[str], kind: str) -> None:
        if begun:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        seen[:] = devices

    config = SimpleNamespace(set_visible_devices=set_visible_devices)
    monkeypatch.setattr(backend, "on_gpu", lambda: bool(seen))
    if not begun:
        backend._hide_gpus(SimpleNamespace(config=config))
        assert not backend.on_gpu()
        return
    with pytest.raises(RuntimeError, match="uses a GPU already, expected one that has not begun"):
        backend._hide_gpus(SimpleNamespace(config=config))
    seen.clear()  # initialized without a GPU
    backend._hide_gpus(SimpleNamespace(config=config))
