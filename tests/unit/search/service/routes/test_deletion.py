from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lstm_sweep.search import cli
from lstm_sweep.search.service.auth import Role, TokenFile
from tests.service_app import API, Place, use_scripted_engines


@pytest.fixture
def place(workplace: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    use_scripted_engines(monkeypatch)
    place = Place.in_folder(workplace("deletion"), asks_login=True)
    for name, owner in (("mine", "ann"), ("yours", "bob")):
        place.launch(data, name)
        place.service.owners[name] = owner
    return place


@pytest.fixture
def clients(place: Place) -> Iterator[dict[str, TestClient]]:
    tokens = TokenFile(place.settings.folder)
    roles = {"ann": Role.RUN, "reader": Role.READ, "root": Role.ADMIN}
    made = {name: tokens.add(name, role) for name, role in roles.items()}
    with place.client() as client:
        yield {
            name: TestClient(
                client.app, base_url="http://localhost",
                headers={"Authorization": f"Bearer {token}"},
            )
            for name, token in made.items()
        }  # fmt: skip


def test_a_sweep_is_deleted_by_its_owner_or_an_admin(
    clients: dict[str, TestClient], place: Place
) -> None:
    assert clients["ann"].delete(f"{API}/sweeps/yours").status_code == 403
    found = clients["ann"].delete(f"{API}/sweeps/mine?dry_run=true").json()
    assert found["runs"] > 3 and found["bytes"] > 0
    runs = 0
    while (answer := clients["ann"].delete(f"{API}/sweeps/mine")).status_code == 200:
        runs += answer.json()["runs"]
        assert answer.json()["left"] == found["runs"] - runs
        if not answer.json()["left"]:
            break
    assert clients["root"].delete(f"{API}/sweeps/mine").status_code == 404
    assert clients["root"].delete(f"{API}/sweeps/yours").status_code == 200


def test_a_user_prunes_what_is_the_user_s_own(clients: dict[str, TestClient], place: Place) -> None:
    body = {"older_than_seconds": 0, "dry_run": True}
    assert clients["reader"].post(f"{API}/prune", json=body).status_code == 403
    assert clients["ann"].post(f"{API}/prune", json=body).json()["sweeps"] == []
    listed = clients["root"].post(f"{API}/prune", json=body).json()["sweeps"]
    assert [one["sweep"] for one in listed] == ["mine", "yours"]
    for wrong in ({}, {"older_than_seconds": -1}, body | {"x": 1}, {"older_than_seconds": "soon"}):
        assert clients["root"].post(f"{API}/prune", json=wrong).status_code == 422


def test_commands_delete_by_a_service(
    clients: dict[str, TestClient], place: Place, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    token = clients["root"].headers["Authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("LSTM_SWEEP_TOKEN", token)
    with place.served() as address:
        assert cli.main(["delete", "mine", "--yes", "--server", address]) == 0
        assert capsys.readouterr().out.startswith("sweep mine: ")
        command = ["prune", "--older-than", "0h", "--yes", "--server", address]
        assert cli.main([*command, "--keep-best"]) == 0
        assert "sweep yours beside its best trial: 2 runs" in capsys.readouterr().out
        assert cli.main(command) == 0
    assert [row.sweep for row in place.service.sweeps()] == []
