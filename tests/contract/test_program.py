"""Programs that train in a loop against steps one by one: same losses, same bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.config import OPTIMIZERS, TrialConfig
from lstm_sweep.models.cpu.programs import StepwiseProgram
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.corpus import load as load_corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring, StepWindows, steps_with_target
from lstm_sweep.models.network.evaluation import evaluate
from lstm_sweep.search.actions import inference
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.settings import load
from lstm_sweep.spaces.space import with_settings
from tests.conftest import in_full
from tests.contract.arithmetic import networks_of, programs, steps_of
from tests.sweeps import PLAIN, tiny_spec
from tests.unit.models.data.corpus_files import split_of

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_what_was_trained_is_scored_at_once_and_settled_without_a_change(direction: str) -> None:
    config = TrialConfig(direction=direction, layer_size=50, sequence_length=5, batch_size=3)
    _, (program, networks) = programs(config, 9)
    steps = steps_of(config, 9, 4)
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    before, begin = program.logits(windows), networks.trained.get_weights()
    program.sync()  # nothing was trained
    np.testing.assert_equal(networks.trained.get_weights(), begin)
    program.train(steps)
    trained = program.logits(windows)
    assert (trained != before).any()
    program.sync()
    np.testing.assert_array_equal(program.logits(windows), trained)
    by_keras = networks.scored.predict_on_batch(windows)
    np.testing.assert_allclose(by_keras, trained, atol=1e-4)


@pytest.mark.parametrize(
    ("direction", "optimizer", "embedding_size"),
    # with an embedding the others differ: on TensorFlow, Keras squares the gradients that a symbol
    # has at several places one by one, and not their sum
    [
        ("bi", OPTIMIZERS[0], 0),
        ("uni", "sgd", 4),
        *in_full(("uni", "adam", 0), ("bi", "adagrad", 0)),
    ],
)
def test_steps_in_a_loop_are_those_of_train_on_batch(
    direction: str, optimizer: str, embedding_size: int
) -> None:
    config = TrialConfig(
        direction=direction, optimizer=optimizer, learning_rate=0.001, layer_size=50,
        sequence_length=7, batch_size=5, embedding_size=embedding_size,
    )  # fmt: skip
    steps = steps_of(config, 9, 4)
    (one, theirs), (other, ours) = programs(config, 9)
    losses, weights = one.train(steps)
    in_loop = other.train(steps)
    other.sync()
    np.testing.assert_allclose(in_loop[0], losses, rtol=1e-4)
    np.testing.assert_array_equal(in_loop[1], weights)
    for left, right in zip(ours.trained.weights, theirs.trained.weights, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-4, err_msg=left.path)
    windows = np.ascontiguousarray(steps.codes[0, :, :-1])
    np.testing.assert_allclose(other.logits(windows), one.logits(windows), atol=2e-3)


def test_how_many_steps_a_call_has_does_not_change_a_bit() -> None:
    config = TrialConfig(
        direction="bi", dropout=0.3, layer_size=50, sequence_length=6, batch_size=4
    )
    steps = steps_of(config, 9, 6)
    results = []
    for sizes in ([6], [1, 2, 3], [1] * 6):
        _, (program, networks) = programs(config, 9)
        begin, losses = 0, list[float]()
        for size in sizes:
            part = StepWindows(steps.codes[begin : begin + size], steps.first[begin : begin + size])
            losses += program.train(part)[0].tolist()
            begin += size
        program.sync()
        results.append([losses, *networks.trained.get_weights()])
    for result in results[1:]:
        np.testing.assert_equal(result, results[0])


def test_on_a_gpu_the_layers_of_keras_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here; what is shown is that the loop works with Keras's own layers."""
    from lstm_sweep.models import backend
    from lstm_sweep.models.network import lstm, program

    config = TrialConfig(layer_size=50, sequence_length=7, batch_size=5)
    steps = steps_of(config, 9, 3)
    losses = []
    for on_gpu in (False, True):
        monkeypatch.setattr(backend, "on_gpu", lambda answer=on_gpu: answer)
        networks = networks_of(config, 9, 2)
        lstm.compile_for_training(networks.trained, config)
        losses.append(program.program_of(networks, config, 0).train(steps)[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_operations_outside_of_functions_are_run_without_one() -> None:
    import tensorflow as tf
    from tensorflow.python.eager import context

    before = set(context.context().list_function_names())
    np.testing.assert_allclose(tf.math.atan2(tf.ones(3), tf.ones(3)), np.pi / 4, rtol=1e-6)
    assert set(context.context().list_function_names()) == before


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_what_was_trained_in_float16_on_a_gpu_is_scored_on_a_cpu(direction: str) -> None:
    from lstm_sweep.models.network import lstm, program

    config = TrialConfig(direction=direction, layer_size=50, sequence_length=7, precision="float16")
    networks = networks_of(config, 9, 2)
    lstm.compile_for_training(networks.trained, config)
    windows = np.random.default_rng(0).integers(0, 9, (6, 7)).astype(np.int32)
    logits = program.program_of(networks, config, 0).logits(windows)
    expected = networks.scored.predict_on_batch(windows)
    np.testing.assert_allclose(logits, expected, atol=1e-3)


# Networks are scored on what they predict after their windows, whatever the windows share


ALPHABET = 9
CONFIG = TrialConfig(direction="uni", layer_size=50, sequence_length=31, batch_size=5)


def drawn(sizes: Sequence[int], shares: Sequence[float]) -> Split:
    """Sessions of random symbols that have these shares."""
    split = split_of([*sizes])
    codes = np.random.default_rng(5).choice(len(shares), len(split), p=shares) + 2
    return replace(split, codes=codes.astype(split.codes.dtype))


#: short sessions of few symbols, so that many windows begin alike
LOG = drawn(np.random.default_rng(4).integers(1, 15, 60).tolist(), (0.6, 0.3, 0.1))
#: sessions of few symbols, most of them longer than a window
LONG_LOG = drawn(np.random.default_rng(6).integers(20, 90, 14).tolist(), (0.8, 0.1, 0.1))
#: one session, whose windows share next to nothing
TEXT = drawn([300], [1 / 7] * 7)


def predicted(
    predict: Any, config: TrialConfig, log: Split, *, share_windows: bool = False
) -> NDArray[np.float64]:
    """Log-probabilities at each place of the log."""
    from lstm_sweep.models.network.evaluation import predictions

    everywhere, found = np.arange(len(log)), np.empty((len(log), ALPHABET))
    shared = steps_with_target(config.sequence_length) if share_windows else 1
    for log_probabilities, true, numbers in predictions(
        predict, config, ALPHABET, log, everywhere, shared=shared
    ):
        assert (true == log.codes[numbers]).all()
        found[numbers] = log_probabilities
    return found


def whole(predict: Any, config: TrialConfig, log: Split) -> NDArray[np.float64]:
    """The same from whole windows, one after the other."""
    from lstm_sweep.models.data.windows import scoring_windows
    from lstm_sweep.models.scoring import log_softmax

    windows = scoring_windows(log, np.arange(len(log)), config.sequence_length, 1)
    return np.concatenate([log_softmax(np.asarray(predict(one))) for one, _ in windows])


@pytest.mark.parametrize(
    "more",
    [
        {"direction": "uni", "layer_size": 128},  # computed with idle units
        {"direction": "uni", "averaging": "off", "embedding_size": 3, "layers": 3},
        {"direction": "bi"},
    ],
    ids=["averages", "weights", "both directions"],
)
def test_windows_that_begin_alike_are_predicted_as_each_alone(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstm_sweep.models.network import evaluation

    config = TrialConfig(layer_size=50, sequence_length=12, batch_size=5).evolve(**more)
    _, (program, _) = programs(config, ALPHABET)
    before = predicted(program, config, LOG)
    # layers of 128 with such weights differ by 2e-5 in calls of other sizes
    np.testing.assert_allclose(before, whole(program.logits, config, LOG), atol=1e-4)
    program.train(steps_of(config, ALPHABET, 4))
    program.sync()
    after = predicted(program, config, LOG)
    np.testing.assert_allclose(after, whole(program.logits, config, LOG), atol=1e-4)
    assert np.abs(after - before).max() > 0.01
    # calls of few rows, and blocks of few windows
    monkeypatch.setattr(evaluation, "STAGE_ROWS", 32)
    monkeypatch.setattr(evaluation, "SCORING_NUMBERS", 24 * 12 * 2 * config.layer_size)
    monkeypatch.setattr(evaluation, "BLOCK_WINDOWS", 100)
    np.testing.assert_allclose(predicted(program, config, LOG), after, atol=1e-4)


def after_shorter_pasts(networks: Any, config: TrialConfig, log: Split) -> NDArray[np.float64]:
    """Log-probabilities at each place, of Keras's layers in the shared windows, one by one."""
    from lstm_sweep.models.data.windows import past, shared_windows
    from lstm_sweep.models.scoring import log_softmax

    most, length = steps_with_target(config.sequence_length), config.sequence_length
    everywhere, found = np.arange(len(log)), np.empty((len(log), ALPHABET))
    ends, window_of, steps_before = shared_windows(log, everywhere, most, length)
    for first in range(0, len(ends), 200):
        windows = past(log, np.asarray(ends[first : first + 200]), np.arange(length, 0, -1))
        logits = networks.every_step(windows, training=False).numpy()
        own = np.flatnonzero((window_of >= first) & (window_of < first + 200))
        found[own] = log_softmax(logits[window_of[own] - first, length - 1 - steps_before[own]])
    return found


@pytest.mark.parametrize("more", [{}, {"averaging": "off", "layers": 3}])
def test_targets_side_by_side_are_predicted_in_the_last_steps_of_a_window(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstm_sweep.models.cpu.programs import KerasProgram
    from lstm_sweep.models.network import evaluation

    config = CONFIG.evolve(**more)
    (stepwise, networks), (fast, other) = programs(config, ALPHABET)
    expected = after_shorter_pasts(networks, config, LONG_LOG)
    for program in (stepwise, fast, KerasProgram(other, config)):
        found = predicted(program, config, LONG_LOG, share_windows=True)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        apart = np.abs(found - predicted(program, config, LONG_LOG)).max(axis=1) > 1e-4
        assert apart.any()
        places = np.arange(len(LONG_LOG))
        since_head = places - LONG_LOG.heads(places)
        assert (since_head[apart] > config.sequence_length).all()
    monkeypatch.setattr(evaluation, "BLOCK_WINDOWS", 30)
    monkeypatch.setattr(evaluation, "SCORING_ROWS", 10)
    found = predicted(fast, config, LONG_LOG, share_windows=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_both_directions_see_whole_windows() -> None:
    config = CONFIG.evolve(direction="bi")
    _, (program, _) = programs(config, ALPHABET)
    found = predicted(program, config, LONG_LOG, share_windows=True)
    np.testing.assert_array_equal(found, predicted(program, config, LONG_LOG))


@pytest.mark.parametrize(("length", "apart"), [(10, False), (20, True)])
def test_short_windows_of_event_ids_share_nothing(length: int, apart: bool) -> None:
    ids, config = tuple(range(7)), CONFIG.evolve(sequence_length=length)
    for symbols, shares in ((ids, apart), (tuple("abcdefg"), True)):
        corpus = Corpus("c", Alphabet(symbols), TEXT, TEXT, TEXT, digest="d", decided="")
        (_, _), (program, _) = programs(config, len(corpus.alphabet))
        shared, whole = (
            evaluate(program, config, corpus, TEXT, np.arange(300), share_windows=share)["loss"]
            for share in (True, False)
        )
        assert (abs(shared - whole) > 1e-6) is shares


# A sweep and an export score targets side by side in the last steps of shared windows


@pytest.mark.parametrize("adjacent", [24, *in_full(1)])
def test_losses_are_those_of_shared_windows_if_targets_are_side_by_side(
    workplace: Callable[[str], Path], data: Path, tmp_path: Path, adjacent: int
) -> None:
    settings = load(workplace(f"shared-{adjacent}"), {})
    fields = {"direction": "uni", "sequence_length": 10, "layer_size": 16}
    spec = tiny_spec(
        data=str(data), name="s", trials=1, workers=1, adjacent_targets=adjacent, **PLAIN
    )
    space = with_settings(spec.space, [f"{name}={value}" for name, value in fields.items()])
    spec = replace(spec, space=space)
    assert dict(Local(settings).launch(spec).trials) == {"complete": 1}
    folder = tmp_path / "best"
    Local(settings).export("s", str(folder))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))

    corpus, scoring = load_corpus(Source(data=str(data))), Scoring(100, 0, adjacent)
    path, content = bundles.read(str(folder))
    inference.predictor_of(path, content, seed=0)  # sets the process up
    networks = bundles.networks_of(path / "model.keras", *content.network)
    program = StepwiseProgram(networks, content.config)
    for split, loss in ((corpus.validation, "val_loss"), (corpus.test, "test_loss")):
        targets = scoring.drawn(split, at_least=10_000 if loss == "test_loss" else 0)
        shared, whole = (
            evaluate(program, content.config, corpus, split, targets, share_windows=share)
            for share in (True, False)
        )
        own, other = (shared, whole) if scoring.share_windows else (whole, shared)
        assert metrics[loss] == pytest.approx(own["loss"], rel=1e-6)
        assert metrics[loss] != pytest.approx(other["loss"], rel=1e-5)
