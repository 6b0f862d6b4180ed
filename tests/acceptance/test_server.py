"""The MLflow server that `ui` starts: the pages that it serves."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import TINY, run_here, write_text
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
            runs.append(
                sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name="t").run().run_id
            )
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
        write_text(tmp_path / "words.txt")
        (tmp_path / "mlflow.yaml").write_text("experiment: direct\n", encoding="utf-8")
        typed = ("launch", "--data", "words.txt", "--on", "inline", *TINY)
        line = run_here(*typed, cwd=tmp_path, MLFLOW_TRACKING_URI=address).refusal
    assert [uri.partition(":")[0] for uri in kept] == ["file", "mlflow-artifacts", "file"]
    assert f"its files are at 'file://{folder}/mlartifacts', a place that your settings" in line
    assert "use another `experiment`, or set `artifacts`" in line
