"""The report of a sweep as one HTML page that loads nothing and runs no script."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from lstm_sweep.models.config import Limit
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.process.files import REPORT_MARK
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.report import class_figures, figures
from lstm_sweep.search.report.charts import NOT_XML, short
from lstm_sweep.search.report.figures import Axis, Findings, Table, by_name, duration
from lstm_sweep.search.values.trial import Outcome, Phase, Trial


def loss_text(loss: float, found: Findings) -> str:
    if not found.objective.nats_per_symbol:
        return f"a {found.objective.name} of {loss:.4f}"
    return f"{loss:.4f} nats = {bits(loss):.4f} bits per symbol"


def headline(found: Findings) -> str:
    """The best trial and its loss, also one that has not ended."""
    best = found.leader
    if best is None or best.best_loss is None:
        return "No trial has a result." if found.is_over else "No trial has a result yet."
    who = best.id if best is found.best else f"{best.id}, which has not ended,"
    so_far = "" if found.is_over else " so far"
    return f"{who} is best{so_far}: {loss_text(best.best_loss, found)}"


def comparisons(found: Findings) -> list[str]:
    best = found.leader
    if best is None or best.best_loss is None:
        return []
    said = list[str]()
    if best.phase == Phase.CONFIRM:
        others = (one for one in found.trials if one.phase != Phase.CONFIRM)
        first = next((trial.id for trial in others if trial.config == best.config), None)
        said += [f"It trains the config of {first} again with another seed."] if first else []
    if found.baselines:
        name, loss = min(found.baselines.items(), key=lambda item: item[1])
        gain = loss - best.best_loss
        targets = " ".join([*filter(None, [found.about.get("validation targets")]), "validation"])
        said.append(
            f"That is {abs(gain):.4f} nats {'below' if gain > 0 else 'above'} {by_name(name)} "
            f"({loss:.4f}), the best of the baselines, on the same {targets} targets."
        )
    if unknown := found.about.get("unknown symbols"):
        said.append(f"{unknown}.")
    if found.objective.nats_per_symbol and 0 <= best.best_loss < 50:
        perplexity = f"{math.exp(best.best_loss):.2f}"
        said.append(
            f"Its perplexity is {perplexity}: it is as unsure of the next symbol as if "
            f"{perplexity} symbols were equally likely."
        )
    return said


def certainty(found: Findings) -> list[str]:
    """How sure the result is: what further seeds have shown of the best configs."""
    best = found.leader
    if best is None:
        return []
    if not found.confirmed:
        return [
            "No config was trained again with other seeds, so it is not known how much of the "
            "difference between trials is chance.",
            *([f"{found.unconfirmed}."] if found.unconfirmed else []),
        ]
    said = [f"Trained again, the config of {one}." for one in found.confirmed]
    if any(one.is_best for one in found.confirmed):
        return said
    chance = ", so it is not known how much of its lead is chance" if found.is_over else " yet"
    return [f"No further run of the config of the best trial, {best.id}, has ended{chance}.", *said]


#: configs that are looked at, the best ones, and how many of them have to touch a bound
LOOKED_AT, TOUCHING = 5, 3
#: share of a range that counts as its bound
NEAR = 0.03
#: trials for each hyperparameter that varies without which a space is hardly searched
TRIALS_EACH = 8
#: share of the trials at the end in which nothing should be found any more
LATE = 0.2
#: share of the trials from which on failures are worth a word
FAILING = 0.1


class Advice(NamedTuple):
    """What to try, why, and the command for it if there is one."""

    text: str
    command: str = ""


def advice(found: Findings) -> list[Advice]:
    """What to try next, what matters most first."""
    if not found.is_over:
        return [Advice("The sweep is under way.", f"lstm-sweep status {found.name} --follow")]
    parts = (_first, _bounds, _epochs, _budget, _seeds, _failures)
    return [one for part in parts for one in part(found)]


def _first(found: Findings) -> Iterator[Advice]:
    if found.goes_on:
        why = f" ({found.why})" if found.why else ""
        yield Advice(
            f"The sweep is {found.state}{why}; trials that were under way go on where they were.",
            f"lstm-sweep resume {found.name}",
        )
    best, lowest = found.best, min(found.baselines.values(), default=math.inf)
    if best is None and found.trials:
        yield Advice(
            "No trial has a result: look at why they failed below, and at the log of one.",
            f"lstm-sweep show {found.trials[0].id}",
        )
    if best and best.best_loss is not None and best.best_loss >= lowest:
        more = "trials more epochs, or the search" if found.takes_epochs else "the search"
        yield Advice(
            f"A baseline is better than the best trial: give {more} more trials, or more data."
        )


def _bounds(found: Findings) -> Iterator[Advice]:
    best = best_configs(found)
    for axis in found.axes:
        limit = found.limits.get(axis.name)
        if axis.words or axis.low >= axis.high:
            continue
        places = [axis.share(one.hyperparameters.get(axis.name)) for one in best]
        shares = [place for place in places if place is not None]
        if len(shares) < TOUCHING:
            continue
        for end, value, away in (
            ("lower", axis.low, shares),
            ("upper", axis.high, [1 - share for share in shares]),
        ):
            touching = sum(share <= NEAR for share in away)
            if away[0] > NEAR or touching < TOUCHING or _is_hard(axis, end, limit):
                continue
            further = f"--set {axis.name}={_further(axis, end, limit)}" if limit else ""
            where = "in a new sweep, with:" if limit else f"{found.space_place}."
            yield Advice(
                f"The best configs touch the {end} bound of {axis.name}, {short(value)}: the best "
                f"value may lie beyond it. Let it vary further {where}",
                further,
            )


def best_configs(found: Findings) -> list[Trial]:
    first = dict[str, Trial]()
    for one in found.ranked:
        first.setdefault(repr(sorted(one.hyperparameters.items())), one)
    return [*first.values()][:LOOKED_AT]


def _is_hard(axis: Axis, end: str, limit: Limit | None) -> bool:
    """Whether no value is allowed beyond a bound, such as a dropout below 0."""
    if limit is None:
        return end == "lower" and axis.low == 0
    return axis.low <= limit.low if end == "lower" else axis.high >= limit.high


def _further(axis: Axis, end: str, limit: Limit) -> str:
    """The range of an axis with more beyond one of its bounds, as `--set` takes it."""
    low, high, more = axis.low, axis.high, (axis.high - axis.low) / 2
    if axis.is_whole:
        more = max(1.0, math.ceil(more))
    if end == "lower":
        low = max(low / 2 if axis.log else low - more, limit.low)
    else:
        high = min(high * 2 if axis.log else high + more, limit.high)
    if axis.is_whole:
        return f"{max(1, math.ceil(low))}..{math.floor(high)}"
    return f"{low:.4g}..{high:.4g}"


def _epochs(found: Findings) -> Iterator[Advice]:
    best = found.best
    if best is None or best.state != Outcome.COMPLETE or best.phase == Phase.LADDER:
        return
    planned, at = best.config.planned_epochs, best.best_epoch
    if planned and at and at >= planned and found.takes_epochs:
        yield Advice(
            f"The loss of {best.id} was lowest after its last epoch, {at:g}, so it still "
            f"fell: "
            f"give trials more epochs in a new sweep, with:",
            f"--epochs {math.ceil(2 * planned)}",
        )


def _budget(found: Findings) -> Iterator[Advice]:
    tried = [one for one in found.trials if one.phase != Phase.CONFIRM]
    best, fields = found.best, len(found.axes)
    if best is None or not tried:
        return
    twice = 2 * max(len(tried), found.trials_wanted or 0)
    more = f"lstm-sweep resume {found.name} --trials {twice}"
    if found.minutes is not None:
        more += f" --minutes {2 * found.minutes:g}"
    late = tried[-max(1, math.ceil(LATE * len(tried))) :]
    first = next(iter(best_configs(found)))
    if len(tried) >= 5 and first.number in [one.number for one in late]:
        yield Advice("The best config came in the last fifth of the trials: try more.", more)
    elif fields and len(tried) < TRIALS_EACH * fields:
        yield Advice(
            f"{len(tried)} trials are few for {fields} hyperparameters that vary; "
            f"{TRIALS_EACH * fields} or more show which matter.",
            more,
        )


def _seeds(found: Findings) -> Iterator[Advice]:
    if found.best is None:
        return
    if not found.confirmed:
        yield Advice(
            "Train the best configs again with further seeds, to know how sure the result is: in "
            "this one if it gets more time, or in a new one with:",
            "--confirm-configs 3 --confirm-seeds 3",
        )
    elif as_good := [one.trial for one in found.confirmed if one.verdict == "as good"]:
        yield Advice(
            f"As good as the best trial's config: {', '.join(as_good)}. Take the smallest or the "
            "fastest of them, or compare them over more seeds in a new sweep, with:",
            f"--confirm-seeds {2 * max(2, len(found.confirmed[0].losses))}",
        )


#: what to do about an outcome that many trials have
REMEDIES = {
    Outcome.OUT_OF_MEMORY: "smaller batches or networks, or fewer trials at once (--workers)",
    Outcome.DIVERGED: "lower learning rates",
    Outcome.HUNG: "fewer trials at once (--workers)",
    Outcome.ERROR: "a look at the log of one, which is among the files of its run",
    Outcome.LOST: "a look at the memory of the machine, or of its nodes",
}


def _failures(found: Findings) -> Iterator[Advice]:
    failed = Counter(one.state for one in found.attempts if one.failed)
    for outcome, count in failed.most_common():
        if count >= max(2, FAILING * len(found.attempts)):
            words = outcome.replace("_", " ")
            yield Advice(f"{count} attempts ended as {words}: {REMEDIES[Outcome(outcome)]}.")


HERE = Path(__file__).parent
#: what shows how a result came about
DETAILS = (
    figures.curves, figures.ladder, figures.over_time, figures.parameters,
    figures.importance, figures.time,
)  # fmt: skip
#: attempts that are listed of each way to fail, and characters of a reason
LISTED, LONGEST = 5, 200


def style() -> str:
    return (HERE / "style.css").read_text(encoding="utf-8")


def environment(*folders: Path, **filters: Callable[..., object]) -> Any:
    """The templates of folders, and that of figures.

    They print no secrets, nor characters that neither HTML nor XML allows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def allowed(value: object) -> object:
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return NOT_XML.sub("\ufffd", without_secrets(str(value))) if plain else value

    found = Environment(
        loader=FileSystemLoader([*folders, HERE]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=allowed,
    )  # fmt: skip
    found.filters |= filters
    return found


@functools.cache
def _template() -> Any:
    """The template of the page; to compile it takes as long as the rest of a report."""
    return environment().get_template("report.html")


def report_page(found: Findings, written: str) -> str:
    """The page; `written` says when and by which version it was written."""
    page: str = _template().render(
        found=found,
        mark=Markup(REPORT_MARK),
        style=Markup(style()),
        headline=headline(found),
        sentences=[
            *comparisons(found),
            *class_figures.class_sentences(found),
            *certainty(found),
        ],
        config=_config(found),
        state=_state(found),
        answers=[*figures.losses(found), *figures.spread(found), *figures.verdicts(found)],
        classes=[*class_figures.class_tables(found)],
        matrix=[*class_figures.confusion(found)],
        details=[one for draw in DETAILS for one in draw(found)],
        failures=failures(found),
        advice=advice(found),
        commands=_commands(found),
        about={"run": found.run_id, **found.about},
        written=written,
    )
    return page


def _config(found: Findings) -> list[tuple[str, str]]:
    config = found.leader.hyperparameters if found.leader else {}
    return [(name, f"{x:g}" if isinstance(x, float) else str(x)) for name, x in config.items()]


def _state(found: Findings) -> str:
    counts, total = Counter(by_name(one.state) for one in found.trials), len(found.trials)
    parts = ", ".join(f"{count} {word}" for word, count in counts.items())
    trials = f"{total} trial{'s' if total != 1 else ''}" + (f" ({parts})" if parts else "")
    why = f": {found.why}" if found.why else ""
    text = f"{found.state.capitalize()}{why}; {trials} in {duration(found.seconds)}."
    if found.left_out:
        text += f" {len(found.left_out)} runs could not be read and are left out."
    return text


def failures(found: Findings) -> tuple[str, Table | None]:
    failed = [one for one in found.attempts if one.failed]
    if not failed:
        return "No attempt of a trial has failed.", None
    cost = math.fsum(one.seconds for one in failed)
    total = math.fsum(one.seconds for one in found.attempts)
    share = f", {cost / total:.1%} of the time of all trials" if total else ""
    rows = list[list[str]]()
    for kind in Outcome:
        if not (alike := [one for one in failed if one.state == kind]):
            continue
        reasons = dict.fromkeys(one.reason[:LONGEST] for one in alike if one.reason)
        listed = ", ".join(one.id for one in alike[:LISTED])
        more = f" and {len(alike) - LISTED} more" if len(alike) > LISTED else ""
        seconds = math.fsum(one.seconds for one in alike)
        why = "; ".join([*reasons][:LISTED])
        rows.append([by_name(kind), str(len(alike)), duration(seconds), listed + more, why])
    said = f"{len(failed)} of {len(found.attempts)} attempts failed, for {duration(cost)}{share}."
    return said, Table(["outcome", "attempts", "time", "trials", "reasons"], rows)


def _commands(found: Findings) -> dict[str, str]:
    """What to type to use the result, to repeat it, and to look further, by what it is for."""
    name, typed = found.name, dict[str, str]()
    if best := found.best:
        ended = " that has ended" if found.open_leader else ""
        typed[f"the best network{ended}, as a folder of its own"] = (
            f"export {name} --to {name}-best"
        )
        typed[f"train the best trial{ended} again, and compare each round"] = f"rerun {best.id}"
    if leader := found.leader:
        typed["the best trial, round by round"] = f"show {leader.id}"
    if found.goes_on:
        typed["go on with the sweep"] = f"resume {name}"
    typed |= {"all trials": f"trials {name}", "this page anew": f"report {name}"}
    return {purpose: f"lstm-sweep {text}" for purpose, text in typed.items()}
