"""`Site`: all that endpoints use; what names data in a request; and what descriptions share."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath

from lstm_sweep.models.data.source import SAMPLES, all_files, existing
from lstm_sweep.models.errors import InputError, cut, resolved, shown, why_not
from lstm_sweep.search.actions.sweeps import SweepResult, SweepRow, SweepStatusReport
from lstm_sweep.search.actions.transfers import CORPUS, SERVER
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.service.answers import Answers, ProblemError
from lstm_sweep.search.service.auth import Login, User, check_owner
from lstm_sweep.search.service.bundles import Bundles
from lstm_sweep.search.service.events import Feeds
from lstm_sweep.search.service.jobs import Rerun
from lstm_sweep.search.service.logs import Metrics
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.schemas import SWEEP_PATTERN, checked_settings
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import API, BUNDLES, UPLOADS, HttpSettings
from lstm_sweep.search.service.uploads import CORPUS_ID, Uploads
from lstm_sweep.search.store.cache import Cache, SharedSettings
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import FILES, SweepSpec, names_file
from lstm_sweep.spaces.presets import SPACES
from lstm_sweep.spaces.space import with_settings

Told = TypeVar("Told", SweepStatusReport, SweepResult, SweepRow, QueuedSweep, Rerun)
Handler = TypeVar("Handler", bound=Callable[..., Any])

#: what stands before a sentence about a field, as `SWEEP.yaml` does on the command line
WHERE = "request"
#: fields that name sequences: a sample, a file or a folder
SEQUENCES = ("data", "calibrate")


class DataNames:
    """Finds the data that a request names; 403 without --allow-code, 404 for no corpus."""

    def __init__(
        self, uploads: Uploads, roots: tuple[Path, ...], *, allow_code: bool, store: str
    ) -> None:
        """`store` is what the core calls the store, which clients do not know."""
        self._uploads, self._roots, self._allow_code = uploads, roots, allow_code
        self._store = store

    def spec_of(self, fields: Mapping[str, Any]) -> SweepSpec:
        given = dict(fields)
        settings = checked_settings(given.pop("set", []))
        space = given.get("space", "default")
        if isinstance(space, str) and space not in SPACES:  # which would be the path of a file
            raise InputError(
                f"{WHERE}: space is {shown(space)}: expected {' or '.join(SPACES)}, or its "
                f"dimensions as in a space file"
            )
        if given.get("template") is not None:
            given["template"] = self.template(given["template"])
        elif "data" in given:
            given["data"] = self.data(given["data"])
        for field in FILES:
            if names_file(field, path := given.get(field)):
                given[field] = self.data(path, field)
        spec = SweepSpec.from_mapping(given, WHERE)
        if settings and spec.space.stands_in:
            raise InputError(f"{WHERE}: set is given with a {spec.space.stands_in}, expected none")
        return dataclasses.replace(spec, space=with_settings(spec.space, settings))

    def data(self, given: object, field: str = "data") -> str:
        if not isinstance(given, str) or not given:
            raise InputError(f"{WHERE}: {field} is {shown(given)}: expected a text")
        is_data = field in SEQUENCES
        if is_data and given in SAMPLES:
            return given
        if given.startswith(CORPUS):
            return str(self._uploads.path_of(given.removeprefix(CORPUS)))
        if given.startswith(SERVER):
            return str(self._below_a_root(field, given.removeprefix(SERVER)))
        samples = f"the name of a sample ({', '.join(SAMPLES)}), " if is_data else ""
        raise InputError(
            f"{WHERE}: {field} is {shown(given)}: expected {samples}{CORPUS}ID of an uploaded one, "
            f"or {SERVER}PATH below a folder of the service"
        )

    def template(self, given: object) -> str:
        self.check_code()
        return self.data(given, "template")

    def named(self, text: str) -> str:
        """A text with names as in requests in place of paths of the machine, also of cut ones."""
        folder = re.escape(str(self._uploads.folder_of("")))
        for corpus in set(re.findall(f"{folder}/({CORPUS_ID})", text)):
            with contextlib.suppress(ProblemError):  # it is deleted just now
                path = str(self._uploads.path_of(corpus))
                for written in (path, cut(path)):
                    text = text.replace(written, f"{CORPUS}{corpus}")
        text = text.replace(f"{self._uploads.folder_of('')}/", CORPUS)  # of one that was deleted
        text = text.replace(f" in {self._store}", "")
        for root in sorted(map(str, self._roots), key=len, reverse=True):
            text = text.replace(f"{root}/", SERVER).replace(root, SERVER)
        return text

    def told(self, found: Told) -> Told:
        """A document whose reason (`why`) has no path of the machine, as `named`."""
        return dataclasses.replace(found, why=found.why and self.named(found.why))

    def data_named(self, path: str) -> str:
        """What users call data: uploads and what lies elsewhere by their own name alone."""
        is_upload = path.startswith(str(self._uploads.folder_of("")))
        named = path if is_upload else self.named(path)
        return PurePath(path).name if named.startswith("/") else named

    def check_code(self) -> None:
        """Refuse templates, named by a request or by a run, where none is allowed."""
        if not self._allow_code:
            raise ProblemError(
                403,
                "template: it is code, which this service does not run: expected one that was "
                "started with --allow-code",
            )

    def _below_a_root(self, field: str, given: str) -> Path:
        named = f"{WHERE}: {field} is {shown(SERVER + given)}"
        if not self._roots:
            raise InputError(
                f"{named}: this service was started without --data-root, expected data that are "
                f"sent to it"
            )
        for root in self._roots:
            try:
                # `realpath` says nothing of what it finds, so nothing is learned of other folders
                path = Path(os.path.realpath(root / given))
                if not path.is_relative_to(root) or not resolved(path).exists():
                    continue
            except (OSError, RuntimeError, ValueError) as error:
                text = f"{named}: {why_not(error)}, expected a file or folder"
                raise InputError(text) from None
            if field in SEQUENCES:
                _check_links(named, path, root)
            return path
        raise InputError(
            f"{named}: no such file or folder below the folders of this service (--data-root), "
            f"expected the path of one there"
        )


def _check_links(named: str, path: Path, root: Path) -> None:
    """Refuse a folder with a link that leads out of the folder of the service."""
    for file in all_files(existing(str(path))):
        if not file.resolve().is_relative_to(root):
            raise InputError(
                f"{named}: {shown(file.name)} is a link that leads out of it, expected files "
                f"that are in it"
            )


class Site:
    """All that endpoints use: the parts of a service with these settings, whose folder exists."""

    def __init__(self, service: Service, settings: HttpSettings) -> None:
        """Read what is there of the files of the service."""
        limits, folder, store = settings.limits, settings.folder, service.reads
        cache = store.shared.cache if isinstance(store, SharedSettings) else Cache()
        self.service, self.settings, self.store = service, settings, store
        self.login, self.metrics = Login(settings), Metrics()
        self.login.tokens.rows()
        self.answers = Answers(cache, settings.remembered_s)
        self.uploads = Uploads(folder / UPLOADS, limits)
        allow_code, named = service.settings.allow_code, str(service.settings.store)
        self.names = DataNames(
            self.uploads, settings.data_roots, allow_code=allow_code, store=named
        )
        self.bundles = Bundles(folder / BUNDLES, service.settings.store, limits)
        self.feeds = Feeds(
            service,
            self.answers,
            limits,
            told=self.names.told,
            look_every_s=settings.look_every_s,
        )

    def check_may_train(self, tags: Tags) -> None:
        if task_kind_of_run(tags).runs_user_code:
            self.names.check_code()

    def check_may_change(self, user: User, sweep: str) -> None:
        """Refuse a change of a sweep that belongs to somebody else; it is read from the store."""
        if not user.is_admin:
            check_owner(user, self.service.owner(sweep), f"sweep '{sweep}'")


def note(request: Request, /, **details: object) -> None:
    request.state.details = details


async def _site_of(request: Request) -> Site:
    return cast(Site, request.app.state.site)


async def _user_of(request: Request) -> User:
    return cast(User, request.state.user)


async def _reference_of(request: Request) -> str:
    return "/".join(request.path_params.values())


#: as parameters of endpoints; a reference is the sweep, SWEEP/NUMBER or the run that a path names
TheSite = Annotated[Site, Depends(_site_of)]
TheUser = Annotated[User, Depends(_user_of)]
TheReference = Annotated[str, Depends(_reference_of)]
#: name of a sweep in a path; it is checked by the core, which has the sentence
SweepName = Annotated[
    str, InPath(description="name of a sweep", json_schema_extra={"pattern": SWEEP_PATTERN})
]
Number = Annotated[int, InPath(description="number of a trial in its sweep", ge=0, lt=10**18)]
RunId = Annotated[
    str,
    InPath(
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


TEXT = {"schema": {"type": "string"}}
#: of an answer with the address of what was made
LOCATION = {"headers": {"Location": TEXT}}


def text_header(name: str, about: str) -> dict[str, Any]:
    return {name: {"description": about, **TEXT}}


class Endpoints:
    """Endpoints of the API, which are described as they are made."""

    def __init__(self, tag: str, prefix: str = API) -> None:
        self.router = APIRouter(prefix=prefix, tags=[tag])

    def __call__(
        self,
        place: str,
        summary: str,
        model: Any = None,
        *,
        status: int = 200,
        described: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Callable[[Handler], Handler]:
        method, _, path = place.partition(" ")
        answer = {"model": model} if model else {}
        responses: dict[int | str, dict[str, Any]] = {status: answer | dict(described or {})}
        return self.router.api_route(
            path, methods=[method], summary=summary, status_code=status, responses=responses, **more
        )
