from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, local, sweep_of, tiny_spec

CURVES = {0: [2.5, 2.0], 1: [2.4, 2.25], 2: [2.4]}


@pytest.fixture(scope="module")
def store(corpus: Corpus, data: Path) -> Store:
    """A store with a sweep of three trials, the last of which has failed."""
    store = MemoryStore()
    spec = tiny_spec(data=str(data), trials=3, epochs=2, **PLAIN)
    endings = {2: Ended(Outcome.ERROR, "no luck")}
    sweep_of(store, corpus, ScriptedEngine(CURVES, endings=endings), spec).run()
    return store


def test_two_trials_are_compared_by_configs_curves_and_losses(store: Store) -> None:
    found = local(store).compare("s/0", "s/1")
    assert found.difference == pytest.approx(0.25)
    assert found.verdict.startswith("s/0 is 0.2500 better than s/1; what seeds change is not known")
    mine, its = (one.record.config.to_dict() for one in (found.first, found.second))
    assert found.differences == {
        name: (mine[name], its[name]) for name in mine if mine[name] != its[name]
    }
    assert [row["val_loss"] for row in found.second.by_epoch] == [2.4, 2.25]
    swapped = local(store).compare("s/1", "s/0")
    assert swapped.difference == pytest.approx(-0.25) and swapped.verdict == found.verdict
    assert list(found.to_dict()) == [
        "first", "second", "differences", "difference", "spread", "verdict", "sweeps",
    ]  # fmt: skip


def test_a_trial_of_other_data_is_not_compared(store: Store) -> None:
    run_id = local(store).show("s/1").record.run_id
    was = store.tags(run_id)[Tag.CORPUS_DIGEST]
    store.log(run_id, tags={Tag.CORPUS_DIGEST: "0" * 32})
    found = local(store).compare("s/0", "s/1")
    store.log(run_id, tags={Tag.CORPUS_DIGEST: was})
    assert found.difference is None and "other data" in found.verdict


def test_trials_of_sweeps_with_other_seeds_are_compared_if_they_have_the_same_targets(
    store: Store, corpus: Corpus, data: Path
) -> None:
    for name, seeds in (
        ("t", {"seed": 7}),
        ("u", {"targets_seed": 7}),
        ("v", {"adjacent_targets": 1}),
    ):
        spec = tiny_spec(data=str(data), trials=1, epochs=1, **PLAIN, **seeds)
        sweep_of(store, corpus, ScriptedEngine({0: [2.5]}), spec, name=name).run()
    assert local(store).compare("s/0", "t/0").difference == pytest.approx(0.5)
    for trial in ("u/0", "v/0"):
        other = local(store).compare("s/0", trial)
        assert other.difference is None and "other targets" in other.verdict


@pytest.mark.parametrize(
    "first, second, trials, named",
    [
        ("s", "s/1", ("s/0", "s/1"), ["s"]),
        ("s/1", "s", ("s/1", "s/0"), ["s"]),
        ("s", "s", ("s/0", "s/0"), ["s"]),
        ("s", "beef", ("s/0", "beef/0"), ["s", "beef"]),
    ],
)
def test_of_a_sweep_its_best_trial_is_compared(
    store: Store, corpus: Corpus, data: Path, first: str, second: str, trials: tuple[str, str],
    named: list[str],
) -> None:  # fmt: skip
    """A name that might be the beginning of a run ID is that of the sweep, if there is one."""
    if not reader.find_sweep(store, "beef"):
        spec = tiny_spec(data=str(data), trials=1, epochs=1, **PLAIN)
        sweep_of(store, corpus, ScriptedEngine({0: [2.5]}), spec, name="beef").run()
    found = local(store).compare(first, second)
    assert (found.first.record.id, found.second.record.id) == trials
    expected = {row.sweep: row for row in local(store).sweeps()}
    assert list(found.sweeps) == [expected[name] for name in named]
    assert found.difference is not None
