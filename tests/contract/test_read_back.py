"""What is read of a sweep from its runs is what its driver knew, however its trials have ended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.actions import sweeps
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from tests.contract.sittings import after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, sweep_of, tiny_spec

TRIALS, EPOCHS = 8, 4
#: losses of trials, no two alike; each trial has the first few of its own
LOSSES = st.lists(
    st.floats(0.1, 4), min_size=TRIALS * EPOCHS, max_size=TRIALS * EPOCHS, unique=True
)
ROUNDS = st.lists(st.integers(0, EPOCHS), min_size=TRIALS, max_size=TRIALS)
#: how some trials end, without another attempt
ENDS = st.dictionaries(
    st.integers(0, TRIALS - 1),
    st.sampled_from([one for one in Outcome if one.most_attempts(Phase.SEARCH) == 1]),
    max_size=4,
)


def known(attempts: Iterable[Trial]) -> dict[tuple[int, int], tuple[Any, ...]]:
    """What is known of attempts of trials, but for their times."""
    return {
        (one.number, one.attempt): (
            one.planned(),
            one.run_id,
            one.val_losses,
            # one that waited when its sweep was broken off waits again
            one.ended if one.ended and not one.ended.unfinished else None,
            one.best_loss,
        )
        for one in attempts
    }


@settings(
    max_examples=10,
    phases=[Stage.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    losses=LOSSES, rounds=ROUNDS, ends=ENDS, breaks_at=st.none() | st.integers(1, 20),
    halving=st.booleans(), lost=st.integers(0, 2),
)  # fmt: skip
def test_a_sweep_is_read_back_as_its_driver_knew_it(
    losses: list[float],
    rounds: list[int],
    ends: dict[int, Outcome],
    breaks_at: int | None,
    halving: bool,
    lost: int,
    corpus: Corpus,
    data: Path,
) -> None:
    fields = PLAIN | {"halving": halving, "confirm_configs": 2, "confirm_seeds": 2}
    spec = tiny_spec(EPOCHS, data=str(data), trials=TRIALS, max_failures=99, **fields)
    curves = {n: losses[n * EPOCHS :][:each] for n, each in enumerate(rounds)}
    endings = {number: Ended(outcome, "why") for number, outcome in ends.items()}
    watch = after(breaks_at or 10**9, interrupt)
    engine = ScriptedEngine(curves, endings=endings, lose_first=lost, watch=watch)
    store = MemoryStore()
    sweep = sweep_of(store, corpus, engine, spec)
    try:
        state = sweep.run()
    except KeyboardInterrupt:
        state = sweep.state
    check(store, state)


def check(store: MemoryStore, state: SweepState) -> None:
    run = reader.existing_sweep(store, "s")
    findings = read_findings(store, run)
    losses = [loss for _, loss in findings.best_over_time]
    assert losses == [loss for _, loss in state.best_over_time]
    time = findings.time
    assert time and time.to_dict() == pytest.approx(state.time_spent.to_dict(), abs=0.05)
    assert findings.baselines == state.baselines
    live, stored = (
        SweepResult.of(state).to_dict(),
        sweeps.stored_result(store, run).to_dict(),
    )
    for name in ("seconds", "time"):  # of another clock
        del live[name], stored[name]
    for one in (live, stored):
        one["confirmed"].sort(key=str)
    assert stored == live
    past = rebuild(store, run)
    read = past.state
    assert known(read.attempts) == known(state.attempts)
    assert read.seconds == pytest.approx(state.seconds, abs=0.05)
    assert read.slot_seconds == pytest.approx(state.slot_seconds, abs=0.05)
    assert (read.baselines, read.name, read.run_id) == (state.baselines, "s", state.run_id)
