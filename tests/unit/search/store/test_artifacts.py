from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.settings import Settings

HTTP, POSTGRES, SQLITE = "http://host:5000", "postgresql://host/runs", "sqlite:////runs.db"


def settings_of(uri: str) -> Settings:
    return Settings(uri, None, "test", "test")


@pytest.mark.parametrize(
    ("location", "uri", "why"),
    [
        ("mlflow-artifacts:/1", POSTGRES, "a tracking server keeps its files"),
        ("mlflow-artifacts:/1", SQLITE, "a tracking server keeps its files"),
        ("mlflow-artifacts:/1", HTTP, ""),
        ("file:///a", SQLITE, ""),
        ("s3://bucket/a", POSTGRES, ""),
    ],
)
def test_files_behind_a_server_are_reached_by_its_address_alone(
    location: str, uri: str, why: str
) -> None:
    found = experiment.out_of_reach(location, settings_of(uri))
    assert found.startswith(why) and bool(found) == bool(why)


@pytest.mark.parametrize("uri", [HTTP, POSTGRES])
def test_a_bucket_without_its_package_is_named(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = experiment.out_of_reach("s3://bucket/a", settings_of(uri))
    assert why.startswith("its files are at s3://bucket/a, and it needs boto3")
    assert why.endswith("expected: pip install lstm-sweep[server]")
    assert experiment.out_of_reach("mlflow-artifacts:/1", settings_of(HTTP)) == ""


def test_a_place_that_a_database_cannot_hold_is_refused() -> None:
    most, longer = f"file:///{'a' * 149}", f"file:///{'a' * 150}"
    assert len(f"{most}/{'0' * 32}/artifacts") == 200
    assert experiment.too_long(most, settings_of(POSTGRES)) == ""
    assert "158 characters, expected at most 157" in experiment.too_long(
        longer, settings_of(POSTGRES)
    )
    assert experiment.too_long(longer, settings_of(SQLITE)) == ""
    assert experiment.too_long(longer, settings_of(HTTP)) == ""


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    assert experiment.not_writable((tmp_path / "new" / "er").as_uri()) == ""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file is a file" in experiment.not_writable(
        (tmp_path / "file" / "a").as_uri()
    )
    assert experiment.not_writable("s3://bucket") == ""
    assert not list(tmp_path.glob("new"))
