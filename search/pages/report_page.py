"""The report of a sweep as one HTML page that loads nothing and runs no script."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.search.pages import answer, figures
from lstm_sweep.search.pages.advice import advice
from lstm_sweep.search.pages.figure import Figure, Table, duration
from lstm_sweep.search.pages.findings import Findings, TrialFinding, by_name
from lstm_sweep.search.pages.svg import NOT_XML, Markup
from lstm_sweep.search.process.new_paths import REPORT_MARK
from lstm_sweep.search.trial import Outcome

HERE = Path(__file__).parent
#: attempts that are listed of each way to fail, and characters of a reason
LISTED, LONGEST = 5, 200


@dataclass(frozen=True)
class Command:
    """Something to type, and what for."""

    purpose: str
    text: str


def style() -> str:
    """The style sheet of the page and of all drawings."""
    return (HERE / "style.css").read_text(encoding="utf-8")


@functools.cache
def _template() -> Any:
    """The template of the page; to compile it takes as long as the rest of a report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_allowed,
    )  # fmt: skip
    return environment.get_template("report.html")


def report_page(found: Findings, written: str) -> str:
    """The page; `written` says when and by which version it was written."""
    page: str = _template().render(
        found=found,
        mark=Markup(REPORT_MARK),
        style=Markup(style()),
        headline=answer.headline(found),
        sentences=[*answer.comparisons(found), *answer.certainty(found)],
        config=_config(found),
        state=_state(found),
        answers=[*figures.losses(found), *figures.spread(found)],
        details=_details(found),
        failures=failures(found),
        advice=advice(found),
        commands=commands(found),
        about={"run": found.run_id, **found.about},
        written=written,
    )
    return page


def _allowed(value: object) -> object:
    """A text without characters that neither HTML nor XML allows; it is escaped after that."""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return NOT_XML.sub("\ufffd", str(value)) if plain else value


def _details(found: Findings) -> list[Figure]:
    parts = (
        figures.curves, figures.ladder, figures.over_time, figures.parameters,
        figures.coordinates, figures.importance, figures.time,
    )  # fmt: skip
    return [one for part in parts for one in part(found)]


def _config(found: Findings) -> list[tuple[str, str]]:
    """The config of the best trial."""
    config = found.leader.config if found.leader else {}
    return [(name, f"{x:g}" if isinstance(x, float) else str(x)) for name, x in config.items()]


def _state(found: Findings) -> str:
    """How the sweep has ended, or that it has not, and what it has done."""
    counts: dict[str, int] = {}
    for one in found.trials:
        counts[by_name(one.outcome)] = counts.get(by_name(one.outcome), 0) + 1
    total = len(found.trials)
    parts = ", ".join(f"{count} {word}" for word, count in counts.items())
    trials = f"{total} trial{'s' if total != 1 else ''}" + (f" ({parts})" if parts else "")
    why = f": {found.why}" if found.why else ""
    text = f"{found.state.capitalize()}{why}; {trials} in {duration(found.seconds)}."
    if found.left_out:
        text += f" {found.left_out} runs could not be read and are left out."
    return text


def failures(found: Findings) -> tuple[str, Table | None]:
    """What has failed and what that cost, in a sentence and in a table."""
    failed = [one for one in found.attempts if one.failed]
    if not failed:
        return "No attempt of a trial has failed.", None
    cost = math.fsum(one.seconds for one in failed)
    total = math.fsum(one.seconds for one in found.attempts)
    share = f", {cost / total:.1%} of the time of all trials" if total else ""
    kinds = [one for one in Outcome if any(trial.outcome == one for trial in failed)]
    rows = [_kind(kind, [one for one in failed if one.outcome == kind]) for kind in kinds]
    said = f"{len(failed)} of {len(found.attempts)} attempts failed, for {duration(cost)}{share}."
    return said, Table(["outcome", "attempts", "time", "trials", "reasons"], rows)


def _kind(kind: Outcome, failed: Sequence[TrialFinding]) -> list[str]:
    reasons = list(dict.fromkeys(one.reason[:LONGEST] for one in failed if one.reason))
    listed = ", ".join(one.id for one in failed[:LISTED])
    more = len(failed) - LISTED
    return [
        by_name(kind),
        str(len(failed)),
        duration(math.fsum(one.seconds for one in failed)),
        listed + (f" and {more} more" if more > 0 else ""),
        "; ".join(reasons[:LISTED]),
    ]


def commands(found: Findings) -> list[Command]:
    """What to type to use the result, to repeat it, and to look further."""
    return list(_commands(found))


def _commands(found: Findings) -> Iterator[Command]:
    best, name = found.best, found.sweep
    if best:
        of_ended = " that has ended" if found.open_leader else ""
        yield Command(
            f"the best network{of_ended}, as a folder of its own",
            f"lstm-sweep export {name} --to {name}-best",
        )
        yield Command(
            f"train the best trial{of_ended} again, and compare each round",
            f"lstm-sweep rerun {best.id}",
        )
    if leader := found.leader:
        yield Command("the best trial, round by round", f"lstm-sweep show {leader.id}")
    if found.goes_on:
        yield Command("go on with the sweep", f"lstm-sweep resume {name}")
    yield Command("all trials", f"lstm-sweep trials {name}")
    yield Command("this page anew", f"lstm-sweep report {name}")
