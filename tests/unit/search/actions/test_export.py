"""What `export` keeps of a bundle, and what not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import export
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.store.tracking import Store

RECORD = TrialRecord(sweep="good", number=3, config=TrialConfig(), seed=1, tags=Tags.of("r", {}))


def kept(to: Path, parity: dict[str, Any], *, unchecked: bool = False) -> dict[str, Any]:
    """What comes of a bundle that was checked so far."""

    def write(folder: Path, format: str) -> dict[str, Any]:
        folder.mkdir()
        (folder / "model.keras").write_text(format)
        return {"parity": parity}

    kind = mock.Mock(bundle_writer=lambda store, record: write)
    with mock.patch.object(export, "task_kind_of_run", lambda tags: kind):
        return export.write_bundle(mock.Mock(Store), RECORD, to, "keras", unchecked=unchecked)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "the store has no inputs that its network was trained on"),
        ({"not_loaded": "its network is not loaded (no layer Mean)"}, "no layer Mean"),
    ],
)
def test_one_that_cannot_be_checked_is_kept_only_if_the_user_says_so(
    tmp_path: Path, more: dict[str, str], why: str
) -> None:
    parity = {"max_difference": None, "windows": 0, **more}
    with pytest.raises(InputError) as refused:
        kept(tmp_path / "best", parity)
    assert str(refused.value).startswith("trial good/3: ")
    assert why in str(refused.value)
    assert str(refused.value).endswith("expected --unchecked, to export it all the same")
    assert list(tmp_path.iterdir()) == []
    assert kept(tmp_path / "best", parity, unchecked=True)["parity"] == parity
    assert (tmp_path / "best" / "model.keras").exists()


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
