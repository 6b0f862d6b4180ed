from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.testclient import TestClient

from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.auth import Role, TokenFile
from lstm_sweep.search.service.guard import OPEN, READING
from lstm_sweep.search.service.pages import actions
from lstm_sweep.search.service.problems import STATUSES
from tests.service_app import API, HERE, Place


@pytest.fixture
def place(workplace: Callable[[str], Path]) -> Place:
    return Place.in_folder(workplace("app"), asks_login=True)


def test_further_pages_find_the_service_and_need_a_login_unless_they_are_open(place: Place) -> None:
    pages = APIRouter()

    @pages.get("/")
    @pages.get("/more")
    async def page(request: Request) -> Response:
        return Response(f"{len(request.app.state.site.service.queue())} wait")

    app = create_app(place.service, place.settings, pages=[pages], open_paths=["/more"])
    with TestClient(app, base_url=HERE) as client:
        assert client.get("/more").text == "0 wait"
        assert client.get("/").status_code == 401


def test_each_endpoint_describes_all_its_refusals(place: Place) -> None:
    with place.client() as client:
        described = client.get(f"{API}/openapi.json").json()
    statuses = set[str]()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            found: dict[str, Any] = operation["responses"]
            statuses |= found.keys()
            assert {"421", "500"} <= found.keys(), f"{method} {path}"
            assert path in OPEN or {"401", "429", "503"} <= found.keys(), f"{method} {path}"
            assert method == "get" or "413" in found, f"{method} {path}"
            for status, answer in found.items():
                if status >= "400":
                    assert [*answer["content"]] == ["application/problem+json"]
    assert set(map(str, STATUSES.values())) <= statuses
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_nothing_is_loaded_from_elsewhere_to_read_the_description(place: Place) -> None:
    with place.client() as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 401


def test_who_may_read_starts_no_work(place: Place) -> None:
    token = TokenFile(place.settings.folder).add("reader", Role.READ)
    allowed = {f"{API}/yaml", f"{API}/session", "/login", "/logout"}
    app = create_app(place.service, place.settings, pages=actions.PAGES, open_paths=actions.OPEN)
    names = {"sweep": "s", "number": "1", "run": "0" * 32, "corpus": "0" * 32, "rerun": "0" * 16}
    described = app.openapi()["paths"]
    found = {(method.upper(), path) for path, methods in described.items() for method in methods}
    routes = [route for router in actions.PAGES for route in router.routes]
    found |= {(method, route.path) for route in routes for method in route.methods}  # type: ignore[attr-defined]
    changes = {(method, path) for method, path in found if method not in READING}
    with TestClient(app, base_url=HERE, headers={"Authorization": f"Bearer {token}"}) as client:
        for method, path in changes:
            if path not in allowed:
                answer = client.request(method, path.format(**names))
                assert answer.status_code == 403, f"{method} {path}"
    started = {f"{API}/dry-runs", f"{API}/sizes", f"{API}/prune", "/sweeps/{sweep}/export"}
    assert started <= {path for _, path in changes}
