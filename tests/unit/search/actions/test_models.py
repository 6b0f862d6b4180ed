"""What `export` refuses before it looks for a trial."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.settings import Settings


@pytest.mark.parametrize("lacking", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_said_how_to_get_it(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == lacking else find(name)
    )
    settings = Settings(f"sqlite:///{tmp_path / 'mlflow.db'}", None, "test", "test")
    with pytest.raises(InputError) as refused:
        Local(settings).export("s", str(tmp_path / "best"), format="onnx")
    assert str(refused.value) == (
        f"--format onnx: it needs {lacking}, expected: pip install lstm-sweep[onnx]"
    )
