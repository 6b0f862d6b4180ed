"""`Site`: all that endpoints use; and what their descriptions share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Path, Query, Request

from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.service.answers import Answers
from lstm_sweep.search.service.auth import Login, User, check_owner
from lstm_sweep.search.service.bundles import Bundles
from lstm_sweep.search.service.data_names import DataNames
from lstm_sweep.search.service.events import Feeds
from lstm_sweep.search.service.logs import Metrics
from lstm_sweep.search.service.schemas import SWEEP_PATTERN
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import UPLOADS, HttpSettings
from lstm_sweep.search.service.uploads import Uploads
from lstm_sweep.search.store.cache import Cache, SharedSettings
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tags


@dataclass(frozen=True)
class Site:
    """All that endpoints use."""

    service: Service
    settings: HttpSettings
    login: Login
    answers: Answers
    uploads: Uploads
    names: DataNames
    bundles: Bundles
    feeds: Feeds
    metrics: Metrics

    @classmethod
    def of(cls, service: Service, settings: HttpSettings) -> Site:
        """The parts of a service with these settings; its folder exists.

        Raises:
            InputError: the file with the tokens cannot be used.
        """
        limits, folder = settings.limits, settings.folder
        reads = service.reads
        cache = reads.shared.cache if isinstance(reads, SharedSettings) else Cache(None)
        answers = Answers(cache, settings.remembered_s)
        uploads = Uploads(folder / UPLOADS, limits)
        login = Login(settings)
        login.tokens.rows()
        return cls(
            service=service,
            settings=settings,
            login=login,
            answers=answers,
            uploads=uploads,
            names=DataNames(uploads, settings.data_roots, allow_code=settings.allow_code),
            bundles=Bundles(folder / "bundles", service.settings.store, limits),
            feeds=Feeds(service, answers, limits, look_every_s=settings.look_every_s),
            metrics=Metrics(),
        )

    def check_may_train(self, tags: Tags) -> None:
        """Refuse to train what the run with these tags is about if that runs code of a user.

        Raises:
            ProblemError: 403, and the service was started without `allow_code`.
        """
        if task_kind_of_run(tags).runs_user_code:
            self.names.check_code()

    def check_may_change(self, user: User, sweep: str) -> None:
        """Refuse a change of a sweep that belongs to somebody else; it is read from the store.

        Raises:
            ProblemError: 403.
            NoSuchRunError: there is no such sweep.
        """
        if not user.is_admin:
            check_owner(user, self.service.owner(sweep), f"sweep '{sweep}'")

    def user_of(self, request: Request) -> User:
        """Who has sent a request, asked again: a token may have been revoked since it came.

        Raises:
            ProblemError: 401, the login is known no more.
        """
        return self.login.user_of(request.headers, by_proxy=request.state.by_proxy)

    @property
    def store(self) -> Settings:
        """Where runs are read."""
        return self.service.reads


def note(request: Request, /, **details: object) -> None:
    """Note what a change gives, for the list of changes."""
    request.state.details = details


async def _site_of(request: Request) -> Site:
    return cast(Site, request.app.state.site)


async def _user_of(request: Request) -> User:
    return cast(User, request.state.user)


#: as parameters of endpoints
TheSite = Annotated[Site, Depends(_site_of)]
TheUser = Annotated[User, Depends(_user_of)]
#: name of a sweep in a path; it is checked by the core, which has the sentence
SweepName = Annotated[
    str, Path(description="name of a sweep", json_schema_extra={"pattern": SWEEP_PATTERN})
]
Number = Annotated[int, Path(description="number of a trial in its sweep", ge=0, lt=10**18)]
RunId = Annotated[
    str,
    Path(
        description="ID of a trial's run, or its beginning",
        json_schema_extra={"pattern": "^[0-9A-Za-z]{1,32}$"},
    ),
]
Limit = Annotated[int, Query(description="rows of the answer, at most", ge=1, le=1_000)]
Page = Annotated[
    str,
    Query(
        description="`next_page` of the answer before; without one the first rows are meant",
        max_length=200,
        pattern="^[0-9A-Za-z+/=_-]*$",
    ),
]
#: rows of an answer without a limit: sweeps, and others
SWEEPS, ROWS = 20, 100


def refusals(given: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint beside those of all: when, by status."""
    return {status: {"description": text} for status, text in given.items()}
