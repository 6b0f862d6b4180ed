"""A trial from first window to best weights, on the real backend, in epochs and in rounds."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import StepWindows, scoring_targets
from lstm_sweep.models.network.checkpoint import (
    Checkpoint,
    CheckpointSettings,
    keep_reported,
    load,
)
from lstm_sweep.models.rounds import Diverged, RoundDone
from tests.conftest import in_full

CONFIG = TrialConfig(
    layers=2, layer_size=12, sequence_length=10, batch_size=16, learning_rate=0.01, epochs=3
)
#: where trainings keep their graphs, so that those of one form are traced once
GRAPHS: dict[str, Path] = {}
#: what depends on the weights alone
SCORES = ("val_loss", "val_accuracy", "val_top5_accuracy")


pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the graphs of all trainings of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GRAPHS, "folder", tmp_path_factory.mktemp("graphs"))
        yield


def training_of(
    config: TrialConfig, corpus: Corpus, weights: Path, checkpoints: Any = None, **more: Any
) -> Any:
    """Events of a training, which is scored on targets that lie apart."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training

    backend.prepare(gpu=False, seed=3)
    weights.parent.mkdir(exist_ok=True)
    targets = scoring_targets(corpus.validation, 300, 0)
    return training.Training(
        config, corpus, targets, 3, weights, checkpoints, GRAPHS["folder"], **more
    ).events()


def rounds(events: Any) -> list[dict[str, float]]:
    return [event.metrics for event in events if isinstance(event, RoundDone)]


def scores(events: Any, names: tuple[str, ...] = SCORES) -> list[list[float]]:
    return [[metrics[name] for name in names] for metrics in rounds(events)]


def break_off(events: Any, number: int) -> None:
    """Let a training go after a round."""
    for event in events:
        if isinstance(event, RoundDone) and event.number == number:
            break
    events.close()


def loss_by_keras(file: Path, config: TrialConfig, corpus: Corpus) -> Any:
    """The loss of a network by the layers of Keras, which add in another order."""
    import keras

    from lstm_sweep.models.cpu.program_types import Networks
    from lstm_sweep.models.cpu.programs import StepwiseProgram
    from lstm_sweep.models.network import evaluation

    network = keras.models.load_model(file)
    by_keras = StepwiseProgram(Networks(network, network), config)
    targets = scoring_targets(corpus.validation, 300, 0)
    return evaluation.evaluate(by_keras, config, corpus, corpus.validation, targets)["loss"]


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_a_network_learns_and_the_weights_of_its_best_epoch_are_kept(
    corpus: Corpus, tmp_path: Path, direction: str
) -> None:
    from lstm_sweep.models.baselines import score_all

    unigram = score_all(corpus, scoring_targets(corpus.validation, 300, 0))[0].metrics["loss"]
    config = CONFIG.evolve(direction=direction, stride=4, learning_rate=0.1, epochs=5)
    found = rounds(training_of(config, corpus, tmp_path / "m.keras"))
    losses = [metrics["val_loss"] for metrics in found]
    assert len(losses) == 5
    assert losses[-1] < unigram
    assert direction == "uni" or min(losses) < losses[-1]  # the last one is not the best
    own = loss_by_keras(tmp_path / "m.keras", config, corpus)
    assert own == pytest.approx(min(losses), rel=1e-5)


def test_targets_that_do_not_count_do_not_matter() -> None:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    codes = np.random.default_rng(0).integers(0, 9, (1, 2, 11)).astype("int32")
    first = np.array([[0, 10]], "int32")  # all of the first window, none of the second
    other = codes.copy()
    other[0, 1] = (other[0, 1] + 1) % 9
    config, results = CONFIG.evolve(batch_size=2), []
    for cut in (codes, other):
        backend.prepare(gpu=False, seed=3)
        networks = lstm.build(config, 9)
        lstm.compile_for_training(networks.trained, config)
        results.append(program.program_of(networks, config, 3).train(StepWindows(cut, first)))
    assert results[0][0] == results[1][0]
    assert results[0][1].tolist() == [10.0]


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_a_rate_that_is_far_too_high_ends_a_trial_but_a_few_high_losses_do_not(
    corpus: Corpus, tmp_path: Path, direction: str
) -> None:
    config = CONFIG.evolve(
        direction=direction, learning_rate=100.0, optimizer="adam", stride=10, batch_size=32
    )
    events = list(training_of(config, corpus, tmp_path / "m.keras"))
    assert isinstance(events[-1], Diverged)
    assert "times that of a uniform prediction" in events[-1].reason
    assert not rounds(events)
    parts = training_of(config, corpus, tmp_path / "m.keras", rounds_per_epoch=4)
    first = next(one for one in parts if isinstance(one, RoundDone | Diverged))
    assert isinstance(first, RoundDone)


ROUNDS = CONFIG.evolve(dropout=0.3, stride=10, epochs=2)


@pytest.mark.parametrize("kind", [{}, {"direction": "bi"}, {"state": "carried"}], ids=str)
def test_the_rounds_of_an_epoch_come_to_the_bits_of_the_epoch(
    corpus: Corpus, tmp_path: Path, kind: dict[str, str]
) -> None:
    config = ROUNDS.evolve(**kind)
    whole = scores(training_of(config, corpus, tmp_path / "whole.keras"))
    events = list(training_of(config, corpus, tmp_path / "parts.keras", rounds_per_epoch=4))
    assert (len(whole), scores(events)[3::4]) == (2, whole)
    assert len({loss for loss, *_ in scores(events)}) == 8  # each round trains
    found = rounds(events)
    assert [one["epoch"] for one in found] == [number / 4 for number in range(1, 9)]
    seen = [one["symbols_seen"] for one in found]
    assert seen == sorted(set(seen)) and seen[3::4] == [len(corpus.train), 2 * len(corpus.train)]


def steps_of(corpus: Corpus) -> int:
    from lstm_sweep.models.data.streams import training_epoch

    return training_epoch(corpus.train, ROUNDS, 3, 1).steps


def test_a_training_that_ends_within_a_round_has_the_bits_of_its_steps(
    corpus: Corpus, tmp_path: Path
) -> None:
    whole = steps_of(corpus)
    taken = whole // 2
    each = training_of(ROUNDS, corpus, tmp_path / "each.keras", rounds_per_epoch=whole)
    expected = next(one for one in each if isinstance(one, RoundDone) and one.number == taken)
    events = list(training_of(ROUNDS, corpus, tmp_path / "cut.keras", steps=taken))
    assert isinstance(events[-1], RoundDone) and events[-1].last
    assert scores(events) == scores([expected])
    [cut] = rounds(events)
    assert cut["epoch"] == taken / whole
    assert cut["symbols_seen"] == len(corpus.train) * taken // whole


@pytest.mark.parametrize(
    "kind",
    [
        {"direction": "bi"},
        {"state": "carried", "stride": CONFIG.stride},
        # of 128 units some are idle, for which Adagrad's variable must not be 0
        *in_full({"optimizer": "adam", "averaging": "off"}),
        *in_full({"direction": "bi", "optimizer": "adagrad", "layer_size": 128}),
    ],
    ids=str,
)
def test_a_training_that_was_broken_off_goes_on_with_the_same_bits(
    corpus: Corpus, tmp_path: Path, kind: dict[str, Any]
) -> None:
    """Its last round is in the checkpoint then, so that it trains nothing more."""
    config = ROUNDS.evolve(weight_decay=0.1, **kind)
    more = {"rounds_per_epoch": 2, "steps": steps_of(corpus) + 3}
    whole, broken = tmp_path / "whole" / "m.keras", tmp_path / "broken" / "m.keras"
    names = ("train_loss", *SCORES)
    expected = scores(training_of(config, corpus, whole, **more), names)
    assert len(expected) == 3
    checkpoints = CheckpointSettings(broken.parent / "checkpoint.npz", every_s=0)
    break_off(training_of(config, corpus, broken, checkpoints, **more), 2)
    for trained in ({3}, set[int]()):
        events = list(training_of(config, corpus, broken, checkpoints, **more))
        again = [event for event in events if isinstance(event, RoundDone)]
        assert [event.number for event in again] == [1, 2, 3]
        assert [event.repeated for event in again] == [True, not trained, False]
        assert isinstance(events[-1], RoundDone) and events[-1].last
        assert scores(events, names) == expected
        assert {one.number for one in events if not isinstance(one, RoundDone)} == trained
        for name, value in weights_of(whole).items():
            np.testing.assert_array_equal(value, weights_of(broken)[name])


def weights_of(file: Path) -> dict[str, Any]:
    import keras

    return {weight.path: weight.numpy() for weight in keras.models.load_model(file).weights}


def test_a_checkpoint_is_not_taken_up_with_another_number_of_rounds_or_steps(
    corpus: Corpus, tmp_path: Path
) -> None:
    checkpoints, steps = CheckpointSettings(tmp_path / "c.npz", every_s=0), steps_of(corpus)
    for rounds_per_epoch, taken, repeated in ((2, steps, 0), (3, steps, 0), (3, steps + 1, 0)):
        more = {"rounds_per_epoch": rounds_per_epoch, "steps": taken}
        events = list(training_of(ROUNDS, corpus, tmp_path / "m.keras", checkpoints, **more))
        assert sum(one.repeated for one in events if isinstance(one, RoundDone)) == repeated


def test_the_best_network_is_that_of_the_epochs_that_are_kept(
    corpus: Corpus, tmp_path: Path
) -> None:
    """A better epoch that came after the checkpoint is forgotten, and its network with it."""
    file, model = tmp_path / "checkpoint.npz", tmp_path / "m.keras"
    ticks = iter([0.0, 0.0, *(9.0 + number / 1000 for number in range(99))])
    checkpoints = CheckpointSettings(file, every_s=5)
    break_off(training_of(CONFIG, corpus, model, checkpoints, clock=lambda: next(ticks)), 2)
    [kept] = json.loads(np.load(file)["about"].tobytes())["rounds"]
    going_on = training_of(CONFIG, corpus, model, CheckpointSettings(file))
    assert next(going_on).metrics["val_loss"] == kept["val_loss"]
    assert loss_by_keras(model, CONFIG, corpus) == pytest.approx(kept["val_loss"], rel=1e-5)


@pytest.mark.parametrize("best_loss", [0.0, math.inf])
def test_a_better_network_that_is_written_already_stays(
    corpus: Corpus, tmp_path: Path, best_loss: float
) -> None:
    """A trial that has waited trains rounds again that came after its checkpoint."""
    model = tmp_path / "m.keras"
    model.write_bytes(b"of a later round")
    settings = CheckpointSettings(tmp_path / "checkpoint.npz", 0, best_loss)
    for _ in range(2):  # the second one begins with the checkpoint of the first
        list(training_of(CONFIG.evolve(epochs=1), corpus, model, settings))
        assert (model.read_bytes() == b"of a later round") is (best_loss == 0.0)
        model.write_bytes(b"of a later round")


@pytest.mark.parametrize(("killed", "number"), [("checkpoint", 3), ("network", 3), ("network", 1)])
def test_a_training_that_is_killed_before_it_reports_leaves_the_network_of_its_best_loss(
    killed: str, number: int, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstm_sweep.models.network import training

    owner, name = (Checkpoint, "save") if killed == "checkpoint" else (training, "write_network")
    method, calls = getattr(owner, name), itertools.count(1)

    def die(*arguments: Any) -> Any:
        done = method(*arguments)
        if next(calls) == number:
            raise SystemExit
        return done

    monkeypatch.setattr(owner, name, die)
    losses, file = list[float](), tmp_path / "best.keras"
    checkpoints = CheckpointSettings(tmp_path / "c.npz", every_s=0.0)
    with pytest.raises(SystemExit):
        for event in training_of(CONFIG, corpus, file, checkpoints):
            losses += [event.metrics["val_loss"]] if isinstance(event, RoundDone) else []
    keep_reported(file, len(losses))
    assert len(losses) == number - 1
    assert sorted(tmp_path.iterdir()) == [file] * bool(losses) + [tmp_path / "c.npz"]
    if losses:
        assert loss_by_keras(file, CONFIG, corpus) == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize(
    ("every_s", "took", "due"),
    [(5.0, 0.0, 1.0), (5.0, 0.04, 2.0), (5.0, 0.2, 5.0), (5.0, 3.0, 60.0), (0.0, 3.0, 0.0)],
)
def test_a_checkpoint_is_due_once_writing_it_takes_a_small_share_of_the_time(
    every_s: float, took: float, due: float
) -> None:
    assert CheckpointSettings(Path("c.npz"), every_s).due_after(took) == due


def test_a_checkpoint_that_is_cut_off_or_would_run_code_counts_as_none(tmp_path: Path) -> None:
    file, state = tmp_path / "c.npz", [np.full(2, number) for number in range(12)]
    Checkpoint([{"val_loss": 1e-300}], state, [np.ones(1)]).save(file, "t")
    found = load(file, "t")
    assert found and found.rounds == [{"val_loss": 1e-300}]
    np.testing.assert_array_equal(found.state, state)  # more than ten keep their order
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert load(file, "t") is None
    about = np.frombuffer(json.dumps({"identity": "t", "rounds": []}).encode(), np.uint8)
    np.savez(file, allow_pickle=True, about=about, state0=np.array([{"any": "object"}], object))
    assert load(file, "t") is None
