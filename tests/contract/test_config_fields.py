"""What has to be extended for a new optimizer or a new field of a config is extended everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import FIELDS, OPTIMIZERS, TrialConfig, as_lstm_config
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import scoring_targets
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
