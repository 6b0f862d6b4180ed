"""One trial, round by round, and two of them, or the best of sweeps, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.references import Here, means_sweep, store_of_trial
from lstm_sweep.search.actions.sweeps import SweepRow, row_of, status
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import store_to_read
from lstm_sweep.search.store.curves import confirmed_of
from lstm_sweep.search.store.reader import TrialRecord, scored_on
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Outcome


@dataclass(frozen=True)
class TrialDetails:
    """One trial, round by round."""

    record: TrialRecord
    #: of each round the epochs that are trained then, `epoch`, and its metrics; None for one that
    #: was not logged
    by_epoch: tuple[Mapping[str, Any], ...]

    @property
    def rounds(self) -> list[dict[str, float]]:
        """The metrics of each round that were logged."""
        names = self.record.results
        return [{n: row[n] for n in names if row[n] is not None} for row in self.by_epoch]

    def to_dict(self) -> dict[str, Any]:
        more = {"reason": self.record.reason, "by_epoch": [dict(row) for row in self.by_epoch]}
        return self.record.to_dict() | more

    def document(self) -> dict[str, Any]:
        """The trial as a service shows it: also what is said of it to people."""
        tags, told = self.record.tags, (Tag.DEVICE, Tag.VERDICT)
        shown = {n: v for n, v in tags.items() if n in told or n.startswith(Tag.VERSION)}
        more = {"results": list(self.record.results), "tags": shown}
        return self.record.document() | self.to_dict() | more


def show(here: Here, reference: str) -> TrialDetails:
    """The trial that `SWEEP/NUMBER`, or a run ID or its beginning, means."""
    store = store_of_trial(reference, here.settings)
    return details_of(store, reader.find_trial(store, reference))


def details_of(store: Store, record: TrialRecord) -> TrialDetails:
    """A trial with its rounds, as its run has them."""
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    rows = (
        dict[str, Any](epoch=record.epochs_after(step))
        | {name: values.get(step) for name, values in history.items()}
        for step in sorted({step for values in history.values() for step in values})
    )
    return TrialDetails(record, tuple(rows))


#: of trials that cannot be compared
OTHER_DATA = "their losses cannot be compared: they were scored on other data, or on other targets"
#: standard deviations of a difference beyond which it is more than chance
BEYOND = 2.0


@dataclass(frozen=True)
class TrialComparison:
    """Two trials side by side."""

    first: TrialDetails
    second: TrialDetails
    #: values of the fields of their configs that differ, by field; None where one has no such field
    differences: Mapping[str, tuple[Any, Any]]
    #: loss of the second less that of the first; None if one has none, or they are of other data
    difference: float | None
    #: standard deviation over seeds, nats, of configs of their sweeps that were trained again; None
    #: if none was
    spread: float | None
    #: which one is better, for people
    verdict: str
    #: the sweeps whose best trials they are, if they were named by sweeps
    sweeps: tuple[SweepRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "differences": {name: list(pair) for name, pair in self.differences.items()},
            "difference": self.difference,
            "spread": self.spread,
            "verdict": self.verdict,
            "sweeps": [row.to_dict() for row in self.sweeps],
        }

    def document(self) -> dict[str, Any]:
        """The comparison as a service tells it: also what is said of the trials to people."""
        trials = {"first": self.first.document(), "second": self.second.document()}
        return self.to_dict() | trials


def compare(here: Here, first: str, other: str) -> TrialComparison:
    """Compare two trials; each is `SWEEP/NUMBER`, a run ID or its beginning, or a sweep.

    Of a sweep it is the best trial; while it runs, also by the rounds of one that has not ended.
    """
    rows = dict[str, SweepRow]()
    one, two = (_details(here, named, rows) for named in (first, other))
    mine, its = one.record.config.to_dict(), two.record.config.to_dict()
    pairs = {name: (mine.get(name), its.get(name)) for name in {**mine, **its}}
    differences = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    losses = _loss(one.record), _loss(two.record)
    same = scored_on(one.record.tags) == scored_on(two.record.tags)
    difference = spread = None
    if losses[0] is not None and losses[1] is not None and same:
        difference = losses[1] - losses[0]
        spread = _spread(store_to_read(here.settings), {one.record.sweep, two.record.sweep})
    verdict = _verdict(one.record, two.record, difference, spread) if same else OTHER_DATA
    return TrialComparison(one, two, differences, difference, spread, verdict, tuple(rows.values()))


def _details(here: Here, reference: str, rows: dict[str, SweepRow]) -> TrialDetails:
    """The trial that a reference means; its sweep is added to the rows if that names it."""
    if not means_sweep(here, reference):
        return show(here, reference)
    best = status(here, reference).best
    if best is None:
        raise InputError(f"sweep '{reference}' has no trial with a result, expected one")
    rows[reference] = row_of(here.sweep_run(reference)[1])
    return show(here, best.run_id)


def _loss(record: TrialRecord) -> float | None:
    """The loss that a trial competes with; None if it has failed or has none."""
    ranks = not record.outcome or Outcome(record.outcome).ranks
    return record.best_loss if ranks else None


def _spread(store: Store, sweeps: set[str]) -> float | None:
    """Largest standard deviation over seeds of the configs that sweeps have trained again."""
    found = (confirmed_of(store, reader.trials(store, name)) for name in sorted(sweeps))
    known = (one.spread for confirmed in found for one in confirmed if len(one.losses) > 1)
    return max(known, default=None)


def _verdict(
    first: TrialRecord, second: TrialRecord, difference: float | None, spread: float | None
) -> str:
    if difference is None:
        lacking = first if _loss(first) is None else second
        why = lacking.state
        return f"{lacking.id} has no loss to compare ({why}), so that nothing can be said"
    if difference == 0:
        return "both have the same loss"
    better, worse = (first, second) if difference > 0 else (second, first)
    text = f"{better.id} is {abs(difference):.4f} better than {worse.id}"
    if spread is None:
        return f"{text}; what seeds change is not known: no config was trained again with several"
    # each of the two losses varies by the spread
    limit = BEYOND * 2**0.5 * spread
    sure = "more" if abs(difference) > limit else "no more"
    return f"{text}, {sure} than seeds change ({limit:.4f}: {BEYOND:g} standard deviations)"
