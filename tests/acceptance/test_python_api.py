"""The Python API on a real store, with real workers."""

from __future__ import annotations

import _thread
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest

import lstm_sweep as ls
from lstm_sweep.models.config import FIELDS
from tests.conftest import nothing_changed, of_random, write_text

ROOT = Path(__file__).resolve().parents[2]
#: a sweep whose trials take a second each
TINY: dict[str, Any] = {
    "space": {
        "layer_size": [8, 10, 12, 14], "sequence_length": 10, "stride": 10, "batch_size": 32,
        "learning_rate": 0.01, "epochs": 2,
    },
    "trials": 3, "workers": 1, "size_rule": "off", "targets": 300, "halving": False,
    "early_stopping": 0, "confirm_configs": 0, "ladder": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    """Where runs are kept, and a text lies."""
    folder = workplace("python")
    write_text(folder / "words.txt")
    return folder


@pytest.fixture(scope="module")
def sweep(folder: Path) -> ls.Sweep:
    """A sweep that has ended."""
    with nothing_changed(of_random):
        return ls.launch(data=folder / "words.txt", store=folder, **TINY)


def test_a_sweep_is_launched_and_found_again(sweep: ls.Sweep, folder: Path) -> None:
    status = ls.sweep("words-1", store=folder).status()
    assert (sweep.name, status.state) == ("words-1", "finished")
    assert dict(status.trials) == {"complete": 3}
    assert (folder / "mlartifacts").is_dir()
    row = ls.sweeps(store=folder).loc["words-1"]
    assert (row["state"], row["trials_done"]) == ("finished", 3)
    assert row["best_val_loss"] == sweep.best.val_loss
    with pytest.raises(ls.InputError, match="sweeps: words-1"):
        ls.sweep("words-2", store=folder)


def test_its_trials_are_a_table_the_best_first(sweep: ls.Sweep) -> None:
    table = sweep.trials()
    assert sorted(table.index) == ["words-1/0", "words-1/1", "words-1/2"]
    assert table["val_loss"].is_monotonic_increasing and table["val_loss"].notna().all()
    assert {*FIELDS} - {"epochs"} <= {*table.columns}
    assert (table["epochs"] == 2).all() and set(table["layer_size"]) <= {8, 10, 12, 14}
    best = sweep.best
    assert (best.id, best.val_loss) == (table.index[0], table["val_loss"].iloc[0])
    assert best.config["layer_size"] == table["layer_size"].iloc[0]
    assert sweep.trial(best.number).run_id == sweep.trial(best.id).run_id == best.run_id
    with pytest.raises(ls.InputError, match="no such trial"):
        sweep.trial(9)


def test_a_trial_has_a_curve_and_the_sweep_baselines(sweep: ls.Sweep) -> None:
    curve = sweep.best.curve()
    assert [*curve.columns] == ["train_loss", "val_loss", "val_accuracy", "val_top5_accuracy"]
    assert curve.index.tolist() == [1, 2]
    assert curve["val_loss"].min() == sweep.best.val_loss
    assert curve["val_loss"].idxmin() == sweep.best.best_epoch
    assert {*sweep.baselines} == {"unigram", "markov", "naive_bayes", "ngram"}


@pytest.fixture(scope="module")
def model(sweep: ls.Sweep, folder: Path) -> ls.Model:
    """Its best network."""
    with nothing_changed(of_random):
        return sweep.export(folder / "best-model", register="words")


def test_a_model_is_exported_and_loaded(model: ls.Model, sweep: ls.Sweep, folder: Path) -> None:
    again = ls.load(folder / "best-model")
    assert again.trial == model.trial == sweep.best.id
    assert (model.version, again.version) == (1, None)
    assert again.metrics["val_loss"] == sweep.best.val_loss
    assert 0 < again.metrics["test_loss"] < 5
    assert again.config == sweep.best.config and set(again.symbols) <= set("sunmorivetdhfa klg")
    with pytest.raises(ls.InputError, match="something there"):
        sweep.best.export(folder / "best-model")
    with pytest.raises(ls.InputError, match="expected a folder written by `export`"):
        ls.load(folder / "words.txt")


def test_a_model_continues_texts(model: ls.Model) -> None:
    with nothing_changed(of_random):
        text = model.generate("the ", length=20, temperature=0.7, seed=3)
    assert isinstance(text, str) and len(text) == 20 and {*text} <= {*map(str, model.symbols)}
    assert model.generate("the ", length=20, temperature=0.7, seed=3, count=1) == [text]
    with pytest.raises(ls.InputError, match="temperature"):
        model.generate("the ", temperature=-1)


def test_a_model_judges_new_data(model: ls.Model, folder: Path) -> None:
    (folder / "new.txt").write_text("the sun and the moon the s%n", encoding="utf-8")
    with nothing_changed(of_random):
        found = model.detect(folder / "new.txt", below=0.05, top=2)
    assert isinstance(found, pd.DataFrame) and len(found) == 2
    assert "%" in set(found["symbol"]) and not found["known"].all()
    assert found["probability"].is_monotonic_increasing
    assert found.attrs["symbols"] == 28 and found.attrs["unexpected"] >= 2
    assert found.attrs["loss"] > 0


def test_a_trial_is_trained_again_and_compared(sweep: ls.Sweep) -> None:
    with nothing_changed(of_random):
        again = sweep.best.rerun()
    assert (again.verdict, again.epochs_compared, again.max_difference) == ("identical", 2, 0.0)
    rerun = sweep.trial(again.rerun_run_id)
    pd.testing.assert_frame_equal(rerun.curve(), sweep.best.curve())
    assert len(sweep.trials()) == 3  # it is none of the sweep's own
    with pytest.raises(ls.InputError, match="did you mean 'dropout'"):
        sweep.best.rerun(set={"dropuot": 0.5})


@pytest.mark.full
def test_a_finished_sweep_goes_on_with_more_trials(
    sweep: ls.Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.resume()  # nothing to do
    assert len(sweep.trials()) == 3
    assert capsys.readouterr() == ("", "")
    sweep.resume(trials=4, progress=True)
    assert len(sweep.trials()) == 4
    out, err = capsys.readouterr()
    assert out == "" and re.search(r"^\[4/4\] words-1/3 complete, loss ", err, re.MULTILINE)


def when_it_runs(store: Path, name: str, then: Callable[[], object]) -> Thread:
    """Do something once a trial of a sweep has an epoch."""

    def wait() -> None:
        while True:
            time.sleep(0.5)
            if name not in ls.sweeps(store=store).index:
                continue
            if (ls.sweep(name, store=store).trials()["status"] == "RUNNING").any():
                then()
                return

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.full
def test_a_sweep_is_interrupted_stopped_and_resumed(folder: Path) -> None:
    long: dict[str, Any] = TINY | {"space": TINY["space"] | {"epochs": 2000}, "trials": 1}
    interrupting = when_it_runs(folder, "long", _thread.interrupt_main)
    with nothing_changed(of_random), pytest.raises(KeyboardInterrupt) as caught:
        ls.launch(data=folder / "words.txt", name="long", store=folder, **long)
    interrupting.join()
    assert "lstm_sweep.sweep('long').resume() goes on with it" in caught.value.__notes__[0]
    sweep = ls.sweep("long", store=folder)
    assert sweep.status().state == "interrupted"
    with ThreadPoolExecutor() as beside:
        driven = beside.submit(sweep.resume)
        stopping = when_it_runs(folder, "long", lambda: None)
        stopping.join()
        with pytest.raises(ls.InputError, match="drives it"):
            sweep.resume()
        assert sweep.stop() == "stopped"
        driven.result()
    assert sweep.status().state == "stopped"


@pytest.mark.full
def test_the_quickstart_runs(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(ROOT / "examples/quickstart.ipynb", as_version=4)
    [search] = [cell for cell in notebook.cells if "ls.launch(" in cell.source]
    search.source = search.source.replace("trials=5", "trials=2")
    where = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=500, resources=where)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"][1:]
    launched, table, *_, generated, verdict = cells
    [shown] = launched.outputs  # updated in place
    assert "finished after" in shown["data"]["text/plain"]
    assert "the best" in shown["data"]["text/plain"]
    assert "python-docs-1/0" in table.outputs[0]["data"]["text/html"]
    text = generated.outputs[0]["text"].removesuffix("\n")
    assert len(text) == 300 and " " in text
    assert verdict.outputs[0]["data"]["text/plain"] == "'identical'"
    outputs = [out for cell in cells for out in cell.outputs]
    assert ["image/png" in out.get("data", {}) for out in outputs].count(True) == 1
