"""Pages for people, and what their forms send and do; a browser's login.

An uploaded file goes to the disk as it comes.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePath
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

from lstm_sweep.models.data.source import SAMPLES
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import store_of_sweep
from lstm_sweep.search.actions.sweeps import OTHER_DATA, SweepRow
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.report import figures, report_page
from lstm_sweep.search.report.charts import Bar, bars, escaped
from lstm_sweep.search.report.figures import Figure, Findings, Table, by_name, duration
from lstm_sweep.search.report.report_page import style
from lstm_sweep.search.service.answers import ProblemError, refusal
from lstm_sweep.search.service.auth import User
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.routes import sweeps as sweep_routes
from lstm_sweep.search.service.routes import trials as trial_routes
from lstm_sweep.search.service.schemas import Changes, ClassSubmission, ExportSubmission, Priority
from lstm_sweep.search.service.settings import Role
from lstm_sweep.search.service.site import (
    SWEEPS,
    Number,
    Page,
    Site,
    SweepName,
    TheReference,
    TheSite,
    TheUser,
)
from lstm_sweep.search.service.uploads import FORM_PARTS, SentBody, receive_form
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import Key
from lstm_sweep.search.values.documents import DEFAULT_MINUTES, time_left_text
from lstm_sweep.search.values.spec import OPTIONS
from lstm_sweep.search.values.trial import Trial

HERE = Path(__file__).parent
#: where a browser logs in
LOGIN = "/login"
#: headings of refusals whose names in HTTP say little to people
TITLES = {403: "Not allowed", 409: "Not possible now", 422: "Not possible"}
#: who has not logged in
NOBODY = User("", Role.READ)


@functools.cache
def _templates() -> Any:
    return report_page.environment(
        HERE / "templates", duration=duration, time_left=time_left_text, by_name=by_name,
        metric=metric,
    )  # fmt: skip


def metric(value: float) -> str:
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.6g}"


def rendered(template: str, site: Site | None = None, user: User = NOBODY, **values: Any) -> str:
    """A page as HTML, for a user of a site; texts of `values` are without secrets."""
    # who has logged in at a proxy cannot log out here
    logged_in = bool(site and site.settings.asks_login and not site.settings.user_header)
    return str(_templates().get_template(template).render(user=user, logged_in=logged_in, **values))


def page(html: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return HTMLResponse(html.encode("utf-8", "replace"), status, headers)


def moved(to: str) -> Response:
    return RedirectResponse(to, 303)


def refused(
    problem: ProblemError, path: str, accepts: str, named: Callable[[str], str]
) -> Response:
    """A page for whoever accepts HTML, or the login; programs get the problem document."""
    if "text/html" not in accepts or path.startswith("/api/"):
        return problem.response(named)
    if problem.status == 401:
        return moved(LOGIN)
    title = TITLES.get(problem.status, HTTPStatus(problem.status).phrase.capitalize())
    html = rendered("refused.html", title=title, detail=problem.said(named))
    return page(html, problem.status, problem.headers)


router = APIRouter(include_in_schema=False)

#: sweeps on a page, and that are compared at once
ON_A_PAGE, COMPARED = SWEEPS, 8
STATIC = {"page.js": "text/javascript", "page.css": "text/css", "style.css": "text/css"}
#: by what trials are sorted, and how a column gets its key
ORDERS: dict[str, Callable[[Trial], Any]] = {
    "trial": lambda one: one.number,
    "phase": lambda one: one.phase,
    "outcome": lambda one: one.state,
    "loss": lambda one: one.best_loss,
    "epochs": lambda one: one.epochs,
    "parameters": lambda one: one.parameters,
    "time": lambda one: one.seconds,
}
UNDER_WAY = ("queued", "running", "paused")


async def show(
    template: str,
    request: Request,
    site: Site,
    key: Key,
    ask: Callable[[], Mapping[str, Any]],
) -> Response:
    """A page, made once for a user within a moment."""
    user: User = request.state.user
    html = await site.answers.get(
        ("page", template, user, *key), lambda: rendered(template, site, user, **ask())
    )
    return page(html)


@router.get("/static/{name}")
async def static(name: str) -> Response:
    if name not in STATIC:
        raise ProblemError(404, "there is no such file")
    file = HERE / "static" / name
    text = style() if name == "style.css" else file.read_text(encoding="utf-8")
    return Response(text, media_type=STATIC[name], headers={"Cache-Control": "no-cache"})


@router.get("/")
async def sweeps(request: Request, site: TheSite, page: Page = "") -> Response:
    def ask() -> Mapping[str, Any]:
        listing = site.service.sweeps(ON_A_PAGE, page)
        queue, told = {one.sweep: one for one in site.service.queue()}, site.names.told
        return {
            "rows": [
                _listed(told(row), told(one) if (one := queue.get(row.sweep)) else None)
                for row in listing
            ],
            "page": page,
            "next_page": listing.next_page,
            "left_out": listing.left_out,
            "ready": site.service.ready(),
        }

    return await show("sweeps.html", request, site, (page,), ask)


def _listed(row: SweepRow, queued: QueuedSweep | None) -> dict[str, Any]:
    name = min(row.baselines, key=lambda one: row.baselines[one], default="")
    return vars(row) | {
        "why": queued.why if queued else row.why or "",
        "baseline": name,
        "base_loss": row.baselines.get(name),
        "data": PurePath(row.data or "").name,
    }


def _read(site: Site, sweep: str) -> tuple[Findings, str]:
    """A sweep as it is stored, and where MLflow shows it; of its data only the name is shown."""
    store = store_of_sweep(sweep, site.store)
    run = reader.existing_sweep(store, sweep)
    found = read_findings(store, run)
    data = PurePath(found.about.get("data", "")).name
    return replace(found, about={**found.about, "data": data}), store.page(run.info.run_id)


@router.get("/sweeps/{sweep}")
async def sweep_page(
    sweep: SweepName,
    request: Request,
    site: TheSite,
    sort: str = "",
    down: bool = False,
) -> Response:
    if sort not in ("", *ORDERS):
        raise InputError(f"sort is '{sort[:40]}': possible: {', '.join(ORDERS)}")
    mlflow = mlflow_for(site, request)

    def ask() -> Mapping[str, Any]:
        found, place = _read(site, sweep)
        status = site.names.told(site.service.status(sweep))
        return {
            "found": found,
            "status": status,
            "owner": site.service.owner(sweep),
            "queued": next((one for one in site.service.queue() if one.sweep == sweep), None),
            "headline": report_page.headline(found),
            "sentences": [*report_page.comparisons(found), *report_page.certainty(found)],
            "figures": [one for part in PARTS for one in part(found)],
            "trials": ordered(found, sort, down),
            "orders": list(ORDERS),
            "sort": sort,
            "down": down,
            "mlflow": mlflow,
            "run_page": escaped(mlflow + place),
            "under_way": status.state in UNDER_WAY,
        }

    key = (sweep, sort, down, mlflow)
    return await show("one_sweep.html", request, site, key, ask)


#: what is drawn of a sweep
PARTS = (
    figures.curves,
    figures.losses,
    figures.ladder,
    figures.spread,
    figures.verdicts,
    figures.importance,
    figures.over_time,
)


def ordered(found: Findings, sort: str, down: bool) -> list[Trial]:
    """Trials by a column, those without a value last; without one the best first."""
    if not sort:
        return found.best_first
    key = ORDERS[sort]
    known = [one for one in found.trials if key(one) is not None]
    rest = [one for one in found.trials if key(one) is None]
    return [*sorted(known, key=key, reverse=down), *rest]


def mlflow_for(site: Site, request: Request) -> str:
    """Address of MLflow's pages; empty if the browser cannot reach them."""
    address = (site.settings.mlflow_page or "").rstrip("/")
    here = urlsplit(address).hostname or ""
    return "" if _is_loopback(here) and not _is_loopback(request.url.hostname or "") else address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@router.get("/sweeps/{sweep}/trials/{number}")
async def trial_page(sweep: SweepName, number: Number, request: Request, site: TheSite) -> Response:
    mlflow = mlflow_for(site, request)

    def ask() -> Mapping[str, Any]:
        details, (found, _) = Local(site.store).show(f"{sweep}/{number}"), _read(site, sweep)
        place = store_of_sweep(sweep, site.store).page(details.record.run_id)
        return {
            "trial": details.to_dict(),
            "sweep": sweep,
            "number": number,
            "mlflow": mlflow,
            "state": details.record.state,
            "run_page": escaped(mlflow + place),
            "metrics": sorted({name for row in details.by_epoch for name in row} - {"epoch"}),
            "finding": next((one for one in found.trials if one.number == number), None),
            "figures": list(figures.curve_of(found, number)),
            "loss_name": found.objective.name,
        }

    return await show("trial.html", request, site, (sweep, number, mlflow), ask)


router.get("/sweeps/{sweep}/report")(sweep_routes.report)
for place in ("/sweeps/{sweep}/export", "/sweeps/{sweep}/trials/{number}/export"):
    router.get(place, response_class=FileResponse)(trial_routes.found_bundle)


@router.get("/compare")
async def compare(
    request: Request, site: TheSite, sweep: Annotated[list[str] | None, Query()] = None
) -> Response:
    names = tuple(dict.fromkeys(sweep or ()))
    if not 2 <= len(names) <= COMPARED:
        chosen = "1 sweep is" if len(names) == 1 else f"{len(names)} sweeps are"
        raise InputError(f"{chosen} chosen: expected 2 to {COMPARED} to compare")

    def ask() -> Mapping[str, Any]:
        found = [_read(site, name)[0] for name in names]
        leaders = [one.leader for one in found if one.leader]
        fields = dict.fromkeys(name for one in leaders for name in one.hyperparameters)
        return {
            "found": found,
            "fields": list(fields),
            "figures": beside(found),
            "apart": "" if comparable(found) else OTHER_DATA,
        }

    return await show("compare.html", request, site, names, ask)


def comparable(found: Sequence[Findings]) -> bool:
    scored = [one.scored_on for one in found if one.leader]
    return all(one == scored[0] for one in scored)


def beside(found: Sequence[Findings]) -> list[Figure]:
    """The best losses of sweeps; none unless all were scored on the same, and are above 0."""
    leaders = [(one.name, one.leader) for one in found]
    best = [(name, one.best_loss) for name, one in leaders if one and one.best_loss is not None]
    if not comparable(found) or len(best) < 2 or min(x for _, x in best) < 0:
        return []
    least = min(loss for _, loss in best)
    rows = [Bar(name, loss, f"{loss:.4f}", strong=loss == least) for name, loss in best]
    cells = [[name, f"{loss:.4f}", f"{loss - least:+.4f}"] for name, loss in best]
    table = Table(["sweep", found[0].objective.name, "more than the best"], cells)
    drawing = bars(rows, title="best losses of sweeps")
    return [Figure("The best losses", drawing, "Shorter is better.", table)]


@router.get("/reruns/{rerun}")
async def rerun_page(rerun: str, request: Request, site: TheSite) -> Response:
    def ask() -> Mapping[str, Any]:
        found = site.names.told(site.service.rerun_status(rerun))
        sweep, _, number = found.trial.rpartition("/")
        path = f"/sweeps/{quote(sweep)}/trials/{quote(number)}"
        return {"rerun": found, "trial_path": path}

    return await show("rerun.html", request, site, (rerun,), ask)


#: options of a sweep that the form shows at once, and those that it shows if asked
FIRST = ("minutes", "trials")
MORE = (
    "symbols",
    "lower_case",
    "vocabulary",
    "label",
    "text",
    "group",
    "ladder",
    "halving",
    "confirm_configs",
    "size_rule",
    "seed",
)
#: fields of the form that are given to the sweep
FIELDS = ("data", "name", "space", "set", *FIRST, *MORE)


def _form(
    site: Site,
    user: User,
    given: Mapping[str, str],
    said: str = "",
    dry_run: Sequence[str] = (),
) -> str:
    """The form of a launch; `said`: why it is refused, `dry_run`: lines of what it would do."""
    empty = dict.fromkeys((*FIELDS, "place", "priority"), "")
    chosen = {name: one.default_text for name, one in OPTIONS.items() if one.kind.words}
    usual = {"data": OPTIONS["data"].default, "minutes": f"{DEFAULT_MINUTES:g}"}
    filled = empty | chosen | usual | dict(given)
    return rendered(
        "launch.html",
        site,
        user,
        samples=list(SAMPLES),
        corpora=site.uploads.corpora(),
        space=OPTIONS["space"],
        first=[OPTIONS[name] for name in FIRST],
        more=[OPTIONS[name] for name in MORE],
        has_more=any(filled[name] != chosen.get(name, "") for name in ("set", *MORE)),
        has_roots=bool(site.settings.data_roots),
        given=filled,
        key=secrets.token_hex(16),
        said=said,
        dry_run=dry_run,
    )


@router.get("/launch")
async def launch_form(site: TheSite, user: TheUser) -> Response:
    return page(await site.answers.read(partial(_form, site, user, {})))


@router.post("/launch")
async def launch(request: Request, site: TheSite, user: TheUser) -> Response:
    fields, lines, said, status = dict[str, str](), list[str](), "", 200
    kind = request.headers.get("content-type", "")
    try:
        receive = partial(receive_form, site.uploads, user.name, SentBody(request), kind, fields)
        await to_thread.run_sync(receive, limiter=site.uploads.limiter)
        filled = filled_in(fields)
        wanted = {name: filled[name] for name in FIELDS if name in filled}
        if fields.get("only") != "dry-run":
            wanted["priority"], key = filled.get("priority", 0), fields.get("key") or None
            submit = partial(sweep_routes.submitted, site, user, wanted, key)
            return moved(f"/sweeps/{quote(await site.answers.change(submit))}")
        found = await site.answers.read_corpus(partial(sweep_routes.dry_run_of, site, wanted))
        lines = list(found.lines())[1:-1]  # that nothing is begun is said beside them
    except Exception as error:
        problem = refusal(error)
        if problem.status == 500:
            raise
        said, status = problem.said(site.names.named), problem.status
    form = partial(_form, site, user, fields, said, lines)
    return page(await site.answers.read(form), status)


@router.post("/sweeps/{sweep}/pause")
async def pause(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    await sweep_routes.pause(sweep, site, user)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/stop")
async def stop(sweep: SweepName, site: TheSite, user: TheUser) -> Response:
    await sweep_routes.stop(sweep, site, user)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/resume")
async def resume(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    changes = Changes(**filled_in(await fields_of(request)))
    await sweep_routes.resume(sweep, site, user, request, changes)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/priority")
async def prioritise(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    priority = Priority(**filled_in(await fields_of(request)))
    await sweep_routes.prioritise(sweep, priority, site, user, request)
    return moved(f"/sweeps/{quote(sweep)}")


@router.post("/sweeps/{sweep}/trials/{number}/rerun")
async def rerun(sweep: SweepName, number: Number, site: TheSite, user: TheUser) -> Response:
    made = await trial_routes.rerun(f"{sweep}/{number}", site, user)
    return moved(f"/reruns/{made.headers['location'].rpartition('/')[2]}")


@router.post("/sweeps/{sweep}/export")
@router.post("/sweeps/{sweep}/trials/{number}/export")
async def make_export(
    reference: TheReference, request: Request, site: TheSite, user: TheUser
) -> Response:
    """Make the bundle of a trial, or of the best one of a sweep, and lead to it."""
    await trial_routes.make(reference, ExportSubmission(), site, user)
    return moved(request.url.path)


@router.post("/sweeps/{sweep}/classes")
async def classes(sweep: SweepName, request: Request, site: TheSite, user: TheUser) -> Response:
    fields = await fields_of(request)
    lines = fields.pop("sequences", "").splitlines()
    given = [line for line in lines if line.strip()] or [""]
    try:
        body = ClassSubmission(sequences=[*given], **filled_in(fields))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    found = await trial_routes.classified(sweep, body, site, user)
    rows = [*zip(given, found.sequences, strict=True)]
    return page(rendered("classes.html", site, user, sweep=sweep, found=found, rows=rows))


@router.get(LOGIN)
async def login_form() -> Response:
    return page(rendered("login.html", said=""))


@router.post(LOGIN)
async def login(request: Request, site: TheSite) -> Response:
    token = (await fields_of(request)).get("token", "").strip()
    try:
        return site.login.enter(moved("/"), request, token)
    except ProblemError as error:
        return page(rendered("login.html", said=error.detail), error.status)


@router.post("/logout")
async def logout(request: Request, site: TheSite) -> Response:
    return site.login.leave(moved(LOGIN), request)


async def fields_of(request: Request) -> dict[str, str]:
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_PARTS))
    except ValueError:
        raise ProblemError(400, "the body is no form, expected fields in UTF-8") from None


def filled_in(given: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(name, text.strip()) for name, text in given.items() if text.strip()}


def _value(name: str, text: str) -> Any:
    if name == "set":  # a field a line
        return [line.strip() for line in text.splitlines() if line.strip()]
    if name in (numbers := {"priority": int, "error": float}):
        with contextlib.suppress(ValueError):
            return numbers[name](text)
    return OPTIONS[name].kind.read(f"request: {name}", text) if name in OPTIONS else text
