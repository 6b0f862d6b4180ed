"""The report of a sweep, from a real store: ended, running, failed, and with a store that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstm_sweep
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.normality import RULES
from lstm_sweep.models.quality import VERDICT, OverRates
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions.sweeps import SweepReport
from lstm_sweep.search.driver import read_back
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import digest_of
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import Ended, Outcome
from tests.contract.sittings import Listening
from tests.fakes import ScriptedEngine
from tests.sweeps import PLAIN, local, store_in, sweep_of, tiny_spec

AGAIN: dict[str, Any] = {"confirm_configs": 2, "confirm_seeds": 2, "halving": False}


def findings(store: MemoryStore) -> Findings:
    return read_findings(store, reader.existing_sweep(store, "s"))


def stored(store: MemoryStore, run_id: str, folder: Path) -> str:
    """The report among the files of a run."""
    return store.fetch(run_id, "report.html", folder).read_text(encoding="utf-8")


def test_a_sweep_keeps_the_report_that_the_store_gives_later(
    store: MemoryStore, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {n: [2.0 - n / 100, 1.5 - n / 100] for n in range(12)}
    bad = {1: Ended(Outcome.OUT_OF_MEMORY, "no room for <b>")}
    spec = tiny_spec(trials=10, early_stopping=0, **AGAIN)
    state = sweep_of(store, corpus, ScriptedEngine(losses, endings=bad), spec).run()
    page = stored(store, state.run_id, tmp_path)
    again = local(store).report("s")
    cut = page.index("<footer>")
    assert page[:cut] == again.html[:cut]
    found = findings(store)
    assert found.best and state.best
    assert (found.best.id, found.best.best_loss) == (state.best.id, state.best.ranked_loss)
    assert found.baselines == state.baselines and found.state == "finished"
    assert [one.trial for one in found.confirmed] == [one.trial for one in state.confirmed]
    curves = {one.id: [loss for _, loss in one.curve] for one in found.trials}
    assert curves["s/3"] == losses[3]
    assert {axis.name for axis in found.axes} == {"direction", "dropout"}
    assert found.training_symbols == pytest.approx(len(corpus.train), rel=0.01)
    assert found.is_over and found.time and found.over_time[-1][1] == found.best.best_loss
    monkeypatch.setattr(read_back, "FEWEST_TRIALS", 3)
    shares = findings(store).importance
    assert shares.keys() == {"direction", "dropout"} and not found.importance
    assert "no room for &lt;b&gt;" in page and "2 of 11 attempts failed" in page


def test_verdicts_that_are_kept_in_the_run_of_a_sweep_are_in_its_report(
    store: MemoryStore, corpus: Corpus
) -> None:
    state = sweep_of(
        store, corpus, ScriptedEngine({n: [1.5] for n in range(9)}), tiny_spec(trials=2)
    ).run()
    assert "later sessions" not in local(store).report("s").html
    rng = np.random.default_rng(0)
    p = {rule: rng.random(500) ** 2 for rule in (VERDICT, *RULES)}
    judged = OverRates.of(p, rng.random(500) < 0.2, 999, "s/1")
    text = judged.to_text()
    store.log(state.run_id, tags={Tag.VERDICTS: text, Tag.LABELLED: text})
    page = local(store).report("s").html
    assert "False alarms in later sessions" in page and "Abnormal sessions that are found" in page
    assert f"the earlier 999 calibrate, and the later {judged.normal} are judged" in page
    assert findings(store).labelled == judged
    store.log(state.run_id, tags={Tag.VERDICTS: text[1:], Tag.LABELLED: "{}"})
    assert "later sessions" not in local(store).report("s").html
    for one in ({"data": "new.log"}, {"labels": "labels.tsv"}):
        with pytest.raises(InputError, match="found one of --data and --labels, expected both"):
            local(store).report("s", **one)


def test_a_round_of_a_trial_that_runs_is_a_gain(store: MemoryStore, corpus: Corpus) -> None:
    pages, seen = list[SweepReport](), list[Findings]()

    def look(message: RoundDone) -> None:
        if message.number == 3:
            pages.append(local(store).report("s"))
            seen.append(findings(store))

    losses = {0: [3.0, 2.0, 2.1], 1: [1.5, 1.0, 1.2]}
    engine = ScriptedEngine(losses, watch=look)
    sweep_of(store, corpus, engine, tiny_spec(3, trials=2, **PLAIN)).run()
    live, page, end = seen[1], pages[1], findings(store)
    for found in (live, end):
        assert [loss for _, loss in found.best_over_time] == [3.0, 2.0, 1.5, 1.0]
    assert live.state == "running" and "lstm-sweep status s --follow" in page.html
    assert [one.state for one in live.trials] == ["complete", "running"]
    assert live.best and live.best.id == "s/0"
    assert live.open_leader and live.open_leader.id == "s/1"
    assert page.headline.startswith("s/1, which has not ended, is best so far: 1.0000 nats")
    first = live.trials[0]
    assert first.seconds > 0, "scripted rounds of a trial that runs say no seconds"
    assert live.time_spent.best == 0 and live.time_spent.beaten == first.seconds
    assert end.time and end.time.best > 0
    assert "not ended" not in local(store).report("s").html


def test_a_sweep_that_failed_whole_has_a_report(
    store: MemoryStore, corpus: Corpus, tmp_path: Path
) -> None:
    bad = {n: Ended(Outcome.ERROR, f"ValueError: {n}") for n in range(9)}
    engine = ScriptedEngine({n: [] for n in range(9)}, endings=bad)
    state = sweep_of(store, corpus, engine, tiny_spec(trials=9, max_failures=3, **PLAIN)).run()
    assert state.status is SweepStatus.FAILED
    page = stored(store, state.run_id, tmp_path)
    assert "No trial has a result." in page and "3 of 3 attempts failed" in page
    assert "ValueError: 2" in page and "lstm-sweep resume s" in page


def test_a_report_that_cannot_be_stored_costs_nothing_else(
    store: MemoryStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = store.keep_text

    def failing(run_id: str, text: str, name: str) -> None:
        if name == "report.html":
            raise StoreError("the disk is full")
        keep(run_id, text, name)

    monkeypatch.setattr(store, "keep_text", failing)
    display = Listening()
    spec = tiny_spec(trials=1, **PLAIN)
    state = sweep_of(store, corpus, ScriptedEngine({0: [3.0, 2.0]}), spec, observer=display).run()
    assert display.told == ["no report was saved: the disk is full"]
    run = store.run(state.run_id)
    assert (run.info.status, run.data.tags["sweep.state"]) == ("FINISHED", "finished")
    assert not state.left_open


def test_what_cannot_be_read_is_left_out(store: MemoryStore, corpus: Corpus) -> None:
    spec = tiny_spec(trials=3, **PLAIN)
    losses = {n: [3.0, 2.0 - n / 10] for n in range(3)}
    state = sweep_of(store, corpus, ScriptedEngine(losses), spec).run()
    best, other, _ = state.ranked
    store.log(best.run_id, tags={"sweep.config": "{"})
    store.log(other.run_id, tags={"sweep.curve": '[["x"]]'})
    odd = {"sweep.spec.0": '{"space": 7}', "sweep.time": "[]"}
    store.log(state.run_id, tags=odd)
    found = findings(store)
    assert len(found.left_out) == 1
    assert "1 runs could not be read" in local(store).report("s").html
    assert found.best and found.best.id == other.id
    assert found.best.curve == [] and found.axes == ()


@pytest.mark.parametrize("number", ["9" * 400, "1.7e308", "1e-310"])
def test_numbers_beyond_all_reason_in_a_store_stop_no_report(
    store: MemoryStore, corpus: Corpus, number: str
) -> None:
    losses = {n: [3.0, 2.0 - n / 10] for n in range(2)}
    state = sweep_of(store, corpus, ScriptedEngine(losses), tiny_spec(trials=2, **PLAIN)).run()
    run = reader.existing_sweep(store, "s")
    huge = dict.fromkeys(("trials", "minutes", "size_low", "size_high"), json.loads(number))
    written = reader.written_spec(run) | huge
    tags = {"sweep.spec.0": json.dumps(written), "sweep.spec_digest": digest_of(written)}
    store.log(state.run_id, tags=tags)
    for one in store.runs({"mlflow.parentRunId": state.run_id}):
        store._kept[one.info.run_id].data.params["parameters_per_symbol"] = number
        if "sweep.baseline" in one.data.tags:
            store._kept[one.info.run_id].data.metrics["best_val_loss"] = float(number)
    best = state.ranked[0]
    store.log(best.run_id, tags={"sweep.curve": f"[[2.0, {number}], [1.9, {number}]]"})
    store.reopen(best.run_id)
    assert best.id in local(store).report("s").html


def test_python_has_the_page_that_it_writes(
    workplace: Callable[[str], Path], corpus: Corpus
) -> None:
    folder = workplace("python")
    sweep_of(store_in(folder), corpus, ScriptedEngine({0: [3.0]}), tiny_spec(1, trials=1)).run()
    (folder / "mlflow.yaml").write_text("artifacts: artifacts\nexperiment: test\n")
    page = lstm_sweep.sweep("s", store=folder).report(folder / "page.html")
    assert "s/0 is best" in page and (folder / "page.html").read_text(encoding="utf-8") == page
