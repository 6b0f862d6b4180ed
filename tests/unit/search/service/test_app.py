from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.testclient import TestClient

from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.guard import OPEN
from lstm_sweep.search.service.problems import KINDS
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
    assert {str(kind.status) for _, kind in KINDS} <= statuses
    assert "HTTPValidationError" not in described["components"]["schemas"]


def test_nothing_is_loaded_from_elsewhere_to_read_the_description(place: Place) -> None:
    with place.client() as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 401
