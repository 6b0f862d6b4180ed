"""What has to be extended for a new optimizer or a new field of a config is extended everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import FIELDS, OPTIMIZERS, TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import StepWindows, scoring_targets
from lstm_sweep.models.size import parameters
from lstm_sweep.spaces.presets import DEFAULT
from tests.conftest import in_full

CONFIG = TrialConfig(layer_size=128, sequence_length=40, dropout=0.2)
#: fields that `Form` depends on, each with a value that gives another form than `CONFIG`
IN_FORM = {
    "direction": "bi",
    "dropout": 0.0,
    "layers": 3,
    "layer_size": 16,
    "sequence_length": 39,
    "embedding_size": 8,
    "precision": "bfloat16",
    "state": "carried",
}
#: all other fields, each with a value that gives the form of `CONFIG`
ELSEWHERE = {
    "learning_rate": 0.5,  # a variable that the graph reads
    "optimizer": "adam",  # in the name of the training graph
    "weight_decay": 0.1,  # the same, and an input of the graph
    "averaging": "off",  # in the name of the training graph
    "batch_size": 3,  # the shape of an input of the graph
    "stride": 5,  # where windows begin
    "offset": "fixed",  # the same
    "epochs": 2,  # number of passes
}


def test_the_graphs_on_a_cpu_depend_on_a_field_or_it_takes_effect_elsewhere() -> None:
    """The CPU kernels ignore a field that is neither in `Form` nor an input, without an error."""
    assert sorted([*IN_FORM, *ELSEWHERE]) == sorted(FIELDS)


#: of small networks that are trained with each field as it is in `IN_FORM` or `ELSEWHERE`
SMALL = TrialConfig(
    layers=1, layer_size=12, sequence_length=10, batch_size=16, epochs=1, dropout=0.2
)


@pytest.fixture(scope="module")
def graphs(prepared: None, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph cache that has the graphs of `SMALL`, beside its weights."""
    folder = tmp_path_factory.mktemp("trained")
    np.savez(folder / "weights.npz", *trained(SMALL, corpus, folder / "graphs"))
    return folder / "graphs"


def trained(config: TrialConfig, corpus: Corpus, graphs: Path) -> list[Any]:
    """Weights of a network after its training on a CPU, by the graphs of a cache."""
    import keras

    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training

    backend.prepare(gpu=False, seed=3)
    assert backend.own_arithmetic()
    file, targets = graphs.parent / "m.keras", scoring_targets(corpus.validation, 300, 0)
    for _ in training.Training(config, corpus, targets, 3, file, None, graphs).events():
        pass
    weights: list[Any] = keras.models.load_model(file, safe_mode=True).get_weights()
    return weights


#: those in `Form` that leave the shapes of all weights as they are; others show by these
SAME_SHAPES = ("dropout", "sequence_length", "precision", "state")


@pytest.mark.parametrize("field", [*ELSEWHERE, *in_full(*SAME_SHAPES)])
def test_each_field_changes_what_is_trained_on_a_cpu(
    field: str, corpus: Corpus, graphs: Path
) -> None:
    """Also if a graph was kept before: it reads the field, or there is another graph for it."""
    other = SMALL.evolve(**{field: (IN_FORM | ELSEWHERE)[field]})
    with np.load(graphs.parent / "weights.npz") as kept:
        weights = list(kept.values())
    found = trained(other, corpus, graphs)
    assert any((one != before).any() for one, before in zip(found, weights, strict=True))


def test_each_optimizer_has_a_class_of_keras_and_a_kernel_for_a_cpu() -> None:
    from lstm_sweep.models.cpu.optimizer import KERNELS
    from lstm_sweep.models.network.lstm import OPTIMIZER_CLASSES

    assert set(OPTIMIZER_CLASSES) == set(OPTIMIZERS)
    assert set(KERNELS) == set(OPTIMIZER_CLASSES.values())


def test_the_closed_form_counts_parameters_as_keras_does(prepared: None) -> None:
    from lstm_sweep.models.network import lstm

    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = DEFAULT.sample(rng).evolve(
            layer_size=int(rng.integers(1, 40)),
            layers=int(rng.integers(1, 4)),
            embedding_size=int(rng.choice([0, 0, 3, 17])),
            sequence_length=4,
        )
        config, alphabet = as_lstm_config(drawn), int(rng.integers(4, 60))
        networks = lstm.build(config, alphabet)
        for network in (networks.trained, networks.scored):
            assert network.count_params() == parameters(config, alphabet), config


# Graphs that networks of one form share: traced once, whole or not at all, and the same bits


TRACED = TrialConfig(
    direction="bi", dropout=0.3, layers=2, layer_size=50, sequence_length=6, batch_size=4,
    learning_rate=0.01,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(scope="module")
def once(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    results(TRACED, folder)
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


@pytest.mark.full
def test_neither_alphabet_nor_seed_is_traced_again(known: Path, traced: list[str]) -> None:
    found = results(TRACED, known, alphabet_size=30, seed=8)
    other = results(TRACED, known, alphabet_size=30, seed=9)
    assert traced == []
    assert any((left != right).any() for left, right in zip(other, found, strict=True))
    assert_equal(found, results(TRACED, None, alphabet_size=30, seed=8))


def test_graphs_have_other_names_if_they_differ_and_only_then() -> None:
    named = {"optimizer", "weight_decay", "averaging"}
    others = {name: CONFIG.evolve(**{name: value}) for name, value in (IN_FORM | ELSEWHERE).items()}
    differ = [others[name] for name in {*IN_FORM, *named}]
    assert len({train_name(config) for config in (CONFIG, *differ)}) == 1 + len(differ)
    few = CONFIG.evolve(layer_size=20)  # which have other kernels for a large alphabet
    assert train_name(few, 9) != train_name(few, 200)
    assert {train_name(others[name]) for name in ELSEWHERE.keys() - named} == {train_name(CONFIG)}


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
    results(TRACED.evolve(**change), known)
    assert traced == ["_trace_train"]


def test_a_form_is_traced_once_and_anew_where_its_graphs_are_damaged_with_the_same_bits(
    known: Path, traced: list[str]
) -> None:
    alone = results(TRACED, None)
    assert traced == ["_trace_train", "_trace_logits"]
    assert_equal(results(TRACED, known), alone)
    assert len(traced) == 2
    for number, file in enumerate(sorted(known.iterdir())):
        whole = file.read_bytes()
        changed = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
        file.write_bytes((changed, whole[:-9], b"")[number % 3])
    for _ in range(2):  # the second time they are mended
        assert_equal(results(TRACED, known), alone)
        assert len(traced) == 4


def test_graphs_depend_on_modules_in_sub_folders_and_on_their_names(tmp_path: Path) -> None:
    from lstm_sweep.models.cpu.graph_cache import code_of

    below = tmp_path / "network" / "lstm.py"
    below.parent.mkdir()
    below.write_text("CLIP_NORM = 5.0", encoding="utf-8")
    (tmp_path / "one.py").write_text("one", encoding="utf-8")
    before = code_of(tmp_path)
    (below.parent / "__pycache__").mkdir()
    (below.parent / "__pycache__" / "lstm.pyc").write_bytes(b"has the time of the source in it")
    (tmp_path / ".#one.py").symlink_to("nowhere")  # as of an editor
    (tmp_path / "one.py~").write_text("old", encoding="utf-8")
    assert code_of(tmp_path) == before
    below.write_text("CLIP_NORM = 1.0", encoding="utf-8")
    other = code_of(tmp_path)
    below.rename(below.with_name("other.py"))
    assert len({before, other, code_of(tmp_path)}) == 3


def test_a_function_that_depends_on_more_than_its_inputs_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    from lstm_sweep.models.cpu.graph_cache import GraphCache

    kept = tf.Variable(3.0)
    trace = tf.function(lambda one: (one * kept,)).get_concrete_function
    function = GraphCache(tmp_path).function("x", lambda: trace(tf.TensorSpec((), tf.float32)))
    with pytest.raises(ValueError, match="depends on more than its inputs"):
        function(np.float32(2))
