"""Networks whose state is carried: by all programs alike, in training, scoring and use."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstm_sweep.models.bundle import served_model
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import streams
from lstm_sweep.models.data.alphabet import START, Alphabet
from lstm_sweep.models.data.corpus import Split, load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.scoring import log_softmax
from lstm_sweep.search.cli import main
from tests.conftest import in_full, write_text
from tests.contract import arithmetic
from tests.contract.arithmetic import assert_near
from tests.unit.models.data.corpus_files import split_of

CARRIED = TrialConfig(
    state="carried", layers=2, layer_size=7, sequence_length=6, batch_size=4, optimizer="sgd",
    learning_rate=0.1,
)  # fmt: skip
LETTERS = Alphabet(tuple("abcdefgh"))


def networks_of(config: TrialConfig) -> Any:
    """Networks for ten codes, ready to be trained."""
    from lstm_sweep.models.network import lstm

    networks = arithmetic.networks_of(config, 10, 2)
    lstm.compile_for_training(networks.trained, config)
    return networks


def sessions(sizes: list[int]) -> Split:
    """Sessions of eight symbols."""
    split = split_of(sizes)
    return Split(split.codes % 8 + 2, split.starts)


pytestmark = pytest.mark.usefixtures("prepared")


def trained(program_of: Callable[[Any], Any], config: TrialConfig) -> list[Any]:
    """What a program makes of an epoch, and then of streams that are read in two parts."""
    networks = networks_of(config)
    program = program_of(networks)
    epoch = training_epoch(sessions([50, 3, 1, 20, 6, 80]), config, 1, 1)
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
    from lstm_sweep.models.cpu import programs
    from lstm_sweep.models.cpu.graph_cache import GraphCache

    config = CARRIED.evolve(**change)
    ours = trained(lambda networks: programs.FastProgram(networks, config, 0, GraphCache()), config)
    others: list[Callable[[Any], Any]] = [
        lambda networks: programs.KerasProgram(networks, config),
        lambda networks: programs.StepwiseProgram(networks, config),
    ]
    for their in others:
        for one, other in zip(ours, trained(their, config), strict=True):
            assert_near(one, other)


@pytest.mark.parametrize(
    ("kind", "layer_size"), [("fast", 7), *in_full(("keras", 7), ("stepwise", 7))]
)
def test_a_session_is_trained_on_as_if_it_were_read_at_once(
    kind: str, layer_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is cut into windows: what fills up a short one enters no state."""
    from lstm_sweep.models.cpu import programs
    from lstm_sweep.models.cpu.graph_cache import GraphCache

    monkeypatch.setattr(streams, "FORGOTTEN", 0.0)
    config = CARRIED.evolve(batch_size=1, layer_size=layer_size, learning_rate=1e-12)
    networks = networks_of(config)
    kinds: dict[str, Callable[[], Any]] = {
        "fast": lambda: programs.FastProgram(networks, config, 0, GraphCache()),
        "keras": lambda: programs.KerasProgram(networks, config),
        "stepwise": lambda: programs.StepwiseProgram(networks, config),
    }
    chosen, split = kinds[kind](), sessions([50, 3, 1, 20, 6, 80])
    expected = 0.0
    for codes in np.split(split.codes, split.starts[1:]):
        read = np.array([[START, *codes[:-1]]], np.int32)
        logits, _ = chosen.stream(read, np.arange(len(codes)), None)
        expected -= float(log_softmax(logits)[np.arange(len(codes)), codes].sum())
    shorter = 0
    for number in range(1, 4):
        epoch = training_epoch(split, config, 1, number)
        windows: Any = epoch.select(0, epoch.steps)
        shorter += int((windows.counted[:-1] < 6)[windows.goes_on[1:] == 1].sum())
        means, counts = chosen.train(windows)
        assert float((means * counts).sum()) == pytest.approx(expected, rel=1e-5)
    assert shorter > 3


def test_more_is_remembered_than_a_window_holds(tmp_path: Path) -> None:
    """The last symbol of a session is the first one again, which is in an earlier window."""
    rng = np.random.default_rng(0)
    lines = ["{0} 9 9 {0}".format(*rng.integers(1, 9, 1)) for _ in range(2_000)]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = TrialConfig(
        layers=1, layer_size=24, sequence_length=2, batch_size=16, optimizer="adam", epochs=3
    )
    expected = np.log(8) / 4  # of the first symbol of four
    corpus = load(Source(data=str(tmp_path / "log.txt"), ends=False))
    reset = arithmetic.best_loss(config, corpus, tmp_path / "m.keras")
    assert reset > 1.9 * expected
    carried = config.evolve(state="carried")
    assert arithmetic.best_loss(carried, corpus, tmp_path / "m.keras") < 1.3 * expected


def by_plain_keras(file: Path, codes: list[int]) -> Any:
    """Logits after each of `codes`, read one by one from a state of zero, `[codes, alphabet]`."""
    import keras

    model = keras.models.load_model(file, safe_mode=True)
    cells = [layer.cell for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
    embeddings = [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]
    states = [cell.get_initial_state(1) for cell in cells]
    found = []
    for code in codes:
        one = np.array([code], "int32")
        x = embeddings[0](one) if embeddings else keras.ops.one_hot(one, model.output_shape[-1])
        for number, cell in enumerate(cells):
            x, states[number] = cell(x, states[number])
        found.append(np.asarray(model.get_layer("logits")(x))[0])
    return np.array(found, np.float64)


@pytest.fixture
def bundled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A bundle `best` in the working folder; a parameter has fields of its config."""
    from lstm_sweep.models.bundle import bundle

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    metrics = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
    config = CARRIED.evolve(**getattr(request, "param", {}))
    content = bundle.Bundle("s/3", config, LETTERS, metrics)
    bundle.write(networks_of(config).scored, content, tmp_path / "best", "keras")
    return tmp_path / "best"


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_text_is_continued_from_all_that_was_before(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "cabfeddabgh"  # longer than a window
    asked = ("generate", "best", "--prompt", prompt, "--length", "9", "--temperature", "0")
    [text] = output_of(capsys, *asked)["sequences"]
    codes = [START, *LETTERS.encode(prompt + text[:-1])]
    likeliest = by_plain_keras(bundled / "model.keras", codes)[-9:, 2:].argmax(axis=1) + 2
    assert text == "".join(map(str, LETTERS.decode(likeliest)))


@pytest.mark.full
@pytest.mark.parametrize(
    "bundled", [{}, {"embedding_size": 5}], ids=["one-hot", "embedding"], indirect=True
)
def test_a_served_model_reads_sessions_from_their_heads(
    bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    texts = ["cabfeddabgh", "", "hg", "abcdef"]  # more than a window, none, part of one, and one
    asked = pd.DataFrame({"text": texts * 40})  # more than one call has rows for
    model: Any = served_model._load_pyfunc(str(bundled))
    found = model.predict(asked, {"length": 9, "temperature": 0.0, "top": 3})
    assert found[: len(texts)] == found[-len(texts) :]
    for text, one in zip(texts, found, strict=False):
        codes = LETTERS.encode(text)
        logs = log_softmax(by_plain_keras(bundled / "model.keras", [START, *codes]))
        assert one["surprise"] == pytest.approx(
            (-logs[np.arange(len(codes)), codes]).tolist(), 1e-4
        )
        best = np.argsort(-logs[-1, 2:])[:3] + 2
        assert [each["symbol"] for each in one["next"]] == LETTERS.decode(best)
        prompt = ("--prompt", text) if text else ()
        asked_here = ("generate", "best", *prompt, "--length", "9", "--temperature", "0")
        [continuation] = output_of(capsys, *asked_here)["sequences"]
        assert one["continuation"] == continuation


@pytest.mark.full
@pytest.mark.parametrize(
    "bundled", [{}, {"embedding_size": 5}], ids=["one-hot", "embedding"], indirect=True
)
def test_the_programs_of_the_readme_run_with_plain_keras(bundled: Path) -> None:
    from lstm_sweep.models.bundle import clean_process

    text = (bundled / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    with contextlib.chdir(bundled), contextlib.redirect_stdout(io.StringIO()) as printed:
        known: dict[str, Any] = {}
        for program in programs:
            exec(program, known)
    past = LETTERS.encode(known["past"])
    logits = by_plain_keras(bundled / "model.keras", [START, *past])[-1]
    chances = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1][:5]
    shown = [float(line.split()[-1]) for line in printed.getvalue().splitlines()]
    assert shown[5:] == pytest.approx(chances.tolist(), abs=1e-4)
    codes = np.array([[START, *past]], np.int32)
    [theirs] = clean_process.outputs(bundled, "by_symbol", [codes])
    np.testing.assert_allclose(theirs[0], logits, atol=1e-5)


def test_the_same_targets_are_scored_whatever_the_state() -> None:
    """All of them, each once, and after all symbols of its session."""
    from lstm_sweep.models.network.evaluation import predictions
    from lstm_sweep.models.network.program import program_of

    split = sessions([30, 4, 1, 19])
    targets = np.array([2, 3, 29, 30, 33, 34, 40, 53])
    networks = networks_of(CARRIED)
    program: Any = program_of(networks, CARRIED, 0)
    found = np.empty((len(targets), 10))
    for logs, true, numbers in predictions(program, CARRIED, 10, split, targets):
        assert (true == split.codes[targets[numbers]]).all()
        found[numbers] = logs
    for number, target in enumerate(targets):
        head = split.starts[split.starts <= target].max()
        codes = np.array([[START, *split.codes[head:target]]], np.int32)
        logits, _ = program.stream(codes, np.array([codes.shape[1] - 1]), None)
        np.testing.assert_allclose(found[number], log_softmax(logits)[0], atol=1e-5)


@pytest.mark.full
def test_a_sweep_ends_in_a_bundle_that_was_compared_in_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "words.txt")
    fields = ("direction=uni", "state=carried", "layer_size=8", "layers=1", "sequence_length=10")
    settings = [word for field in (*fields, "epochs=1") for word in ("--set", field)]
    few = ("--trials", "1", "--ladder", "off", "--size-rule", "off", "--on", "inline")
    swept = output_of(capsys, "launch", "--data", "words.txt", "--name", "s", *few, *settings)
    assert swept["best"]["config"]["state"] == "carried"
    exported = output_of(capsys, "export", "s", "--to", "best")
    assert exported["by_symbol"] == 10
    assert exported["parity"]["max_difference"] < 1e-4
    assert exported["test_loss"] == pytest.approx(swept["best"]["val_loss"], rel=0.2)
