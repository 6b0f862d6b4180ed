"""The best loss of a sweep while it runs, and when it has ended: what the store says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.cli.sweeps import status_line
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, local, sweep_of, tiny_spec

#: the second trial is the best after its first round, and after its third
CURVES = {0: [2.5, 2.6, 2.7], 1: [2.4, 2.45, 2.3]}
FAILED = {1: Ended(Outcome.ERROR, "no luck")}


@pytest.fixture
def store() -> Store:
    return MemoryStore()


@pytest.fixture
def sweep(store: Store, corpus: Corpus, data: Path) -> Callable[..., Sweep]:
    """Makes a sweep of two trials of three epochs."""

    def make(trials: int = 2, **engine: Any) -> Sweep:
        spec = tiny_spec(data=str(data), trials=trials, epochs=4, **PLAIN)
        return sweep_of(store, corpus, ScriptedEngine(CURVES, **engine), spec)

    return make


class Died(BaseException):
    """Nothing is closed after it."""


def died(made: Sweep) -> None:
    """Run a sweep whose driver dies, as by `kill -9`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sweep, "_finish", lambda self: None)
        with pytest.raises(Died):
            made.run()
    parent = reader.existing_sweep(made._store, "s")
    gone = json.loads(parent.data.tags[Tag.LEASE]) | {"born": 1}
    made._store.log(parent.info.run_id, tags={Tag.LEASE: json.dumps(gone)})


def listed(store: Store) -> float | None:
    """The best loss in the list of sweeps."""
    [row] = local(store).sweeps()
    return row.best_val_loss


def test_a_trial_that_runs_counts_and_is_marked(store: Store, sweep: Callable[..., Sweep]) -> None:
    seen = list[tuple[Any, ...]]()

    def watch(message: RoundDone) -> None:  # before the round is told
        report = local(store).status("s")
        best = report.best
        seen.append((best and (best.trial, best.val_loss, best.running), listed(store)))
        if best and best.running:
            assert report.to_dict()["best"]["running"] is True
            assert f"best {best.trial} {best.val_loss:.4f} (not ended)" in status_line(report)

    sweep(watch=watch).run()
    first, second = ("s/0", 2.5, True), ("s/1", 2.4, True)
    assert seen == [
        (None, None), (first, 2.5), (first, 2.5),
        (("s/0", 2.5, False), 2.5), (second, 2.4), (second, 2.4),
    ]  # fmt: skip
    ended = local(store).status("s")
    assert ended.best and (ended.best.trial, ended.best.val_loss) == ("s/1", 2.3)
    assert ended.to_dict()["best"]["running"] is False and "(not ended)" not in status_line(ended)
    assert listed(store) == 2.3


def test_a_sweep_that_goes_on_logs_at_no_earlier_step(
    store: Store, sweep: Callable[..., Sweep], corpus: Corpus
) -> None:
    heard = list[RoundDone]()

    def interrupt(message: RoundDone) -> None:
        heard.append(message)
        if len(heard) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(watch=interrupt).run()
    parent = reader.existing_sweep(store, "s")
    before = max(store.history(parent.info.run_id, "best_val_loss"))
    past = rebuild(store, parent)
    assert past.step == before == 2  # the one that was stopped counts
    seen = list[float | None]()
    engine = ScriptedEngine(CURVES | {1: [2.2, 2.6]}, watch=lambda _: seen.append(listed(store)))
    sweep_of(store, corpus, engine, past.state.spec, past=past).run()
    assert (seen, listed(store)) == ([2.4, 2.2], 2.2)
    assert max(store.history(parent.info.run_id, "best_val_loss")) == before


def test_a_trial_that_has_failed_counts_no_more(store: Store, sweep: Callable[..., Sweep]) -> None:
    sweep(endings=FAILED).run()
    assert listed(store) == 2.5
    best = local(store).status("s").best
    assert best and (best.trial, best.running) == ("s/0", False)


def test_a_sweep_that_was_broken_off_and_put_in_order_counts_trials_that_have_ended(
    store: Store, sweep: Callable[..., Sweep]
) -> None:
    heard = list[RoundDone]()

    def die(message: RoundDone) -> None:
        heard.append(message)
        if len(heard) == 5:
            raise Died

    died(sweep(watch=die))
    assert listed(store) == 2.4
    best = local(store).status("s").best
    assert best and best.trial == "s/0"  # nobody drives the other one
    local(store).stop("s")
    assert listed(store) == 2.5


def test_a_sweep_whose_driver_died_says_so_and_how_it_goes_on(
    store: Store, sweep: Callable[..., Sweep]
) -> None:
    def die(message: RoundDone) -> None:
        raise Died

    died(sweep(watch=die))
    report = local(store).status("s")
    assert (report.state, report.why) == ("broken off", "the program that drove the sweep died")
    assert "lstm-sweep resume s" in local(store).stop("s").advice


COMPARED = {0: [2.5, 2.0], 1: [2.4, 2.25], 2: [2.4]}


@pytest.fixture(scope="module")
def compared(corpus: Corpus, data: Path) -> Store:
    """A store with a sweep of three trials, the last of which has failed."""
    store = MemoryStore()
    spec = tiny_spec(data=str(data), trials=3, epochs=2, **PLAIN)
    endings = {2: Ended(Outcome.ERROR, "no luck")}
    sweep_of(store, corpus, ScriptedEngine(COMPARED, endings=endings), spec).run()
    return store


def test_trials_of_sweeps_with_other_seeds_are_compared_if_they_have_the_same_targets(
    compared: Store, corpus: Corpus, data: Path
) -> None:
    for name, seeds in (
        ("t", {"seed": 7}),
        ("u", {"targets_seed": 7}),
        ("v", {"adjacent_targets": 1}),
    ):
        spec = tiny_spec(data=str(data), trials=1, epochs=1, **PLAIN, **seeds)
        sweep_of(compared, corpus, ScriptedEngine({0: [2.5]}), spec, name=name).run()
    assert local(compared).compare("s/0", "t/0").difference == pytest.approx(0.5)
    for trial in ("u/0", "v/0"):
        other = local(compared).compare("s/0", trial)
        assert other.difference is None and "other targets" in other.verdict


def test_a_sweep_may_be_called_like_the_beginning_of_a_run_id(
    compared: Store, corpus: Corpus, data: Path
) -> None:
    spec = tiny_spec(data=str(data), trials=1, epochs=1, **PLAIN)
    sweep_of(compared, corpus, ScriptedEngine({0: [2.5]}), spec, name="beef").run()
    found = local(compared).compare("s", "beef")
    assert (found.first.record.id, found.second.record.id) == ("s/0", "beef/0")
    assert [row.sweep for row in found.sweeps] == ["s", "beef"]
