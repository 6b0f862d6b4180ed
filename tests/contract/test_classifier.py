"""Networks that predict classes: by our kernels, by Keras's layers and step by step."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.classes import score
from lstm_sweep.models.config import CLASS_LIMITS, ClassConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import LabelledCorpus, LabelledSplit
from lstm_sweep.models.data.windows import ClassEpoch, ClassSteps
from lstm_sweep.models.size import parameters
from tests.conftest import in_full

CONFIG = ClassConfig(
    direction="bi", layers=1, layer_size=12, sequence_length=9, batch_size=16, embedding_size=4,
    learning_rate=0.01, epochs=3, dropout=0.2, optimizer="adam", pooling="max",
)  # fmt: skip
#: of each field another value, with which other weights are learned
OTHER = {
    "direction": "uni", "learning_rate": 0.5, "dropout": 0.0, "layers": 2, "layer_size": 13,
    "sequence_length": 4, "batch_size": 7, "optimizer": "sgd", "weight_decay": 0.1,
    "averaging": "off", "embedding_size": 0, "precision": "bfloat16", "epochs": 1,
    "pooling": "mean", "keep": "tail", "class_weights": "sqrt",
}  # fmt: skip
RESULTS = ("train_loss", "val_loss", "val_accuracy", "val_macro_f1")
pytestmark = pytest.mark.usefixtures("prepared")


def corpus_of(count: int = 300) -> LabelledCorpus:
    """Sequences of three classes, which differ by one of their symbols, at any place."""
    rng = np.random.default_rng(0)

    def split(size: int) -> LabelledSplit:
        labels = rng.choice(3, size, p=[0.6, 0.3, 0.1]).astype(np.int32)
        sequences = [rng.integers(5, 9, rng.integers(1, 15)) for _ in labels]
        for label, one in zip(labels, sequences, strict=True):
            one[rng.integers(len(one))] = 2 + label
        starts = np.cumsum([0, *map(len, sequences[:-1])]).astype(np.int64)
        return LabelledSplit(Split(np.concatenate(sequences).astype(np.uint8), starts), labels)

    parts = split(count), split(90), split(90)
    return LabelledCorpus("made", Alphabet(tuple(range(7))), ("a", "b", "c"), *parts, "0", "")


CORPUS = corpus_of()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


def training_of(config: ClassConfig, weights: Path, graphs: Path, **more: Any) -> Any:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network.classifier import ClassTraining

    backend.prepare(gpu=False, seed=3)
    targets = np.arange(len(CORPUS.validation))
    more = {"checkpoints": None, "graphs": graphs} | more
    return ClassTraining(config, CORPUS, targets, 3, weights, **more).events()


def results(events: Any) -> list[list[float]]:
    from lstm_sweep.models.rounds import RoundDone

    return [[e.metrics[name] for name in RESULTS] for e in events if isinstance(e, RoundDone)]


def networks_of(config: ClassConfig) -> Any:
    """Networks with weights as large as those of a trained one."""
    from lstm_sweep.models.network import classifier, lstm

    networks = classifier.build_classifier(config, 9, 3)
    rng = np.random.default_rng(1)
    for weight in networks.trained.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.2))
    networks.copy_weights()
    lstm.compile_for_training(networks.trained, config)
    return networks


@pytest.mark.parametrize(
    ("direction", "layers", "pooling", "embedding_size", "layer_size"),
    [
        ("bi", 2, "attention", 5, 50),
        ("uni", 1, "last", 0, 6),
        *in_full(("bi", 2, "last", 5, 50), ("bi", 1, "max", 5, 128), ("bi", 2, "mean", 0, 50)),
        *in_full(("uni", 3, "attention", 0, 128)),
    ],
)
def test_our_kernels_and_the_layers_of_keras_learn_the_same(
    direction: str, layers: int, pooling: str, embedding_size: int, layer_size: int
) -> None:
    """Losses, weights after a few steps, and logits; in batches of any lengths."""
    from lstm_sweep.models.cpu.programs import FastClassProgram, KerasProgram, StepwiseProgram
    from lstm_sweep.models.network import program

    config = ClassConfig(
        direction=direction, layers=layers, pooling=pooling, embedding_size=embedding_size,
        layer_size=layer_size, batch_size=6, optimizer="sgd", learning_rate=0.1,
    )  # fmt: skip
    epoch = ClassEpoch(
        CORPUS.train, 3, config.evolve(class_weights="sqrt"), np.random.default_rng()
    )
    steps: ClassSteps = epoch.select(0, 3)
    found = []
    networks = [networks_of(config) for _ in range(3)]
    fast = program.program_of(networks[0], config, 0)
    assert isinstance(fast, FastClassProgram)
    others = KerasProgram(networks[1], config), StepwiseProgram(networks[2], config)
    for one, own in zip((fast, *others), networks, strict=True):
        losses, weights = one.train(steps)
        one.sync()
        logits = one.logits(steps.codes[0], steps.lengths[0])
        found.append([losses, weights, logits, *own.trained.get_weights()])
        assert own.trained.count_params() == parameters(config, 9, 3)
    for other in found[1:]:
        for left, right in zip(found[0], other, strict=True):
            np.testing.assert_allclose(left, right, atol=5e-4, rtol=1e-3)


def test_logits_are_in_the_order_given_and_no_other_sequence_matters() -> None:
    from lstm_sweep.models.network import program
    from lstm_sweep.models.network.classifier import class_logits

    config, split = CONFIG.evolve(direction="bi", pooling="last"), CORPUS.test.sequences
    made = program.program_of(networks_of(config), config, 0)
    everything = class_logits(made, config, split)
    assert everything.shape == (90, 3)
    chosen = np.array([7, 80, 3])
    np.testing.assert_allclose(class_logits(made, config, split, chosen), everything[chosen], 1e-4)
    long = int(split.session_lengths.argmax())
    assert split.session_lengths[long] > config.sequence_length
    begin = split.starts[long]
    head = Split(split.codes[begin : begin + config.sequence_length], np.zeros(1, np.int64))
    np.testing.assert_allclose(class_logits(made, config, head)[0], everything[long], 1e-4)


def test_a_training_learns_and_its_best_network_is_read_by_plain_keras(
    tmp_path: Path, graphs: Path
) -> None:
    import keras

    from lstm_sweep.models.cpu.program_types import Networks
    from lstm_sweep.models.cpu.programs import StepwiseProgram
    from lstm_sweep.models.network.classifier import class_logits

    found = results(training_of(CONFIG.evolve(epochs=12), tmp_path / "m.keras", graphs))
    best = min(loss for _, loss, *_ in found)
    assert best < 0.3 < 0.8 < found[0][1]  # of the shares of classes alone: 0.9
    network = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    made, split = StepwiseProgram(Networks(network, network), CONFIG), CORPUS.validation
    logits = class_logits(made, CONFIG, split.sequences)
    assert score(logits, split.labels)["loss"] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("kind", [{}, *in_full({"direction": "uni", "pooling": "attention"})])
def test_a_training_that_was_broken_off_goes_on_with_the_same_bits(
    kind: dict[str, str], tmp_path: Path, graphs: Path
) -> None:
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.rounds import RoundDone

    config, more = CONFIG.evolve(**kind), dict[str, Any](rounds_per_epoch=2)
    expected = results(training_of(config, tmp_path / "whole.keras", graphs, **more))
    more |= {"checkpoints": CheckpointSettings(tmp_path / "c.npz", every_s=0)}
    first = training_of(config, tmp_path / "m.keras", graphs, **more)
    for event in first:
        if isinstance(event, RoundDone) and event.number == 3:
            break
    first.close()
    assert results(training_of(config, tmp_path / "m.keras", graphs, **more)) == expected
    assert len(expected) == 6


FEW = ("pooling", "keep", "class_weights")
#: those that a network's shapes show
SHAPES = ("direction", "layers", "layer_size", "embedding_size")


@pytest.fixture(scope="module")
def two_epochs(prepared: None, graphs: Path) -> list[list[float]]:
    return results(training_of(CONFIG.evolve(epochs=2), graphs.parent / "m.keras", graphs))


@pytest.mark.parametrize("field", [*FEW, *in_full(*sorted(OTHER.keys() - {*FEW, *SHAPES}))])
def test_each_field_changes_what_is_trained(
    field: str, two_epochs: list[list[float]], tmp_path: Path, graphs: Path
) -> None:
    """Also if a graph was kept before: it reads the field, or there is another graph for it."""
    assert set(OTHER) == set(CLASS_LIMITS)
    config = CONFIG.evolve(**{"epochs": 2, field: OTHER[field]})
    assert results(training_of(config, tmp_path / "m.keras", graphs))[-1] != two_epochs[-1]


#: trains a classifier and then a network of next symbols on JAX, and prints their losses
JAX = """
import sys
from pathlib import Path
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from tests.contract import test_classifier as classes, test_training as symbols
first, second = Path("classes.keras"), Path("symbols.keras")
print([loss for _, loss, *_ in classes.results(classes.training_of(classes.CONFIG, first, None))])
symbols.GRAPHS["folder"] = Path("graphs")
config = symbols.CONFIG.evolve(layer_size=8, dropout=0.1, epochs=2)
found = symbols.rounds(symbols.training_of(config, load(Source(data=sys.argv[1])), second))
print([one["val_loss"] for one in found])
import keras
assert keras.backend.backend() == "jax"
"""


@pytest.mark.full
def test_networks_train_on_jax_too(data: Path, tmp_path: Path) -> None:
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", JAX, str(data)],
        cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for line, name in zip(done.stdout.splitlines()[-2:], ("classes", "symbols"), strict=True):
        losses = json.loads(line)
        assert losses[-1] < losses[0] < math.log(16)
        assert (tmp_path / f"{name}.keras").exists()
