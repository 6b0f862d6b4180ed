"""How long a connection to a database may take stands in its address, not in the environment."""

from __future__ import annotations

import pytest

from lstm_sweep.search.store.address import with_timeout


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
    assert with_timeout(uri, 7) == expected
