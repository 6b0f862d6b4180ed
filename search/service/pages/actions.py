"""What forms do: launch, pause, resume, stop, reprioritise, rerun; and a browser's login."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.source import SYMBOLS
from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.api.references import store_of_trial
from lstm_sweep.search.service import problems
from lstm_sweep.search.service.bodies import ExportSubmission, TokenSubmission, check_priority
from lstm_sweep.search.service.description import Number, SweepName
from lstm_sweep.search.service.pages import forms
from lstm_sweep.search.service.pages.rendering import (
    LOGIN,
    REFUSALS,
    Looks,
    PageRoute,
    moved,
    page,
    rendered,
)
from lstm_sweep.search.service.pages.views import router as views
from lstm_sweep.search.service.permissions import User, check_may_prioritise
from lstm_sweep.search.service.problems import ProblemError
from lstm_sweep.search.service.reruns import Wanted
from lstm_sweep.search.service.routes.exports import make
from lstm_sweep.search.service.routes.operation import begin_session, end_session
from lstm_sweep.search.service.routes.specs import dry_run_of
from lstm_sweep.search.service.site import Site, TheSite, TheUser, note
from lstm_sweep.search.service.tokens import LONGEST
from lstm_sweep.search.spec import RULES
from lstm_sweep.search.store import reader
from lstm_sweep.search.texts.dry_run import lines as dry_run_lines
from lstm_sweep.spaces.presets import SPACES

router = APIRouter(include_in_schema=False, route_class=PageRoute)

#: routers of all pages, and those of their paths that need no login
PAGES, OPEN = (views, router), (LOGIN, "/logout")
#: what the form of a sweep is filled in with, first what is seen at once, then the rest
FIRST = {"data": "python-docs", "minutes": "30", "space": "default"}
REST = {"symbols": "auto", "set": "", "ladder": "on", "halving": "on", "confirm_configs": "",
        "size_rule": "reject", "seed": ""}  # fmt: skip
SWITCH = ("on", "off")
#: fields of the form that are given to the sweep
FIELDS = ("data", "name", "space", "trials", "minutes", *REST)


def _form(
    site: Site,
    user: User,
    given: Mapping[str, str],
    said: str = "",
    dry_run: Sequence[str] = (),
) -> str:
    """The form that launches a sweep; `said` is why what was given is refused.

    `dry_run` are the lines of what it would do.
    """
    filled = {**dict.fromkeys((*FIELDS, "place", "priority"), ""), **FIRST, **REST, **given}
    return rendered(
        "launch.html",
        Looks.of(site, user),
        samples=list(SAMPLES),
        corpora=site.uploads.corpora(),
        spaces=list(SPACES),
        has_roots=bool(site.settings.data_roots),
        choices={"symbols": SYMBOLS, "ladder": SWITCH, "halving": SWITCH, "size_rule": RULES},
        given=filled,
        more=any(filled[name] != REST[name] for name in REST),
        key=secrets.token_hex(16),
        said=said,
        dry_run=dry_run,
    )


@router.get("/launch")
async def launch_form(request: Request, site: TheSite, user: TheUser) -> Response:
    """The form that launches a sweep."""
    return page(await site.answers.ask(request, partial(_form, site, user, {})))


@router.post("/launch")
async def launch(request: Request, site: TheSite, user: TheUser) -> Response:
    """Queue a sweep on files, a sample, or data of the service, or say what it would do."""
    async with forms.SentForm(site, user.name) as sent:
        try:
            await sent.receive(request)
            if sent.has_files:
                sent.fields["data"] = await sent.corpus()
            elif sent.fields.get("place", "").strip():
                sent.fields["data"] = f"server:{sent.fields['place'].strip()}"
            if sent.fields.get("only") == "dry-run":
                lines = await site.answers.read_corpus(partial(_dry_run, site, sent.fields))
                form = partial(_form, site, user, sent.fields, dry_run=lines)
                return page(await site.answers.ask(request, form))
            name = await site.answers.change(partial(_submit, site, user, sent.fields))
        except REFUSALS as error:
            status = problems.response_of(error).status_code
            said = error.detail if isinstance(error, ProblemError) else str(error)
            form = partial(_form, site, user, sent.fields, said)
            return page(await site.answers.ask(request, form), status)
    return moved(f"/sweeps/{quote(name)}")


def _dry_run(site: Site, given: Mapping[str, str]) -> list[str]:
    """What the sweep of a form would do, in lines; that nothing is begun is said beside them."""
    found = dry_run_of(site, _fields(forms.filled_in(given)))
    return list(dry_run_lines(found))[1:-1]


def _fields(filled: Mapping[str, Any]) -> dict[str, Any]:
    return {name: filled[name] for name in FIELDS if name in filled}


def _submit(site: Site, user: User, given: Mapping[str, str]) -> str:
    filled = forms.filled_in(given)
    priority = filled.get("priority", 0)
    check_priority(priority)
    check_may_prioritise(user, priority)
    key = given.get("key") or None
    with site.uploads.naming:
        spec = site.names.spec_of(_fields(filled))
        return site.service.submit(spec, owner=user.name, client_token=key, priority=priority)


async def _changed(site: Site, user: User, sweep: str, call: Any) -> Response:
    def change() -> None:
        site.check_may_change(user, sweep)
        call()

    await site.answers.change(change, sweep)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/pause")
async def pause(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """Let a sweep wait until it is resumed."""
    return await _changed(site, user, sweep, partial(site.service.pause, sweep))


@router.post("/sweeps/{sweep}/stop")
async def stop(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    """End a sweep."""
    return await _changed(site, user, sweep, partial(site.service.stop, sweep))


@router.post("/sweeps/{sweep}/resume")
async def resume(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Go on with a sweep, also with more trials."""
    changes = forms.filled_in(await forms.fields_of(request))
    for name in changes:
        if name not in ("trials", "minutes"):
            raise InputError(f"{shown(name)} is no field: possible: trials, minutes")
    note(request, **{name: shown(value) for name, value in changes.items()})

    def call() -> None:
        with site.uploads.naming:
            site.service.resume(sweep, changes, owner=user.name)

    return await _changed(site, user, sweep, call)


@router.post("/sweeps/{sweep}/priority")
async def prioritise(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Give a sweep another priority."""
    priority: Any = forms.filled_in(await forms.fields_of(request)).get("priority")
    check_priority(priority)
    check_may_prioritise(user, priority)
    note(request, priority=priority)
    return await _changed(site, user, sweep, partial(site.service.prioritise, sweep, priority))


@router.post("/sweeps/{sweep}/trials/{number}/rerun")
async def rerun(sweep: SweepName, number: Number, site: TheSite) -> Response:
    """Train a trial again."""

    def change() -> str:
        reference = f"{sweep}/{number}"
        record = reader.find_trial(store_of_trial(reference, site.store), reference)
        return site.reruns.submit(Wanted(record.trial.id, record.run_id, {})).id

    return moved(f"/reruns/{await site.answers.change(change)}")


@router.post("/sweeps/{sweep}/export")
async def export(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    """Make the bundle of the best trial, and lead to it."""
    await make(sweep, ExportSubmission(), site, user, request)
    return moved(f"/sweeps/{quote(sweep)}/export")


@router.post("/sweeps/{sweep}/trials/{number}/export")
async def export_one(
    sweep: SweepName, number: Number, request: Request, site: TheSite, user: TheUser
) -> Response:
    """Make the bundle of a trial, and lead to it."""
    await make(f"{sweep}/{number}", ExportSubmission(), site, user, request)
    return moved(f"/sweeps/{quote(sweep)}/trials/{number}/export")


@router.get(LOGIN)
async def login_form() -> Response:
    """The page on which a token is entered."""
    return page(rendered("login.html", said=""))


@router.post(LOGIN)
async def login(request: Request, site: TheSite) -> Response:
    """Begin the session of a browser."""
    token = (await forms.fields_of(request)).get("token", "").strip()
    try:
        if not 0 < len(token) <= LONGEST:
            raise ProblemError(422, "the token is empty or too long: expected that of a user")
        session = await begin_session(TokenSubmission(token=token), request, site)
    except ProblemError as error:
        return page(rendered("login.html", said=error.detail), error.status)
    answer = moved("/")
    answer.headers["set-cookie"] = session.headers["set-cookie"]
    return answer


@router.post("/logout")
async def logout(request: Request, site: TheSite) -> Response:
    """End the session of a browser."""
    answer = moved(LOGIN)
    answer.headers["set-cookie"] = (await end_session(request, site)).headers["set-cookie"]
    return answer
