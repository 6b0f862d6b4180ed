"""A third kind of task, of which the program knows nothing, is one class; what bundles must be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from typing_extensions import override

from lstm_sweep.models.config import Config
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.actions import references, rerun
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.driver import tasks
from lstm_sweep.search.driver.lstm_task import load_data
from lstm_sweep.search.driver.read_back import read_findings
from lstm_sweep.search.driver.task import PARITY_TOLERANCE, Task, check_parity
from lstm_sweep.search.engines.worker import CorpusTraining
from lstm_sweep.search.process import forkserver
from lstm_sweep.search.report.report_page import advice
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import FORMAT, Dataset
from lstm_sweep.search.store.reader import RunKind, TrialRecord
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import SweepStatus
from lstm_sweep.search.values.trial import RESULTS, Device, Job, Objective, Training
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.template.template import TemplateConfig, TemplateSpace
from tests.fakes import ScriptedEngine


class TreeConfig(TemplateConfig):
    """Layers and leaves of a tree, which grows twice."""

    planned_epochs: ClassVar[Any] = 2

    @override
    def describe(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.values)


class TreeSpace(TemplateSpace):
    """Trees; one of its names is also that of a hyperparameter of our networks."""

    @override
    def config(self, values: Mapping[str, Any]) -> TreeConfig:
        return TreeConfig.from_dict(values)


VALUES = {"layers": range(1, 6), "leaves": range(10, 90, 10)}
SPACE = TreeSpace({name: Listed(name, tuple(values)) for name, values in VALUES.items()})
SPEC = SweepSpec(data="iris.trees", name="trees", space=SPACE, trials=16, halving=False)


class TreeTask(Task):
    """Decision trees, judged by their share of errors; those of one layer are turned down."""

    runs: ClassVar[RunKind] = RunKind(
        "sweep.trees",
        Objective(name="share of errors"),
        TreeConfig.from_dict,
        lambda names: RESULTS,
    )

    @classmethod
    @override
    def accepts(cls, spec: SweepSpec) -> bool:
        return spec.data.endswith(".trees")

    @classmethod
    @override
    def open(cls, spec: SweepSpec) -> Self:
        return cls()

    @classmethod
    @override
    def read_spec(cls, run: Any, tags: Tags, file: str | None) -> SweepSpec:
        return SweepSpec.from_mapping(reader.written_spec(run) | {"space": SPACE}, "trees")

    @classmethod
    @override
    def of_trial(
        cls, record: TrialRecord, config: Config, file: str | None, device: Device
    ) -> Self:
        return cls()

    @property
    @override
    def dataset(self) -> Dataset:
        return Dataset("iris", "0123", "iris.csv")

    @override
    def tags(self) -> dict[str, str]:
        return {self.runs.tag: "iris", Tag.FORMAT: str(FORMAT)}

    @override
    def training(self, folder: Path) -> Training:
        return CorpusTraining(folder, Scoring(1, 0))

    @override
    def admits(self, config: Config) -> bool:
        return config.to_dict()["layers"] != 1


class Growing(ScriptedEngine):
    """An engine whose trees are better with more layers, and in their last round."""

    @override
    def start(self, job: Job) -> None:
        layers: Any = job.trial.config.to_dict()["layers"]
        loss = 0.8 - 0.1 * layers - 0.001 * job.trial.number
        self._losses[job.trial.number] = [0.9, loss]
        super().start(job)


@pytest.fixture
def settings(workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A store, for a program that knows trees and has a scripted engine."""
    monkeypatch.setattr(tasks, "KINDS", (TreeTask, *tasks.KINDS))
    monkeypatch.setattr(reader, "KINDS", (TreeTask.runs, *reader.KINDS))
    for module in (references, rerun):
        monkeypatch.setattr(module, "open_engine", lambda name, **more: Growing({}))
    return load(workplace("trees"), {})


def test_it_is_launched_listed_shown_reported_and_resumed_as_any_other(settings: Settings) -> None:
    result = Local(settings).launch(SPEC)
    assert (result.state, result.trials) == (SweepStatus.FINISHED, {"complete": SPEC.trials})
    assert len(result.confirmed) == 2
    [row] = Local(settings).sweeps()
    assert (row.sweep, row.trials_done) == ("trees", SPEC.trials)

    listed = Local(settings).trials("trees")
    assert len(listed) == SPEC.trials and not listed.left_out
    assert result.best and listed.rows[0].id == result.best.trial
    shown = Local(settings).show("trees/0")
    assert set(shown.record.config.to_dict()) == {"layers", "leaves"}
    assert shown.record.objective == TreeTask.runs.objective
    assert len(shown.by_epoch) == 2
    check_report(settings)

    more = Local(settings).resume("trees", {"trials": SPEC.trials + 4})
    assert SPEC.trials < more.trials["complete"] <= SPEC.trials + 4 and len(more.trials) == 1
    assert Local(settings).status("trees").state == "finished"


def check_report(settings: Settings) -> None:
    """It advises what its kind of task can do."""
    found = Local(settings).report("trees")
    store = MlflowStore(settings)
    findings = read_findings(store, reader.existing_sweep(store, "trees"))
    best = findings.best
    assert best and best.config.planned_epochs == best.best_epoch == 2  # its loss still fell
    said = [(one.text, one.command) for one in advice(findings)]
    assert any(
        "the upper bound of layers, 5" in text and text.endswith("vary further in a new sweep.")
        for text, _ in said
    )
    assert not any("--set" in command or "--epochs" in command for _, command in said)
    assert "Share of errors of 16 trials after each round" in found.html
    for other in ("template", "validation loss", "nats", "bits per symbol", "--epochs"):
        assert other not in re.sub(r"<style>.*?</style>", "", found.html, flags=re.DOTALL).lower()


@pytest.mark.parametrize(("symbols", "aside"), [("lines", True), ("chars", False)])
def test_in_another_thread_a_log_is_loaded_by_a_process(
    symbols: str, aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the time that expressions take is limited."""
    calls = list[object]()

    def call(load: Any, source: Source) -> Any:
        calls.append(load)
        return load(source)

    monkeypatch.setattr(forkserver, "call", call)
    source = Source(data="service-log", symbols=symbols)
    load: Any = vars
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(load_data, load, source).result() == vars(source)
    assert calls == [vars] * aside
    load_data(load, source)
    assert len(calls) == aside


@pytest.mark.parametrize("refused", [math.nan, math.inf, 2 * PARITY_TOLERANCE])
def test_a_bundle_that_predicts_something_else_anywhere_is_refused(refused: float) -> None:
    assert check_parity(0.0, 1e-6, PARITY_TOLERANCE) == PARITY_TOLERANCE
    for differences in ((refused,), (0.0, refused), (refused, 0.0)):
        with pytest.raises(RuntimeError, match=rf"differ from the trial's by {refused:.3g}; not"):
            check_parity(*differences)
