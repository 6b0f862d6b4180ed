from __future__ import annotations

import pytest

from lstm_sweep.search.process import secrets
from lstm_sweep.search.store import settings
from lstm_sweep.search.store.settings import Settings

HTTP, POSTGRES, SQLITE = "http://host:5000", "postgresql://host/runs", "sqlite:////runs.db"


def settings_of(uri: str) -> Settings:
    return Settings(uri, None, "test", "test")


@pytest.mark.parametrize(
    "uri, given",
    [
        ("postgresql+psycopg2://me@host/runs", "postgresql+psycopg2://me@host/runs?{}"),
        ("postgresql+psycopg://host/runs?sslmode=require", "{0}&{1}"),
        ("postgresql+psycopg2://host/runs?connect_timeout=5", "{0}"),
        ("sqlite:////runs.db", "{0}"),
        ("mysql+mysqldb://host/runs", "{0}"),
        ("http://host:5000", "{0}"),
    ],
)
def test_only_postgresql_is_given_a_limit_that_it_does_not_have(uri: str, given: str) -> None:
    limit = "connect_timeout=7"
    expected = given.format(uri, limit) if "{0}" in given else given.format(limit)
    assert settings.with_timeout(uri, 7) == expected


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
    why = settings.lacking(uri)
    assert package in why and bool(why) == bool(package)


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
    assert settings.holds_password(uri) == is_secret
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
