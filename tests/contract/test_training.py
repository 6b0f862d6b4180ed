"""A trial from first window to best weights, on the real backend."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import Scoring, StepWindows, scoring_targets
from tests.conftest import in_full

CONFIG = TrialConfig(
    layers=2, layer_size=12, sequence_length=10, batch_size=16, learning_rate=0.01, epochs=3
)
#: where trainings keep their graphs, so that those of one form are traced once
GRAPHS: dict[str, Path] = {}
#: targets of which each is predicted after a whole window
APART = Scoring(300, 0)


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the graphs of all trainings of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GRAPHS, "folder", tmp_path_factory.mktemp("graphs"))
        yield


def training_of(
    config: TrialConfig,
    corpus: Corpus,
    weights: Path,
    seed: int = 3,
    checkpoints: Any = None,
    scoring: Scoring = APART,
) -> Any:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training

    backend.prepare(gpu=False, seed=seed)
    return training.Training(
        config,
        corpus,
        scoring.drawn(corpus.validation),
        seed,
        weights,
        checkpoints,
        GRAPHS["folder"],
        share_windows=scoring.share_windows,
    ).events()


def trained(
    config: TrialConfig, corpus: Corpus, weights: Path, seed: int = 3, scoring: Scoring = APART
) -> list[Any]:
    return list(training_of(config, corpus, weights, seed, scoring=scoring))


def program_of(config: TrialConfig, alphabet_size: int) -> tuple[Any, Any]:
    """Networks that are the same each time, and their program."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    backend.prepare(gpu=False, seed=3)
    networks = lstm.build(config, alphabet_size)
    lstm.compile_for_training(networks.trained, config)
    return networks, program.program_of(networks, config, 3)


def epochs(events: list[Any]) -> list[dict[str, float]]:
    from lstm_sweep.models.rounds import Round

    return [event.metrics for event in events if isinstance(event, Round)]


RESULTS = ("train_loss", "val_loss", "val_accuracy", "val_top5_accuracy")


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_a_network_learns_and_beats_the_unigram(
    corpus: Corpus, tmp_path: Path, direction: str
) -> None:
    from lstm_sweep.models.baselines import score_all

    targets = scoring_targets(corpus.validation, 300, 0)
    unigram = score_all(corpus, targets)[0].metrics["loss"]
    config = CONFIG.evolve(direction=direction, stride=4)
    losses = [epoch["val_loss"] for epoch in epochs(trained(config, corpus, tmp_path / "m.keras"))]
    assert len(losses) == 3
    assert losses[-1] < unigram


def scored_by_keras(file: Path, config: TrialConfig, corpus: Corpus, targets: Any) -> Any:
    """The score of a network by the layers of Keras, which add in another order."""
    import keras

    from lstm_sweep.models.cpu.program_types import Networks
    from lstm_sweep.models.network import evaluation, program

    network = keras.models.load_model(file)
    by_keras = program.StepwiseProgram(Networks(network, network), config)
    return evaluation.evaluate(by_keras, config, corpus, corpus.validation, targets)


def test_the_weights_of_the_best_epoch_are_kept(corpus: Corpus, tmp_path: Path) -> None:
    config = CONFIG.evolve(learning_rate=0.05, epochs=5)
    metrics = epochs(trained(config, corpus, tmp_path / "m.keras"))
    targets = scoring_targets(corpus.validation, 300, 0)
    again = scored_by_keras(tmp_path / "m.keras", config, corpus, targets)
    best = min(epoch["val_loss"] for epoch in metrics)
    assert again["loss"] == pytest.approx(best, rel=1e-5)


def test_targets_that_do_not_count_do_not_matter() -> None:
    config = CONFIG.evolve(batch_size=2)
    codes = np.random.default_rng(0).integers(0, 9, (1, 2, 11)).astype("int32")
    first = np.array([[0, 10]], "int32")  # all of the first window, none of the second
    other = codes.copy()
    other[0, 1] = (other[0, 1] + 1) % 9
    results = [program_of(config, 9)[1].train(StepWindows(cut, first)) for cut in (codes, other)]
    assert results[0][0] == results[1][0]
    assert results[0][1].tolist() == [10.0]


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_a_rate_that_is_far_too_high_ends_the_trial_as_diverged(
    corpus: Corpus, tmp_path: Path, direction: str
) -> None:
    from lstm_sweep.models.rounds import Diverged

    config = CONFIG.evolve(direction=direction, learning_rate=100.0, optimizer="adam")
    events = trained(config, corpus, tmp_path / "m.keras")
    assert isinstance(events[-1], Diverged)
    assert "times that of a uniform prediction" in events[-1].reason
    assert not epochs(events)


@pytest.mark.parametrize(
    ("kind", "optimizer", "layer_size"),
    # of 128 units some are idle, for which Adagrad's variable must not be 0
    [
        ("bi", "rmsprop", 12), ("carried", "rmsprop", 12),
        *in_full(("uni", "adam", 12), ("bi", "adagrad", 128)),
    ],
)  # fmt: skip
def test_a_training_that_was_broken_off_goes_on_with_the_same_bits(
    corpus: Corpus, tmp_path: Path, kind: str, optimizer: str, layer_size: int
) -> None:
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.rounds import Round

    averages = "off" if (kind, optimizer) == ("uni", "adam") else "polynomial"
    of_kind: dict[str, Any] = {"state": "carried"}
    if kind != "carried":
        of_kind = {"direction": kind, "stride": CONFIG.sequence_length}
    config = CONFIG.evolve(
        optimizer=optimizer, layer_size=layer_size, dropout=0.3, epochs=4,
        **of_kind, averaging=averages, weight_decay=0.1,
    )  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    checkpoints = CheckpointSettings(broken / "checkpoint.npz", every_s=0)
    expected = epochs(list(training_of(config, corpus, whole / "m.keras")))
    first = training_of(config, corpus, broken / "m.keras", checkpoints=checkpoints)
    for event in first:
        if isinstance(event, Round) and event.number == 2:
            break
    first.close()
    second = list(training_of(config, corpus, broken / "m.keras", checkpoints=checkpoints))
    again = [event for event in second if isinstance(event, Round)]
    assert [event.number for event in again] == [1, 2, 3, 4]
    assert [event.repeated for event in again] == [True, False, False, False]
    assert [[e[key] for key in RESULTS] for e in epochs(second)] == [
        [e[key] for key in RESULTS] for e in expected
    ]
    assert {event.number for event in second if not isinstance(event, Round)} == {3, 4}
    for name, value in weights_of(whole / "m.keras").items():
        np.testing.assert_array_equal(value, weights_of(broken / "m.keras")[name])


def weights_of(file: Path) -> dict[str, Any]:
    import keras

    model = keras.models.load_model(file)
    return {weight.path: np.array(weight) for weight in model.weights}


def test_the_best_network_is_that_of_the_epochs_that_are_kept(
    corpus: Corpus, tmp_path: Path
) -> None:
    """A better epoch that came after the checkpoint is forgotten, and its network with it."""
    from lstm_sweep.models.network import training
    from lstm_sweep.models.network.checkpoint import CheckpointSettings
    from lstm_sweep.models.rounds import Round

    config = CONFIG.evolve(epochs=3)
    file, model = tmp_path / "checkpoint.npz", tmp_path / "m.keras"
    ticks = iter([0.0, 0.0, *(9.0 + number / 1000 for number in range(99))])
    targets = scoring_targets(corpus.validation, 300, 0)
    events: Any = training.Training(
        config,
        corpus,
        targets,
        3,
        model,
        CheckpointSettings(file, every_s=5),
        clock=lambda: next(ticks),
    ).events()
    for event in events:
        if isinstance(event, Round) and event.number == 2:
            break
    events.close()
    kept = json.loads(np.load(file)["about"].tobytes())["rounds"]
    assert len(kept) == 1
    going_on = training_of(config, corpus, model, checkpoints=CheckpointSettings(file))
    assert next(going_on).metrics["val_loss"] == kept[0]["val_loss"]
    again = scored_by_keras(model, config, corpus, targets)
    assert again["loss"] == pytest.approx(kept[0]["val_loss"], rel=1e-5)


@pytest.mark.parametrize("best_loss", [0.0, math.inf])
def test_a_better_network_that_is_written_already_stays(
    corpus: Corpus, tmp_path: Path, best_loss: float
) -> None:
    """A trial that has waited trains rounds again that came after its checkpoint."""
    from lstm_sweep.models.network.checkpoint import CheckpointSettings

    file, model = tmp_path / "checkpoint.npz", tmp_path / "m.keras"
    model.write_bytes(b"of a later round")
    settings = CheckpointSettings(file, 0, best_loss)
    list(training_of(CONFIG, corpus, model, checkpoints=settings))
    assert (model.read_bytes() == b"of a later round") is (best_loss == 0.0)
    going_on = CheckpointSettings(file, 0, best_loss)
    next(training_of(CONFIG, corpus, model, checkpoints=going_on))
    assert (model.read_bytes() == b"of a later round") is (best_loss == 0.0)
