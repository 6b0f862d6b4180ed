"""The pictures of a report with their texts, from its findings."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

from markupsafe import Markup

from lstm_sweep.models.classes import Evidence
from lstm_sweep.models.config import Limit
from lstm_sweep.models.conformal import CONFIDENCE
from lstm_sweep.models.quality import VERDICT, OverRates
from lstm_sweep.models.scoring import bits
from lstm_sweep.models.size import ENOUGH_SYMBOLS, SizeRule
from lstm_sweep.search.report.charts import (
    LARGEST,
    NOTHING,
    Band,
    Bar,
    Dot,
    bars,
    best_over_time,
    learning_curves,
    scatter,
    short,
)
from lstm_sweep.search.values import documents
from lstm_sweep.search.values.sweep import SHARES, Confirmed, Sweep
from lstm_sweep.search.values.trial import VALIDATION_LOSS, Objective, Phase, Trial, shown_name

#: trials that are named in a picture, and rows of a table, at most
NAMED, MOST_ROWS = 5, 40
#: rate of false alarms that is drawn, if so much can be promised
USUAL = 0.01
#: phases of the trials of a sweep, and what they are called beside their marks
PHASES = {Phase.LADDER: "ladder", Phase.SEARCH: "search", Phase.CONFIRM: "confirmation"}
SHORT = {Phase.LADDER: "ladder", Phase.CONFIRM: "seed"}


@dataclass(frozen=True)
class Table:
    """Numbers for people; `note` says what is left out."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture, or `NOTHING`, what it shows in words, and its numbers."""

    title: str
    picture: Markup
    caption: str
    table: Table


def duration(seconds: float) -> str:
    """A time for people, which no line break divides: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    text = f"{seconds:.1f} s" if seconds < 10 else documents.duration(seconds)
    return text.replace(" ", "\u00a0")


def losses(found: Findings) -> Iterator[Figure]:
    best = found.leader
    if best is None or best.best_loss is None or not found.baselines or best.best_loss < 0:
        return
    own, in_nats = best.best_loss, found.objective.nats_per_symbol
    rows = {best.id: own, **{by_name(name): x for name, x in found.baselines.items()}}
    drawn = [Bar(name, x, f"{x:.4f}", strong=name == best.id) for name, x in rows.items()]
    cells = [
        [name, f"{x:.4f}", *([f"{bits(x):.4f}"] if in_nats else []), f"{x - own:+.4f}"]
        for name, x in rows.items()
    ]
    in_bits = ["bits per symbol"] if in_nats else []
    headings = ["model", found.objective.name, *in_bits, "more than the best trial"]
    draw = bars(drawn, title="losses of models")
    yield Figure("Against the baselines", draw, "Shorter is better.", Table(headings, cells))


def spread(found: Findings) -> Iterator[Figure]:
    if not found.confirmed:
        return
    rows = [
        [
            one.trial,
            f"{one.first_loss:.4f}",
            _text(one.mean, ".4f"),
            _text(one.spread if len(one.losses) > 1 else None, ".4f"),
            ", ".join([*(f"{loss:.4f}" for loss in one.losses), *filter(None, [one.failures])]),
            _verdict(one),
        ]
        for one in found.confirmed
    ]
    yield Figure(
        "How sure this is",
        NOTHING,
        "The best configs, trained again with further seeds. The first run counts in neither mean "
        "nor standard deviation: it was chosen for its low loss, so it tends to be too good.",
        Table(
            ["config of", "first run", "mean", "standard deviation", "losses", "verdict"],
            rows,
        ),
    )


def verdicts(found: Findings) -> Iterator[Figure]:
    if one := found.verdicts:
        at = max(n for n, rate in enumerate(one.rates) if rate <= max(USUAL, one.rates[0]))
        rate, highest = one.rates[at], one.highest[at]
        shares = {rule: false[at] / one.normal for rule, false in one.false_alarms.items()}
        rows = {"promised": rate, f"at most, with {CONFIDENCE:.0%}": highest} | shares
        drawn = [Bar(rule, x, f"{x:.2%}", strong=rule == VERDICT) for rule, x in rows.items()]
        yield Figure(
            "False alarms in later sessions",
            bars(drawn, title="false alarms of rules"),
            f"Of the normal sessions that {one.trial} was not trained on, the earlier "
            f"{one.calibrating:,} calibrate, and the later {one.normal:,} are judged.",
            _rates_table(one, one.false_alarms, one.normal),
        )
    if (one := found.labelled) and one.abnormal:
        least = 0.5 / one.normal  # there is no place for 0
        dots = {
            rule: [
                Dot(max(wrong / one.normal, least), right / one.abnormal, f"{rule}\n{rate:g}")
                for rate, wrong, right in zip(one.rates, false, one.found[rule], strict=True)
            ]
            for rule, false in one.false_alarms.items()
        }
        yield Figure(
            "Abnormal sessions that are found",
            scatter(
                dots,
                {"all": 1.0},
                x_label="share of normal sessions with an alarm",
                y_label="share of abnormal sessions that are found",
                joined=True,
            ),
            f"Of {one.normal:,} normal and {one.abnormal:,} abnormal labelled sessions, by "
            f"{one.trial} and rules that are simpler. A mark is a promise of --false-alarms.",
            _rates_table(one, one.found, one.abnormal),
        )


def _rates_table(one: OverRates, by_rule: Mapping[str, Sequence[int]], of: int) -> Table:
    """Shares of sessions that each rule calls abnormal, by what is promised."""
    rows = [
        [
            f"{rate:g}",
            f"{highest:.2g}",
            f"{one.false_alarms[VERDICT][at] / one.normal:.4f}",
            *(f"{counts[at]:,}" for counts in by_rule.values()),
        ]
        for at, (rate, highest) in enumerate(zip(one.rates, one.highest, strict=True))
    ]
    headings = ["promised", "at most, with 95 %", "false alarms of the verdict", *by_rule]
    return Table(headings, rows, f"Alarms by each rule are of {of:,} sessions.")


def _text(number: float | None, form: str) -> str:
    """A number in a table; empty if it is not known."""
    return "" if number is None else format(number, form)


def _verdict(one: Confirmed) -> str:
    if one.is_best:
        return "the best trial's"
    return "not compared" if one.p is None else f"{one.verdict}: p = {one.p:.2g}"


def curves(found: Findings) -> Iterator[Figure]:
    drawn = _with_curves(found)
    if not drawn:
        return
    front = [one for one in found.front if one in drawn][:NAMED]
    yield Figure(
        "Learning curves",
        _draw_curves(front, drawn, found),
        f"{_measure(found)} of {len(drawn)} trials after each round; the {len(front)} best are "
        f"named. Trials that fell behind were ended early, so their curves are short.",
        _trials_table(found),
    )


def curve_of(found: Findings, number: int) -> Iterator[Figure]:
    drawn = _with_curves(found)
    for trial in (one for one in drawn if one.number == number):
        yield Figure(
            "Learning curve",
            _draw_curves([trial], drawn, found),
            f"{_measure(found)} after each round; the other trials of the sweep are grey.",
            Table(
                ["epoch", found.objective.round_name],
                [[f"{epochs:g}", _text(loss, ".4f")] for epochs, loss in trial.curve],
            ),
        )


def _with_curves(found: Findings) -> list[Trial]:
    return [one for one in found.trials if any(loss is not None for _, loss in one.curve)]


def _draw_curves(named: Sequence[Trial], drawn: Sequence[Trial], found: Findings) -> Markup:
    """Learning curves of the trials that are drawn; levels only if they are of the same measure."""
    measure = found.objective.round_name
    return learning_curves(
        {_name(one): one.curve for one in named},
        [one.curve for one in drawn if one not in named],
        _levels(found) if measure == found.objective.name else {},
        y_label=measure,
    )


def _name(one: Trial) -> str:
    known, phase, label = one.id, one.phase, one.config.label()
    known += "" if phase is Phase.SEARCH else f" ({SHORT[phase]})"
    known += f": {one.best_loss:.4f}" if one.best_loss is not None else ""
    return f"{known}  {label}" if label else known


def _trials_table(found: Findings) -> Table:
    """Trials and their hyperparameters that vary, the best first."""
    shown, names = found.best_first, [axis.name for axis in found.axes]
    cells = [
        [
            one.id,
            one.phase,
            by_name(one.state),
            _text(one.best_loss, ".4f"),
            _text(one.best_epoch, "g"),
            f"{one.epochs:g}",
            _text(one.parameters or None, ","),
            duration(one.seconds),
            *(_value(one.hyperparameters.get(name)) for name in names),
        ]
        for one in shown[:MOST_ROWS]
    ]
    cut = len(shown) > MOST_ROWS
    note = f"The first {MOST_ROWS} of {len(shown)}; all: lstm-sweep trials {found.name}" * cut
    headings = ["trial", "phase", "outcome", "loss", "best epoch", "epochs", "parameters", "time"]
    return Table([*headings, *names], cells, note)


def _value(value: int | float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def _levels(found: Findings) -> dict[str, float]:
    return {by_name(name): loss for name, loss in found.baselines.items()}


def _measure(found: Findings) -> str:
    """What the loss of a round is, without its unit, at the beginning of a sentence."""
    name = found.objective.round_name.split(" (")[0]
    return name[:1].upper() + name[1:]


def ladder(found: Findings) -> Iterator[Figure]:
    steps = [one for one in found.trials if one.phase == Phase.LADDER]
    rated = [(one, one.hyperparameters.get(found.rate or "")) for one in steps]
    known = [(one, float(r)) for one, r in rated if isinstance(r, int | float) and r > 0]
    scored = [(one.best_loss, rate) for one, rate in known if one.best_loss is not None]
    if not scored:
        return
    dots = [Dot(rate, _loss(one), f"{one.id}\n{by_name(one.state)}") for one, rate in known]
    best = min(scored, key=lambda step: step[0])[1]
    cells = [
        [one.id, f"{rate:g}", _text(one.best_loss, ".4f"), by_name(one.state), one.reason]
        for one, rate in known
    ]
    yield Figure(
        "The ladder of learning rates",
        scatter(
            {"trials of the ladder": dots},
            {},
            x_label="learning rate",
            y_label=found.objective.name,
            joined=True,
        ),
        f"Rates were tried on a small network from the highest down. The best was {best:g}; the "
        f"search went on around it.",
        Table(["trial", "learning rate", "loss", "outcome", "reason"], cells),
    )


def _loss(one: Trial) -> float | None:
    """The loss of a trial, unless it has failed."""
    return None if one.state in ("diverged", "error", "out_of_memory") else one.best_loss


def over_time(found: Findings) -> Iterator[Figure]:
    """Best loss over time, that of trials which have not ended, too."""
    falls = found.best_over_time
    if not falls:
        return
    units = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
    by, unit = next(one for one in units if found.seconds > 2 * one[0] or one[0] == 1)
    scaled = [(seconds / by, loss) for seconds, loss in found.over_time]
    cells = [[duration(s), f"{x:.4f}"] for s, x in falls[-MOST_ROWS:]]
    note = f"The last {MOST_ROWS} of {len(falls)} gains." if len(falls) > MOST_ROWS else ""
    yield Figure(
        "The best loss over time",
        best_over_time(scaled, _levels(found), unit=unit, y_label=found.objective.name),
        f"The last gain came after {duration(falls[-1][0])} of {duration(found.seconds)}.",
        Table(["after", "best loss"], cells, note),
    )


def parameters(found: Findings) -> Iterator[Figure]:
    """Sizes of networks and losses, with what the size rule allows."""
    sized = [one for one in found.trials if one.parameters]
    if not sized:
        return
    band = None
    caption = "Each mark is a trial."
    if found.size_rule and found.training_symbols:
        symbols = found.training_symbols
        low, high = SizeRule(*found.size_rule).bounds(symbols)
        few, most, many = (short(float(f"{number:.3g}")) for number in (low, high, symbols))
        band = Band(f"size rule: {few} to {most} parameters", low, high)
        if symbols <= ENOUGH_SYMBOLS:
            few, most, many = *map("{:g}".format, found.size_rule), f"each of the {many}"
        caption += f" The size rule allows {few} to {most} parameters for {many} training symbols."
    groups = {
        name: [
            Dot(one.parameters, _loss(one), f"{_name(one)}\n{one.parameters:,} parameters")
            for one in sized
            if one.phase == phase
        ]
        for phase, name in PHASES.items()
    }
    sizes, best = [one.parameters for one in sized], found.leader
    caption += f" Networks have {min(sizes):,} to {max(sizes):,} parameters"
    caption += f", the best one {best.parameters:,}." if best and best.parameters else "."
    name = found.objective.name
    yield Figure(
        "Parameters and loss",
        scatter(groups, _levels(found), band, x_label="parameters", y_label=name),
        caption,
        _trials_table(found),
    )


def importance(found: Findings) -> Iterator[Figure]:
    if not found.importance:
        return
    shares = found.importance
    rows = [Bar(name, share, f"{share:.0%}") for name, share in shares.items()]
    first = next(iter(shares))
    yield Figure(
        "What matters",
        bars(rows, title="share of the variance of the loss"),
        f"Share of the variance of the loss that each hyperparameter explains, by a random forest "
        f"that is fitted to the trials: {first} explains most, {shares[first]:.0%}.",
        Table(["hyperparameter", "share"], [[name, f"{x:.1%}"] for name, x in shares.items()]),
    )


def time(found: Findings) -> Iterator[Figure]:
    spent = {name: seconds for name, seconds in found.time_shares.items() if seconds > 0}
    total = sum(spent.values())
    if total <= 0:
        return
    rows = [Bar(name, s, f"{s / total:.0%}, {duration(s)}") for name, s in spent.items()]
    most = max(rows, key=lambda row: row.value)
    yield Figure(
        "Where the time went",
        bars(rows, title="time of slots"),
        f"Time of all slots together, {duration(total)}: most of it, {most.text}, went to "
        f"{most.name}.",
        Table(
            ["used for", "time", "share"],
            [[name, duration(s), f"{s / total:.1%}"] for name, s in spent.items()],
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings(Sweep):
    """A sweep that was read back for its report."""

    #: its options as they are written; empty if they cannot be read
    spec: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective = VALIDATION_LOSS
    #: what the losses were scored on; those of sweeps with the same can be compared
    scored_on: Mapping[str, str | None] = field(default_factory=dict)
    #: share of the loss's variance that each hyperparameter explains
    importance: Mapping[str, float] = field(default_factory=dict)
    #: 0 if it is not known
    training_symbols: int = 0
    #: limits of the hyperparameters that `--set` takes, and where others are given more values
    limits: Mapping[str, Limit] = field(default_factory=dict)
    space_place: str = "in a new sweep"
    #: whether `--epochs` says how long trials are trained
    takes_epochs: bool = False
    #: verdicts of its best trial on later normal sessions, and on labelled ones
    verdicts: OverRates | None = None
    labelled: OverRates | None = None
    #: how well the best trial tells classes; None: it tells none, or the sweep is not closed
    classes: Evidence | None = None
    #: further facts with their names: data, seed, device, versions
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def goes_on(self) -> bool:
        """Whether `resume` continues trials that were under way."""
        return self.is_over and self.state != "finished"

    @property
    def trials_wanted(self) -> int | None:
        return int(self.spec["trials"]) if is_number(self.spec.get("trials")) else None

    @property
    def minutes(self) -> float | None:
        return self.spec["minutes"] if is_number(self.spec.get("minutes")) else None

    @property
    def size_rule(self) -> tuple[float, float] | None:
        """Parameters for each training symbol that the size rule allows."""
        low, high = self.spec.get("size_low"), self.spec.get("size_high")
        if self.spec.get("size_rule") == "off" or not (is_number(low) and is_number(high)):
            return None
        return (low, high) if 0 < low < high else None

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The hyperparameters that vary, from a space as `Space.describe` has written it."""
        space = self.spec.get("space")
        written = space.items() if isinstance(space, dict) else ()
        axes = (_axis(name, values, self.limits.get(name)) for name, values in written)
        return tuple(axis for axis in axes if axis)

    @property
    def rate(self) -> str | None:
        of_template = self.spec.get("template")
        field = self.spec.get("learning_rate_field") if of_template else "learning_rate"
        names = [axis.name for axis in self.axes]
        same = (name for name in names if isinstance(field, str) and name.split(" ")[0] == field)
        return shown_name(field) if field in names else next(same, None)

    @property
    def time_shares(self) -> dict[str, float]:
        """Seconds of slots by what they were used for; of a sweep that runs, by its trials."""
        spent = self.time or self.time_spent
        return {words: getattr(spent, name) for name, words in SHARES.items()}

    @property
    def over_time(self) -> list[tuple[float, float]]:
        """Seconds after the beginning, and the best loss from then on; the last is the end."""
        falls = list(self.best_over_time)
        ends_later = falls and self.seconds > falls[-1][0]
        return [*falls, (self.seconds, falls[-1][1])] if ends_later else falls

    @property
    def open_leader(self) -> Trial | None:
        return self.leader if self.leader and self.leader.is_open else None


@dataclass(frozen=True)
class Axis:
    """A hyperparameter that varies: a range of numbers, or words in an order."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    words: tuple[str, ...] = ()
    is_whole: bool = False

    def share(self, value: object) -> float | None:
        """How far a value is from the low end, at 0, to the high one, at 1; else None."""
        if self.words:
            known = str(value) in self.words
            return (self.words.index(str(value)) + 0.5) / len(self.words) if known else None
        if not is_number(value) or abs(value) > LARGEST or (self.log and value <= 0):
            return None
        low, high, at = self.low, self.high, min(max(float(value), self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / ((high - low) or 1.0)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a written spec is a finite number, also as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _axis(name: str, written: object, limit: Limit | None) -> Axis | None:
    shown = shown_name(name)
    is_whole = limit is not None and limit.kind is int
    if isinstance(written, list) and len(written) > 1:
        if all(map(is_number, written)):
            marks = tuple(sorted(map(float, written)))
            log = marks[0] > 0 and limit is not None and limit.ratio
            return Axis(shown, marks[0], marks[-1], log, is_whole=is_whole)
        return Axis(shown, words=tuple(dict.fromkeys(map(str, written))))
    if not isinstance(written, dict):
        return None
    log, low, high = written.get("scale") == "log", written.get("low"), written.get("high")
    mu, sigma = written.get("mu"), written.get("sigma")
    if low is None and is_number(mu) and is_number(sigma):  # a normal distribution
        low, high = mu - 2 * sigma, mu + 2 * sigma
        low, high = (math.exp(min(x, 700.0)) if log else x for x in (low, high))
    if not (is_number(low) and is_number(high)) or low >= high or (log and low <= 0):
        return None
    return Axis(shown, low, high, log=log, is_whole=is_whole)


def by_name(name: str) -> str:
    """A name in the store as people write it."""
    return name.replace("_", " ")
