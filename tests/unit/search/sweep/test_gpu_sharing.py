from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.device import Device
from lstm_sweep.search.engines.base import GpuMemory
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep import gpu_sharing
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.gpu_sharing import fitting, largest
from lstm_sweep.search.trial import Slot
from lstm_sweep.spaces.space import from_mapping
from tests.fakes import ScriptedEngine
from tests.sweeps import tiny_spec


@pytest.mark.parametrize(
    ("needed", "free", "cores", "count"),
    [
        (8_000, 79_500, 16, 8),
        (8_000, 79_500, 4, 4),
        (8_000, 39_500, 16, 4),
        (70_000, 79_500, 16, 1),
        (78_500, 79_500, 16, 1),
    ],
)
def test_as_many_fit_as_memory_and_cores_hold(
    needed: int, free: int, cores: int, count: int
) -> None:
    assert fitting(needed, free, cores) == count


def test_the_largest_network_that_is_admitted_is_measured() -> None:
    given = {
        "layer_size": [32, 64, 512], "layers": [2, 3], "direction": ["uni", "bi"],
        "batch_size": [16, 128], "sequence_length": [20, 40],
    }  # fmt: skip
    spec = SweepSpec(space=from_mapping(given, "test"))
    config = largest(spec, 50, lambda config: True)
    assert (config.direction, config.layers, config.layer_size) == ("bi", 3, 512)
    assert (config.batch_size, config.sequence_length) == (128, 40)
    small = largest(spec, 50, lambda config: config.layer_size < 500)
    assert (small.direction, small.layers, small.layer_size) == ("bi", 3, 64)


def test_logits_of_many_symbols_count_which_a_unidirectional_network_has_at_each_step() -> None:
    spec = SweepSpec(space=from_mapping({"layer_size": [64], "direction": ["uni", "bi"]}, "test"))
    assert largest(spec, 50, lambda config: True).direction == "bi"
    assert largest(spec, 3_000, lambda config: True).direction == "uni"


class Gpus(ScriptedEngine):
    """An engine with two GPUs, on which a trial takes memory; `log` is told when it is closed."""

    slots = (Slot(0, gpu="0"), Slot(1, gpu="1"))
    device = Device(kind="gpu", gpu=True, cores=16)

    def __init__(self, log: list[str], takes: int = 8_000, total: int | None = 80_000) -> None:
        super().__init__({0: [3.0] * 100})
        self._log, self._takes, self._total = log, takes, total

    def gpu_memory(self, slot: Slot) -> GpuMemory | None:
        """Of an empty GPU, or of one that a trial is trained on."""
        used = 500 + (self._takes if self._messages else 0)
        return None if self._total is None else GpuMemory(used, self._total)

    def close(self) -> None:
        """Note it."""
        self._log.append("closed")


@pytest.mark.parametrize(
    ("takes", "total", "count", "why"),
    [
        (8_000, 80_000, 8, "takes 8,000 of 79,500 MiB free: 8 at once on a GPU"),
        (70_000, 80_000, 1, "takes 70,000 of 79,500 MiB free: 1 at once on a GPU"),
        (0, 80_000, 1, "could not be measured: 1 trial"),
        (8_000, None, 1, "the driver does not say how much memory they have"),
    ],
)
def test_a_measured_engine_is_closed_before_the_one_that_a_sweep_runs_on_is_opened(
    takes: int,
    total: int | None,
    count: int,
    why: str,
    corpus: Corpus,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []

    def open_engine(
        name: str, *, workers: int | None, per_gpu: int, address: str | None
    ) -> ScriptedEngine:
        log.append(f"{name} opened, {per_gpu} for a GPU")
        return Gpus(log)

    monkeypatch.setattr(gpu_sharing, "open_engine", open_engine)
    spec = tiny_spec(data=str(data), per_gpu="auto")
    measured = Gpus(log, takes, total)
    with gpu_sharing.sharing(spec, CorpusTask.of(spec, corpus), measured) as (shared, told):
        assert shared is not measured
        assert log == ["closed", f"local opened, {count} for a GPU"]
    assert log[2:] == ["closed"]
    [line] = told
    assert line.startswith("--per-gpu auto: ") and line.endswith(why)


def test_an_engine_whose_gpus_are_shared_by_a_number_stays(corpus: Corpus, data: Path) -> None:
    log: list[str] = []
    spec, engine = tiny_spec(data=str(data), per_gpu=3), Gpus(log)
    with gpu_sharing.sharing(spec, CorpusTask.of(spec, corpus), engine) as (shared, told):
        assert shared is engine
    assert (log, told) == ([], [])  # whoever has opened it closes it


def test_without_a_gpu_there_is_nothing_to_share(corpus: Corpus, data: Path) -> None:
    spec = tiny_spec(data=str(data), per_gpu="auto")
    found = CorpusTask.of(spec, corpus).trials_per_gpu(spec, ScriptedEngine({}))
    assert found == (1, "--per-gpu auto: there is no GPU")


def test_the_gpus_of_each_node_are_fed_by_its_own_cores(corpus: Corpus, data: Path) -> None:
    engine = Gpus([])
    engine.slots = (Slot(0, gpu="0", node="one"), Slot(1, gpu="0", node="two"))
    spec = tiny_spec(data=str(data), per_gpu="auto")
    engine._takes = 4_000  # 17 fit into the memory of each GPU, and it has 16 cores
    count, why = CorpusTask.of(spec, corpus).trials_per_gpu(spec, engine)
    assert count == 16 and why.endswith("16 at once on a GPU")
