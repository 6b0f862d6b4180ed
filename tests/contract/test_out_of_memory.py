"""Networks that are too large for the memory, in an SQLite store: tried twice, then left out."""

from __future__ import annotations

import pytest
from typing_extensions import override

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.resume import rebuild
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Ended, Job, Outcome
from lstm_sweep.spaces.space import from_mapping
from tests.contract.four_trials import Listening
from tests.contract.sittings import after, interrupt
from tests.fakes import ScriptedEngine
from tests.sweeps import sweep_of, tiny_spec

LOSSES = {number: [3.0 - number / 100, 2.9 - number / 100] for number in range(40)}
SPACE = from_mapping(
    {
        "direction": "uni",
        "dropout": {"low": 0, "high": 0.5},
        "layer_size": [6, 24],
        "sequence_length": 8,
        "stride": 8,
        "epochs": 2,
    },
    "test",
)


class LittleMemory(ScriptedEngine):
    """An engine without memory for layers of more than 6 units."""

    @override
    def start(self, job: Job) -> None:
        super().start(job)
        if as_lstm_config(job.trial.config).layer_size > 6:
            self._messages = [Ended(Outcome.OUT_OF_MEMORY, "memory of the host")]


@pytest.fixture
def store() -> Store:
    return MemoryStore()


def attempts(store: Store) -> dict[int, list[tuple[int, str]]]:
    """Attempts of each trial, and how each has ended."""
    found: dict[int, list[tuple[int, str]]] = {}
    for run in store.runs({"sweep.name": "s", "sweep.phase": "search"}):
        record = reader.read_trial(run)
        found.setdefault(record.number, []).append((record.attempt, record.outcome))
    return found


def test_they_are_tried_twice_and_left_out_with_a_line_also_when_a_sweep_goes_on(
    store: Store, corpus: Corpus
) -> None:
    spec = tiny_spec(space=SPACE, trials=12, ladder=False, confirm_configs=0, early_stopping=0)
    first, second = Listening(), Listening()
    engine = LittleMemory(LOSSES, watch=after(8, interrupt))
    with pytest.raises(KeyboardInterrupt):
        sweep_of(store, corpus, engine, spec, observer=first).run()
    twice = [(1, "out_of_memory"), (2, "out_of_memory")]
    failed = [number for number, ends in attempts(store).items() if ends[0] == twice[0]]
    assert failed and all(attempts(store)[number] == twice for number in failed)
    [said] = [line for line in first.told if "layers of 24 or more" in line]
    assert said.split(" ran out of memory: uni networks with")[0] in {f"s/{n}" for n in failed}
    past = rebuild(store, reader.existing_sweep(store, "s"))
    engine = LittleMemory(LOSSES)
    state = sweep_of(store, corpus, engine, past.state.spec, past=past, observer=second).run()
    assert [line for line in second.told if "layers of 24 or more" in line] == [said]
    assert state.counts == {"complete": 12 - len(failed), "out_of_memory": len(failed)}
