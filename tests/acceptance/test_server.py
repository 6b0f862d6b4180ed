"""The MLflow server that `ui` starts: the pages that it serves."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import Observer
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import TINY, Done, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.servers import served
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

pytestmark = pytest.mark.full


def test_it_shows_files_that_it_keeps_and_files_of_who_writes_to_the_database(
    workplace: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    folder, spec = workplace("behind"), tiny_spec(trials=2, **PLAIN)
    direct = MlflowStore(replace(load(folder, {}), experiment="direct"))
    runs = [sweep_of(direct, corpus, ScriptedEngine(LOSSES), spec).run().run_id]
    with served(folder) as address:
        for experiment in ("through", "direct"):
            own = direct.settings.artifacts if experiment == "direct" else None
            store = MlflowStore(Settings(address, own, experiment, "test"))
            sweep = Sweep(
                spec, name="t", task=CorpusTask.of(spec, corpus), store=store,
                engine=ScriptedEngine(LOSSES), observer=Observer(),
            )  # fmt: skip
            runs.append(sweep.run().run_id)
            assert store.fetch(runs[-1], "sweep.yaml", tmp_path).exists()
        kept = [direct.client.get_run(run_id).info.artifact_uri for run_id in runs]
        for run_id in runs:
            page = f"{address}/get-artifact?path=sweep.yaml&run_uuid={run_id}"
            with urllib.request.urlopen(page, timeout=20) as answer:
                assert b"trials: 2" in answer.read()
        with urllib.request.urlopen(f"{address}/", timeout=20) as page:
            assert b"MLflow" in page.read()
        pages = run_here("ui", cwd=tmp_path, MLFLOW_TRACKING_URI=address).out
        assert f"all runs: {address}/" in pages
        refused = launch_elsewhere(tmp_path, "direct", address)
    assert [uri.partition(":")[0] for uri in kept] == ["file", "mlflow-artifacts", "file"]
    [line] = refused.err.splitlines()
    assert (refused.code, refused.out) == (2, "")
    assert f"its files are at 'file://{folder}/mlartifacts', a place that your settings" in line
    assert "use another `experiment`, or set `artifacts`" in line


def launch_elsewhere(folder: Path, experiment: str, address: str) -> Done:
    """Try to begin a sweep from a folder with settings of its own."""
    (folder / "mlflow.yaml").write_text(f"experiment: {experiment}\n", encoding="utf-8")
    write_text(folder / "words.txt")
    typed = ("launch", "--data", "words.txt", "--on", "inline", *TINY)
    return run_here(*typed, cwd=folder, MLFLOW_TRACKING_URI=address)
