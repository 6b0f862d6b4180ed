"""Where a caller of the Python API keeps runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep._launch import settings_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; its runs are elsewhere."""
    (tmp_path / "mlflow.yaml").write_text("experiment: above\n", encoding="utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/mlflow.yaml").write_text("tracking_uri: sqlite:///a.db\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    return tmp_path


@pytest.mark.parametrize(
    "store, uri, artifacts",
    [
        (None, "http://127.0.0.1:1", None),  # as the command line
        ("runs", "sqlite:///{}/runs/mlflow.db", "file://{}/runs/mlartifacts"),
        (Path("runs"), "sqlite:///{}/runs/mlflow.db", "file://{}/runs/mlartifacts"),
        ("own", "sqlite:///{}/own/a.db", "file://{}/own/mlartifacts"),
        ("sqlite:///b.db", "sqlite:///{}/b.db", "file://{}/mlartifacts"),
        ("http://host:5000", "http://host:5000", None),
    ],
)
def test_a_store_is_a_folder_or_an_address(
    folder: Path, store: Any, uri: str, artifacts: str | None
) -> None:
    found = settings_of(store)
    assert found.tracking_uri == uri.format(folder)
    assert found.artifacts == (artifacts and artifacts.format(folder))


@pytest.mark.parametrize("store", ["", "mlflow.yaml", "a\0b", "ftp://host"])
def test_other_stores_are_refused(folder: Path, store: str) -> None:
    with pytest.raises(ls.InputError, match="expected"):
        settings_of(store)
