"""Losses that are no numbers, wherever they may come from: they never win, and every sweep ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.documents import json_text
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import LARGEST, Ended, Outcome
from lstm_sweep.spaces.space import from_mapping
from tests.contract.sittings import Listening
from tests.fakes import ScriptedEngine
from tests.sweeps import TEMPLATE, sweep_of

NAN, INF = math.nan, math.inf
BAD = [NAN, INF, -INF]
TRIALS, EPOCHS = 14, 4
LOSSES = st.one_of(st.sampled_from([*BAD, 1e308, -1e308]), st.floats(0.1, 4))
CURVES = st.lists(
    st.lists(LOSSES, min_size=EPOCHS, max_size=EPOCHS), min_size=TRIALS, max_size=TRIALS
)


def returning(losses: Iterable[float], rounds: Sequence[list[float]]) -> ScriptedEngine:
    """An engine whose trials report rounds, and return a loss, as templates do."""
    endings = {n: Ended(Outcome.COMPLETE, loss=loss) for n, loss in enumerate(losses)}
    return ScriptedEngine(dict(enumerate(rounds)), endings=endings)


def corpus_spec(data: Path) -> SweepSpec:
    """A ladder of three rates, then a search with halving, then confirmation."""
    space = from_mapping(
        {
            "learning_rate": [1, 0.1, 0.01],
            "dropout": {"low": 0, "high": 0.5},
            "layer_size": 6,
            "sequence_length": 8,
            "stride": 8,
            "epochs": EPOCHS,
        },
        "test",
    )
    return SweepSpec(
        space=space, data=str(data), targets=100, size_rule="off", trials=TRIALS, max_failures=99
    )


def template_spec(folder: Path) -> SweepSpec:
    (folder / "mine.py").write_text(TEMPLATE, encoding="utf-8")
    given = {"template": str(folder / "mine.py"), "learning_rate_field": "rate", "trials": TRIALS}
    return read_spec(None, given, [])


def strictly(text: str) -> Any:
    """What a text of JSON holds; NaN and Infinity are none."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def check_closed(sweep: Sweep) -> None:
    """A sweep has ended in order, and holds no loss that is no number."""
    store: Any = sweep._store
    assert {run.info.status for run in store.runs()} <= {"FINISHED", "FAILED", "KILLED"}
    assert store.tags(sweep.state.run_id)["sweep.lease"] == ""
    for tags in (run.data.tags for run in store.runs()):
        strictly(tags.get("sweep.curve", "[]"))
    for run in store.runs():
        assert all(map(math.isfinite, store.history(run.info.run_id, "best_val_loss").values()))


def check_never_won(sweep: Sweep, curves: list[list[float]], *, returned: bool) -> None:
    """The best trial is the one with the lowest finite loss of all that rank."""
    state = sweep.state
    assert state.status is SweepStatus.FINISHED
    check_closed(sweep)
    store: Any = sweep._store
    strictly(json_text(SweepResult.of(state).to_dict()))
    strictly(store._of(sweep.state.run_id).files["evidence.json"].decode())
    assert all(math.isfinite(loss) for _, loss in state.best_over_time)
    expected = []
    for progress in state.finished:
        seen = curves[progress.number][: len(progress.rounds)]
        whole = progress.ended and progress.ended.outcome is Outcome.COMPLETE
        considered = ([seen[-1]] if whole else []) if returned else seen
        expected += [loss for loss in considered if abs(loss) <= LARGEST]
    assert state.best_loss == min(expected, default=None)


@pytest.mark.parametrize("returned", [False, True], ids=["of a corpus", "of a template"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(curves=CURVES)
def test_in_no_phase_of_a_search_a_loss_that_is_no_number_wins(
    curves: list[list[float]], returned: bool, corpus: Corpus, data: Path, tmp_path: Path
) -> None:
    if returned:
        engine = returning((one[-1] for one in curves), curves)
        sweep = sweep_of(MemoryStore(), None, engine, template_spec(tmp_path))
    else:
        engine = ScriptedEngine(dict(enumerate(curves)))
        sweep = sweep_of(MemoryStore(), corpus, engine, corpus_spec(data))
    sweep.run()
    check_never_won(sweep, curves, returned=returned)


@pytest.mark.parametrize(("broken", "error"), [("describe", MemoryError), ("evidence", OSError)])
def test_a_sweep_closes_whatever_keeps_its_result_from_being_drawn(
    broken: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise error("no ink")

    monkeypatch.setattr(f"lstm_sweep.search.driver.sweep.{broken}", fail)
    display = Listening()
    engine = returning(TRIALS * [0.5], TRIALS * [[]])
    sweep = sweep_of(MemoryStore(), None, engine, template_spec(tmp_path), observer=display)
    assert sweep.run().status is SweepStatus.FINISHED
    check_closed(sweep)
    assert len([text for text in display.told if "no ink" in text]) == 1


def test_a_sweep_closes_though_a_trial_cannot_be_closed(tmp_path: Path) -> None:
    class Broken(MemoryStore):
        def finish(self, run_id: str, status: str, at_ms: int | None = None) -> None:
            if Tag.TRIAL in self.tags(run_id):
                raise ValueError("a metric has no name")
            super().finish(run_id, status, at_ms)

    display, store = Listening(), Broken()
    engine = returning(TRIALS * [0.5], TRIALS * [[]])
    sweep = sweep_of(store, None, engine, template_spec(tmp_path), observer=display)
    with pytest.raises(ValueError, match="a metric has no name"):
        sweep.run()
    parent, trial = store.runs()
    assert (parent.info.status, trial.info.status) == ("FAILED", "RUNNING")
    assert parent.data.tags[Tag.LEASE] == ""
    assert any("runs of trials were left open" in text for text in display.told)


def test_a_document_has_null_where_json_has_no_number() -> None:
    assert strictly(json_text({"a": [NAN, (INF, 1.5)], "b": {"c": -INF, "d": "nan"}})) == {
        "a": [None, [None, 1.5]],
        "b": {"c": None, "d": "nan"},
    }
