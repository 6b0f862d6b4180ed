from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.search.process import secrets
from lstm_sweep.search.store import address, artifacts
from lstm_sweep.search.store.settings import Settings

HTTP, POSTGRES, SQLITE = "http://host:5000", "postgresql://host/runs", "sqlite:////runs.db"


def settings_of(uri: str) -> Settings:
    return Settings(uri, None, "test", "test")


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("file:///a/my%20runs/1", Path("/a/my runs/1")),
        ("/a/b", Path("/a/b")),
        ("s3://bucket/a", None),
        ("mlflow-artifacts:/1", None),
    ],
)
def test_a_folder_of_files_is_told_from_other_places(location: str, folder: Path | None) -> None:
    assert artifacts.folder_of(location) == folder


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
    found = artifacts.out_of_reach(location, settings_of(uri))
    assert found.startswith(why) and bool(found) == bool(why)


@pytest.mark.parametrize("uri", [HTTP, POSTGRES])
def test_a_bucket_without_its_package_is_named(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = artifacts.out_of_reach("s3://bucket/a", settings_of(uri))
    assert why.startswith("its files lie at s3://bucket/a, and it needs boto3")
    assert why.endswith("expected: pip install lstm-sweep[server]")
    assert artifacts.out_of_reach("mlflow-artifacts:/1", settings_of(HTTP)) == ""


@pytest.mark.parametrize(
    ("uri", "package"),
    [
        (POSTGRES, "psycopg2, expected: pip install lstm-sweep[server]"),
        ("postgresql+psycopg2://host/runs", "psycopg2, expected: pip install lstm-sweep[server]"),
        ("postgresql+pg8000://host/runs", "the module pg8000"),
        ("mysql://host/runs", "the module MySQLdb"),
        ("mysql+mysqldb://host/runs", "the module MySQLdb"),
        (SQLITE, ""),
        (HTTP, ""),
    ],
)
def test_a_database_without_its_driver_is_named(
    uri: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = address.lacking(uri)
    assert package in why and bool(why) == bool(package)


@pytest.mark.parametrize("uri", ["mysql://host/runs", "mysql+mysqldb://host/runs"])
def test_a_database_with_its_driver_is_not_refused(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "MySQLdb" or None)
    assert address.lacking(uri) == ""


@pytest.mark.parametrize(
    ("options", "is_secret"),
    [
        ("sslmode=verify-full&sslkey=/keys/client.key&passfile=/keys/pgpass", False),
        ("ssl_key=/keys/client.key&keepalives=1&get_server_public_key=yes", False),
        *((f"a=b&{name}=planted", True) for name in ("pwd", "PassWord", "sslpassword", "api_key")),
        *((f"{name}=planted", True) for name in ("passwd", "pass", "access_token", "secret")),
    ],
)
def test_an_option_that_is_secret_is_refused_and_hidden_alike(
    options: str, is_secret: bool
) -> None:
    uri = f"postgresql://host/runs?{options}"
    assert address.holds_password(uri) == is_secret
    secrets.hide_address(uri)
    text = "planted, /keys/client.key"
    assert secrets.without_secrets(text) == (f"***, {text[9:]}" if is_secret else text)


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        (POSTGRES, "postgresql+psycopg2://host/runs"),
        ("postgresql://me:a@b@host/runs?a=b://c", "postgresql+psycopg2://me:a@b@host/runs?a=b://c"),
        ("postgresql+psycopg://host/runs", "postgresql+psycopg://host/runs"),
        ("mysql://host/runs", "mysql+mysqldb://host/runs"),
        (SQLITE, SQLITE),
        (HTTP, HTTP),
    ],
)
def test_mlflow_is_given_the_driver_that_is_looked_for(uri: str, given: str) -> None:
    assert settings_of(uri).mlflow_uri == given


def test_a_place_that_a_database_cannot_hold_is_refused() -> None:
    most, longer = f"file:///{'a' * 149}", f"file:///{'a' * 150}"
    assert len(f"{most}/{'0' * 32}/artifacts") == 200
    assert artifacts.too_long(most, settings_of(POSTGRES)) == ""
    assert "158 characters, expected at most 157" in artifacts.too_long(
        longer, settings_of(POSTGRES)
    )
    assert artifacts.too_long(longer, settings_of(SQLITE)) == ""
    assert artifacts.too_long(longer, settings_of(HTTP)) == ""


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    assert artifacts.not_writable((tmp_path / "new" / "er").as_uri()) == ""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file is a file" in artifacts.not_writable(
        (tmp_path / "file" / "a").as_uri()
    )
    assert artifacts.not_writable("s3://bucket") == ""
    assert not list(tmp_path.glob("new"))


def test_a_folder_without_permission_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda place, mode: False)  # root may write anywhere
    assert f"no permission to write to {tmp_path}" in artifacts.not_writable(tmp_path.as_uri())
