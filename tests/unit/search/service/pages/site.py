"""A browser without JavaScript before the pages of a service over a real store."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from lstm_sweep.search.service.app import create_app
from tests.service_app import HERE, Place

#: what a browser sends with the forms of a page of the service
SENT = {"Accept": "text/html", "Origin": HERE, "Sec-Fetch-Site": "same-origin"}


def browser(place: Place, **headers: str) -> TestClient:
    """A client of the pages, which follows redirections."""
    app = create_app(place.service, place.settings)
    return TestClient(app, base_url=HERE, headers=SENT | headers)


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found = list[tuple[str, dict[str, Any]]]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, Any]]:
        """Attributes of the elements of a kind."""
        return [given for name, given in self.found if name == tag]


def check(html: str) -> None:
    """That the content security policy blocks nothing of a page, and that it can be read aloud."""
    page = Elements(html)
    for tag, given in page.found:
        assert "style" not in given and tag != "style", tag
        assert not [name for name in given if name.startswith("on")], tag
        places = (given.get(name) or "" for name in ("src", "action", "href"))
        own = [place.startswith(("/", "#", "data:")) for place in places if place]
        assert all(own) and not any("//" in (given.get(name) or "") for name in ("src", "action"))
    assert [given["src"] for given in page.all("script")] == ["/static/page.js"]
    assert len(page.all("h1")) == 1 and len(page.all("title")) >= 1
    assert len(page.all("caption")) == len(page.all("table"))
    labelled = {given.get("for") for given in page.all("label")}
    for given in page.all("input") + page.all("select") + page.all("textarea"):
        named = given.get("id") in labelled or "aria-label" in given or "id" not in given
        assert named or given.get("type") == "hidden", given
