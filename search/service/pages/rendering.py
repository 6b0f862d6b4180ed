"""Templates of the pages, and refusals as pages."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse

from lstm_sweep.search.api.errors import NAMED
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.report.findings import by_name
from lstm_sweep.search.report.svg import NOT_XML, duration
from lstm_sweep.search.service import problems
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.site import Site
from lstm_sweep.search.values.times import time_left_text

HERE = Path(__file__).parent
#: where a browser logs in
LOGIN = "/login"
#: headings of refusals whose names in HTTP say little to people
TITLES = {403: "Not allowed", 409: "Not possible now", 422: "Not possible"}
#: what is refused with a sentence
REFUSALS: tuple[type[Exception], ...] = (ProblemError, *NAMED.values())


class Looks(NamedTuple):
    """What a page shows depends on: what the user may do, and whether they have logged in."""

    #: may change something
    may_run: bool = False
    #: has logged in here and not at a proxy, and can log out
    logged_in: bool = False
    #: may change what is others', and may go before them
    is_admin: bool = False
    #: whose sweeps the user may change, where the page depends on that
    name: str = ""

    @classmethod
    def of(cls, site: Site, user: User) -> Looks:
        """What a page shows to all like this user."""
        logged_in = site.settings.asks_login and not site.settings.user_header
        return cls(user.may_run, logged_in, user.is_admin)

    def may_change(self, owner: str | None) -> bool:
        """Whether what changes a sweep of this owner is shown."""
        return self.is_admin or (self.may_run and bool(owner) and owner == self.name)


@functools.cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_allowed,
    )  # fmt: skip
    found.filters |= {"duration": duration, "time_left": time_left_text, "by_name": by_name}
    found.filters["metric"] = metric
    return found


def metric(value: float) -> str:
    """A number of a round, with as many decimals as others of its size."""
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.6g}"


def _allowed(value: object) -> object:
    """A text without secrets and characters that HTML does not allow; it is escaped after that."""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return NOT_XML.sub("\ufffd", without_secrets(str(value))) if plain else value


def rendered(template: str, looks: Looks | None = None, **values: Any) -> str:
    """A page as HTML, for who looks at it; texts of `values` are without secrets."""
    return str(_templates().get_template(template).render(looks=looks or Looks(), **values))


def page(html: str, status: int = 200) -> Response:
    """A page as a response."""
    return HTMLResponse(html.encode("utf-8", "replace"), status)


def moved(to: str) -> Response:
    """Where a browser goes after a form."""
    return RedirectResponse(to, 303)


def refused(problem: Response) -> Response:
    """A problem document as a page."""
    document = json.loads(bytes(problem.body))
    title = TITLES.get(problem.status_code, document["title"].capitalize())
    shown = page(
        rendered("refused.html", title=title, detail=document["detail"]),
        problem.status_code,
    )
    if "retry-after" in problem.headers:
        shown.headers["Retry-After"] = problem.headers["retry-after"]
    return shown


def for_browser(path: str, accepts: str, problem: Response) -> Response:
    """What the guard's refusal of a request is to whoever accepts HTML; without a login: its page.

    Programs, and requests of scripts, get the problem document itself.
    """
    if "text/html" not in accepts or path.startswith("/api/"):
        return problem
    return moved(LOGIN) if problem.status_code == 401 else refused(problem)


class PageRoute(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with its refusals caught."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return refused(await problems.on_invalid(request, error))
            except HTTPException as error:
                return refused(await problems.on_http_error(request, error))
            except REFUSALS as error:
                return refused(problems.response_of(error))

        return handled
