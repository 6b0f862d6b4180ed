"""Networks whose state is carried: by all programs alike, in training, scoring and use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import streams
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_windows
from lstm_sweep.models.scoring import log_softmax
from tests.conftest import in_full
from tests.contract.arithmetic import assert_near
from tests.contract.carried_networks import CARRIED, networks_of
from tests.unit.models.data.splits import split_of


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)
    backend.run_operations_alone()


def trained(program_of: Callable[[Any], Any], config: TrialConfig) -> list[Any]:
    """What a program makes of an epoch, and then of streams that are read in two parts."""
    networks = networks_of(config)
    program = program_of(networks)
    split = split_of([50, 3, 1, 20, 6, 80])
    epoch = training_windows(type(split)(split.codes % 8 + 2, split.starts), config, 1).epoch(1)
    half = epoch.steps // 2
    results = [
        *program.train(epoch.select(0, half)),
        *program.train(epoch.select(half, epoch.steps)),
    ]
    program.sync()
    length, rng = config.sequence_length, np.random.default_rng(3)
    codes = rng.integers(0, 10, (3, length)).astype(np.int32)
    first, states = program.stream(codes[:, :3], np.array([0, 2, 2 * 3 + 1]), None)
    last, _ = program.stream(codes[:, 3:], (length - 4) * 3 + np.arange(3), states)
    np.testing.assert_allclose(last, program.logits(codes), atol=1e-5)  # read at once
    by_keras = networks.scored.predict_on_batch(codes)  # averages are scored in both ways
    np.testing.assert_allclose(last, by_keras, atol=1e-4)
    averages, weights = networks.averages, networks.trained.trainable_variables
    assert bool(averages) == (config.averaging != "off")
    for average, weight in zip(averages, weights, strict=bool(averages)):
        assert np.abs(average.numpy() - weight.numpy()).max() > 1e-5
    variables = [one for one in networks.trained.variables if one.dtype == "float32"]
    return [*results, *(one.numpy() for one in (*variables, *averages)), first, last]


@pytest.mark.parametrize(
    "change",
    [
        {},
        *in_full({"averaging": "off"}),
        *in_full({"layer_size": 60}, {"layer_size": 128, "layers": 1}),
        *in_full({"weight_decay": 0.1, "embedding_size": 3}),
    ],
    ids=str,
)
def test_all_programs_carry_the_state_alike(change: dict[str, Any]) -> None:
    from lstm_sweep.models.cpu import stream_loop
    from lstm_sweep.models.cpu.graph_cache import GraphCache
    from lstm_sweep.models.network import program

    config = CARRIED.evolve(**change)
    ours = trained(
        lambda networks: stream_loop.CarriedFastProgram(networks, config, 0, GraphCache()), config
    )
    programs: list[Callable[[Any], Any]] = [
        lambda networks: stream_loop.CarriedKerasProgram(networks, config),
        lambda networks: program.CarriedStepwiseProgram(networks, config),
    ]
    for their in programs:
        for one, other in zip(ours, trained(their, config), strict=True):
            assert one.shape == other.shape
            assert_near(one, other)


@pytest.mark.parametrize("kind", ["fast", *in_full("keras", "stepwise")])
@pytest.mark.parametrize("layer_size", [7, *in_full(60)])
def test_a_session_is_trained_on_as_if_it_were_read_at_once(
    kind: str, layer_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is cut into windows: what fills up a short one enters no state."""
    from lstm_sweep.models.cpu import stream_loop
    from lstm_sweep.models.cpu.graph_cache import GraphCache
    from lstm_sweep.models.network import program

    monkeypatch.setattr(streams, "FORGOTTEN", 0.0)
    config = CARRIED.evolve(batch_size=1, layer_size=layer_size, learning_rate=1e-12)
    networks = networks_of(config)
    programs: dict[str, Callable[[], Any]] = {
        "fast": lambda: stream_loop.CarriedFastProgram(networks, config, 0, GraphCache()),
        "keras": lambda: stream_loop.CarriedKerasProgram(networks, config),
        "stepwise": lambda: program.CarriedStepwiseProgram(networks, config),
    }
    chosen, split = programs[kind](), split_of([50, 3, 1, 20, 6, 80])
    split = type(split)(split.codes % 8 + 2, split.starts)
    expected = 0.0
    for codes in np.split(split.codes, split.starts[1:]):
        read = np.array([[START, *codes[:-1]]], np.int32)
        logits, _ = chosen.stream(read, np.arange(len(codes)), None)
        expected -= float(log_softmax(logits)[np.arange(len(codes)), codes].sum())
    shorter = 0
    for number in range(1, 4):
        epoch = training_windows(split, config, 1).epoch(number)
        windows: Any = epoch.select(0, epoch.steps)
        shorter += int((windows.counted[:-1] < 6)[windows.goes_on[1:] == 1].sum())
        means, counts = chosen.train(windows)
        assert float((means * counts).sum()) == pytest.approx(expected, rel=1e-5)
    assert shorter > 3


def test_averages_change_no_step_of_a_carried_state() -> None:
    found = []
    for averaging in ("polynomial", "off"):
        config = CARRIED.evolve(averaging=averaging, dropout=0.2)
        found.append(steps_of_default_program(config))
    for left, right in zip(*found, strict=True):
        np.testing.assert_array_equal(left, right)


def steps_of_default_program(config: TrialConfig) -> list[Any]:
    """Losses of an epoch, and weights and states after it."""
    from lstm_sweep.models.network.program import program_of

    networks = networks_of(config)
    program = program_of(networks, config, 0)
    split = split_of([50, 3, 1, 20, 6, 80])
    epoch = training_windows(type(split)(split.codes % 8 + 2, split.starts), config, 1).epoch(1)
    losses, _ = program.train(epoch.select(0, epoch.steps))
    program.sync()
    variables = [one for one in networks.trained.variables if one.dtype == "float32"]
    return [losses, *(one.numpy() for one in variables)]


@pytest.mark.full
@pytest.mark.parametrize("averaging", ["polynomial", "off"])
def test_networks_of_reduced_precision_are_scored_in_float32(averaging: str) -> None:
    """As on a GPU: weights are copied or averaged, states are not."""
    from lstm_sweep.models.cpu.stream_loop import CarriedKerasProgram
    from lstm_sweep.models.network import lstm

    config = CARRIED.evolve(precision="bfloat16", averaging=averaging)
    networks = lstm.build(config, 10, mixed=True)
    lstm.compile_for_training(networks.trained, config)
    start = [one.numpy() for one in networks.scored.weights]
    for own, one in zip(start, networks.trained.trainable_variables, strict=True):
        np.testing.assert_array_equal(own, one.numpy())
    program = CarriedKerasProgram(networks, config)
    split = split_of([50, 3, 1, 20, 6, 80])
    epoch = training_windows(type(split)(split.codes % 8 + 2, split.starts), config, 1).epoch(1)
    program.train(epoch.select(0, epoch.steps))
    program.sync()
    trained = [one.numpy() for one in networks.trained.trainable_variables]
    scored = [one.numpy() for one in networks.scored.weights]
    same = [bool((left == right).all()) for left, right in zip(trained, scored, strict=True)]
    assert all(same) if averaging == "off" else not any(same)
    codes = np.random.default_rng(3).integers(0, 10, (3, 6)).astype(np.int32)
    last, _ = program.stream(codes, 5 * 3 + np.arange(3), None)
    np.testing.assert_allclose(last, networks.scored.predict_on_batch(codes), atol=1e-5)


def test_a_row_that_does_not_go_on_knows_nothing_of_what_was_before() -> None:
    from lstm_sweep.models.data.streams import CarriedSteps
    from lstm_sweep.models.network.program import program_of

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 10, (2, 4, 7)).astype(np.int32)
    counted = np.full((2, 4), 6, np.int32)
    counted[0, 1:] = counted[1, 1:] = 0  # only the first row counts
    losses = {}
    for goes_on in (0.0, 1.0):
        for past in (0, 1):
            steps = CarriedSteps(
                np.concatenate([(codes[:1] + past) % 10, codes[1:]]),
                np.zeros_like(counted),
                np.concatenate([np.zeros_like(counted[:1]), counted[1:]]),
                np.array([[0.0] * 4, [goes_on] * 4], np.float32),
            )
            program = program_of(networks_of(CARRIED), CARRIED, 0)
            losses[goes_on, past] = float(program.train(steps)[0][1])
    assert losses[0.0, 0] == losses[0.0, 1]
    assert losses[1.0, 0] != losses[1.0, 1]


def best_loss(config: TrialConfig, data: Path) -> float:
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import training
    from lstm_sweep.models.network.events import Round

    backend.prepare(gpu=False, seed=1)
    corpus = load(Source(data=str(data), ends=False))
    targets = np.arange(len(corpus.validation))
    events = training.train(config, corpus, targets, 1, data.parent / "m.keras")
    return min(one.metrics["val_loss"] for one in events if isinstance(one, Round))


def test_more_is_remembered_than_a_window_holds(tmp_path: Path) -> None:
    """The last symbol of a session is the first one again, which is in an earlier window."""
    rng = np.random.default_rng(0)
    lines = ["{0} 9 9 {0}".format(*rng.integers(1, 9, 1)) for _ in range(2_000)]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = TrialConfig(
        layers=1, layer_size=24, sequence_length=2, batch_size=16, optimizer="adam", epochs=3
    )
    expected = np.log(8) / 4  # of the first symbol of four
    reset = best_loss(config, tmp_path / "log.txt")
    assert reset > 1.9 * expected
    assert best_loss(config.evolve(state="carried"), tmp_path / "log.txt") < 1.3 * expected
