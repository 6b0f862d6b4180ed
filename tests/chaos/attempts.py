"""What a store has of the trials of a sweep whose processes were killed."""

from __future__ import annotations

from collections.abc import Iterable

from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.trial import Outcome, Phase

#: attempts of a trial whose worker is killed each time
MOST = Outcome.LOST.most_attempts(Phase.SEARCH)


def attempts(store: Store, sweep: str, trials: int) -> list[TrialRecord]:
    """The attempts at all trials of a sweep, none of which is left open or doubled."""
    runs = store.runs({"sweep.name": sweep})
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    trained = [run for run in runs if run.data.tags.get("sweep.phase") in reader.TRAINED]
    records = [reader.read_trial(run) for run in trained]
    assert len({(r.number, r.attempt) for r in records}) == len(records)
    assert {r.number for r in records} == set(range(trials))
    return records


def result_of(records: Iterable[TrialRecord], number: int) -> TrialRecord | None:
    """The one attempt at a trial that has a result; None if its worker was killed each time."""
    own = [one for one in records if one.number == number]
    ended = [one for one in own if one.tags.get("sweep.unfinished") != "yes"]
    lost = sum(one.outcome == Outcome.LOST for one in ended)
    final = [one for one in ended if one.outcome != Outcome.LOST]
    if not final:
        assert lost == MOST
        return None
    [whole] = final
    assert lost < MOST
    return whole
