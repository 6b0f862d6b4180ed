"""Graphs that networks of one form share: traced once, whole or not at all, and the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.windows import StepWindows
from tests.conftest import in_full

#: of one form with all of `OTHERS`
CONFIG = TrialConfig(
    direction="bi", dropout=0.3, layers=2, layer_size=50, sequence_length=6, batch_size=4,
    learning_rate=0.01,
)  # fmt: skip
OTHERS = {
    "layer_size": 128, "sequence_length": 10, "batch_size": 3, "dropout": 0.1,
    "learning_rate": 0.001, "epochs": 2, "stride": 2,
}  # fmt: skip
REMAINING = sorted(OTHERS.keys() - {"layer_size"})


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(scope="module")
def once(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    results(CONFIG, folder)
    return folder


@pytest.fixture
def known(once: Path, tmp_path: Path) -> Path:
    """A folder with the graphs of `CONFIG`."""
    shutil.copytree(once, folder := tmp_path / "graphs")
    return folder


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the graphs that were traced so far."""
    from lstm_sweep.models.cpu import programs

    names: list[str] = []
    for name in ("_trace_train", "_trace_logits"):
        trace = getattr(programs.FastProgram, name)

        def noted(self: Any, trace: Any = trace, name: str = name) -> Any:
            names.append(name)
            return trace(self)

        monkeypatch.setattr(programs.FastProgram, name, noted)
    return names


def results(config: TrialConfig, folder: Path | None, alphabet_size: int = 9, seed: int = 5) -> Any:
    """Losses, weights and logits of a network that is trained a little."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    backend.prepare(gpu=False, seed=1)
    networks = lstm.build(config, alphabet_size)
    lstm.compile_for_training(networks.trained, config)
    made = program.program_of(networks, config, seed, folder)
    rng = np.random.default_rng(2)
    shape = (3, config.batch_size, config.sequence_length + 1)
    codes = rng.integers(0, alphabet_size, shape).astype(np.int32)
    losses, _ = made.train(StepWindows(codes, np.zeros(shape[:2], np.int32)))
    made.sync()
    return [losses, *networks.trained.get_weights(), made.logits(codes[0, :, :-1])]


def assert_equal(left: Any, right: Any) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_form_is_traced_once_and_read_afterwards_with_the_same_bits(
    tmp_path: Path, traced: list[str]
) -> None:
    alone = results(CONFIG, None)
    first = results(CONFIG, tmp_path / "graphs")
    assert traced == ["_trace_train", "_trace_logits"] * 2
    again = results(CONFIG, tmp_path / "graphs")
    assert len(traced) == 4
    assert_equal(first, alone)
    assert_equal(again, alone)


@pytest.mark.full
@pytest.mark.parametrize("name", ["layer_size", *REMAINING])
def test_what_is_no_part_of_the_form_is_not_traced_again(
    known: Path, traced: list[str], name: str
) -> None:
    other = CONFIG.evolve(**{name: OTHERS[name]})
    found = results(other, known)
    assert traced == []
    assert_equal(found, results(other, None))


@pytest.mark.full
def test_neither_alphabet_nor_seed_is_traced_again(known: Path, traced: list[str]) -> None:
    found = results(CONFIG, known, alphabet_size=30, seed=8)
    other = results(CONFIG, known, alphabet_size=30, seed=9)
    assert traced == []
    assert any((left != right).any() for left, right in zip(other, found, strict=True))
    assert_equal(found, results(CONFIG, None, alphabet_size=30, seed=8))


CHANGES: list[dict[str, Any]] = [
    {"direction": "uni"}, {"dropout": 0.0}, {"layers": 3}, {"layer_size": 48},
    {"sequence_length": 7}, {"embedding_size": 3}, {"optimizer": "adam"}, {"weight_decay": 0.1},
    {"averaging": "off"}, {"precision": "bfloat16"},
]  # fmt: skip


def test_graphs_have_other_names_if_they_differ_and_only_then() -> None:
    changes = [CONFIG.evolve(**change) for change in CHANGES]
    assert len({train_name(config) for config in (CONFIG, *changes)}) == 1 + len(CHANGES)
    few = CONFIG.evolve(layer_size=20)  # which have other kernels for a large alphabet
    assert train_name(few, 9) != train_name(few, 200)
    same = [CONFIG.evolve(**{name: OTHERS[name]}) for name in REMAINING]
    assert {train_name(config) for config in same} == {train_name(CONFIG)}


def train_name(config: TrialConfig, alphabet: int = 9) -> str:
    """Name of the graph that trains a network, which is not built."""
    from lstm_sweep.models.cpu.programs import FastProgram

    names: list[str] = []
    graphs: Any = SimpleNamespace(function=lambda name, trace: names.append(name))
    first = SimpleNamespace(shape=(alphabet, 1))
    networks: Any = SimpleNamespace(trained=SimpleNamespace(trainable_variables=[first]))
    FastProgram(networks, config, 5, graphs)
    (name,) = (name for name in names if name.startswith("train "))
    return name


@pytest.mark.parametrize(
    "change",
    [{"layer_size": 40}, *in_full({"dropout": 0.0})],
    ids=str,
)
def test_what_matters_in_training_alone_is_scored_by_one_graph(
    known: Path, traced: list[str], change: dict[str, Any]
) -> None:
    results(CONFIG.evolve(**change), known)
    assert traced == ["_trace_train"]


def test_a_damaged_graph_is_traced_anew_and_mended(known: Path, traced: list[str]) -> None:
    expected = results(CONFIG, known)
    for number, file in enumerate(sorted(known.iterdir())):
        whole = file.read_bytes()
        changed = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
        file.write_bytes((changed, whole[:-9], b"")[number % 3])
    assert traced == []
    assert_equal(results(CONFIG, known), expected)
    assert len(traced) == 2
    assert_equal(results(CONFIG, known), expected)
    assert len(traced) == 2


def test_graphs_depend_on_modules_in_sub_folders_and_on_their_names(tmp_path: Path) -> None:
    from lstm_sweep.models.cpu.graph_cache import code_of

    below = tmp_path / "network" / "lstm.py"
    below.parent.mkdir()
    (tmp_path / "one.py").write_text("one", encoding="utf-8")
    below.write_text("CLIP_NORM = 5.0", encoding="utf-8")
    before = code_of(tmp_path)
    (below.parent / "__pycache__").mkdir()
    (below.parent / "__pycache__" / "lstm.pyc").write_bytes(b"has the time of the source in it")
    assert code_of(tmp_path) == before
    (tmp_path / ".#one.py").symlink_to("nowhere")  # as of an editor
    (tmp_path / "one.py~").write_text("old", encoding="utf-8")
    assert code_of(tmp_path) == before
    below.write_text("CLIP_NORM = 1.0", encoding="utf-8")
    assert code_of(tmp_path) != before
    below.write_text("CLIP_NORM = 5.0", encoding="utf-8")
    assert code_of(tmp_path) == before
    below.rename(below.with_name("other.py"))
    assert code_of(tmp_path) != before


def test_a_function_that_depends_on_more_than_its_inputs_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu.graph_cache import GraphCache

    kept = tf.Variable(3.0)
    trace = tf.function(lambda one: (one * kept,)).get_concrete_function
    function = GraphCache(tmp_path).function("x", lambda: trace(tf.TensorSpec((), tf.float32)))
    with pytest.raises(ValueError, match="depends on more than its inputs"):
        function(np.float32(2))
