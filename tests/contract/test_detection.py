"""`detect`: new data judged by an exported network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models import backend
from lstm_sweep.models.backend import keras
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.conformal import raised
from lstm_sweep.models.data.alphabet import END, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.network import lstm, streaming
from lstm_sweep.models.network.evaluation import judge
from lstm_sweep.models.network.streaming import Event, Judgement, Network, OpenSessions
from lstm_sweep.models.normality import Calibration, Normality, sessions_of
from lstm_sweep.search.cli import main

CONFIG = TrialConfig(layer_size=6, sequence_length=4, epochs=1)
METRICS = {"trial": "s/3", "val_loss": 1.5, "test_loss": 1.75}
LETTERS, EVENTS = Alphabet(tuple("abcd")), Alphabet((3, 70, 500))


pytestmark = pytest.mark.usefixtures("prepared")


def write(folder: Path, alphabet: Alphabet, favourite: int | None = None) -> None:
    """Write a bundle; a network that has a favourite expects that code everywhere."""
    network = lstm.build(CONFIG, len(alphabet)).scored
    if favourite is not None:
        *others, bias = network.get_weights()
        chances = np.full_like(bias, 0.0)
        chances[favourite] = 10.0
        network.set_weights([*map(np.zeros_like, others), chances])
    bundle.write(network, Bundle("s/3", CONFIG, alphabet, METRICS), folder, "keras")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return tmp_path


def detected(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `detect --json` prints."""
    assert main(["detect", "best", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_symbol_is_judged_as_plain_keras_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", LETTERS)
    text = "abcadbca"
    (place / "new.txt").write_text(text, encoding="utf-8")
    found = detected(capsys, "--data", "new.txt", "--below", "0.999999")
    assert (found["symbols"], found["sessions"], found["unexpected"]) == (8, 1, 8)
    network = keras.models.load_model(place / "best" / "model.keras")
    codes = LETTERS.encode(text)
    padded = np.concatenate([np.zeros(4, np.int32), codes])
    windows = np.stack([padded[at : at + 4] for at in range(len(text))])
    logits = network.predict(windows, verbose=0).astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = chances[np.arange(len(text)), codes]
    assert found["loss"] == pytest.approx(-np.log(own).mean(), abs=1e-5)
    for finding in found["findings"]:
        at = finding["place"] - 1
        assert (finding["session"], finding["symbol"]) == ("new.txt", text[at])
        assert "".join(finding["before"]) == text[:at]
        assert finding["probability"] == pytest.approx(own[at], rel=1e-4)
        assert finding["likelier"] == (chances[at, 2:] > own[at]).sum()
        best = np.argsort(-chances[at, 2:])[:3] + 2
        assert [one["symbol"] for one in finding["expected"]] == LETTERS.decode(best)
    surprises = [-math.log(finding["probability"]) for finding in found["findings"]]
    assert surprises == sorted(surprises, reverse=True)


def test_what_is_not_expected_is_found_where_it_stands(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS, favourite=3)  # 70
    (place / "logs").mkdir()
    (place / "logs" / "a.txt").write_text("70 70\n70 3 70\n", encoding="utf-8")
    (place / "logs" / "b.txt").write_text("70 70\n\n70 70 9\n", encoding="utf-8")
    found = detected(capsys, "--data", "logs")
    assert found["in_sessions"] == {"a.txt, session 2": 1, "b.txt, session 2": 1}
    places = [(f["session"], f["place"], f["symbol"], f["known"]) for f in found["findings"]]
    assert sorted(places) == [
        ("a.txt, session 2", 2, 3, True),
        ("b.txt, session 2", 3, 9, False),
    ]
    assert found["findings"][0]["expected"][0]["symbol"] == 70
    assert main(["detect", "best", "--data", "logs", "--top", "1"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("2 unknown or less likely than 0.001, in 2 sessions")
    assert ", symbol " in second and "; expected 70 (1), " in second
    assert third == "... and 1 less surprising (--top N)"


def test_candidates_are_counted_in_place_of_probabilities(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS, favourite=3)
    (place / "log.txt").write_text("70\n3\n70\n500\n8\n", encoding="utf-8")
    assert detected(capsys, "--data", "log.txt", "--candidates", "1")["unexpected"] == 3
    # of two that are equally likely none is likelier, so both are second
    found = detected(capsys, "--data", "log.txt", "--candidates", "2")
    assert [finding["symbol"] for finding in found["findings"]] == [8]
    assert found["findings"][0]["likelier"] == 3
    # what was never seen is not among the likeliest, however many these are
    found = detected(capsys, "--data", "log.txt", "--candidates", "9")
    assert [finding["symbol"] for finding in found["findings"]] == [8]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data", "none.txt"], ["data 'none.txt'", "no such file"]),
        (["--data", "words.txt"], ["words.txt:1", "expected an event id"]),
        (["--data", "other.txt"], ["data 'other.txt'", "'best' knows none of their symbols"]),
        (["--data", "blank.txt"], ["data 'blank.txt'", "found no symbols"]),
        (["--data", "python-docs"], ["sample python-docs has chars", "expects event ids"]),
        (["--data", "log.txt", "--below", "0"], ["--below is 0.0", "0 to 1"]),
        (["--data", "log.txt", "--below", "nan"], ["--below is nan", "0 to 1"]),
        (["--data", "log.txt", "--candidates", "0"], ["--candidates is 0", "1 or more"]),
        (["--data", "log.txt", "--top", "-1"], ["--top is -1", "expected 0 to 1,000,000"]),
        (["--data", "log.txt", "--below", "few"], ["--below is 'few': expected a number"]),
        ([], ["found no --data and no --follow"]),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_gets_one_clear_line(
    arguments: list[str], named: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "best", EVENTS)
    texts = {"log": "3\n", "words": "three\n", "other": "4 5\n", "blank": " \n\n"}
    for name, text in texts.items():
        (place / f"{name}.txt").write_text(text, encoding="utf-8")
    before = sorted(place.rglob("*"))
    assert main(["detect", "best", *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert out == "" and line.startswith("lstm-sweep: ") and all(word in line for word in named)
    assert sorted(place.rglob("*")) == before


# Sessions of a stream get the verdicts that `detect` gives them in a batch


ALPHABET = Alphabet((5, 6, 7, 8), ends=True)
CONFIGS: dict[str, dict[str, Any]] = {
    "carried": {"state": "carried", "layers": 2},
    "windows": {"layers": 2, "embedding_size": 3},
    "both": {"direction": "bi", "layers": 2},
}
RATE = 0.05


def split(rng: np.random.Generator, sessions: int) -> Split:
    lengths = rng.integers(1, 9, sessions)
    codes = [[*rng.integers(END + 1, len(ALPHABET), n), END] for n in lengths]
    return Split(np.concatenate(codes).astype(np.int32), np.cumsum([0, *lengths[:-1] + 1]))


@pytest.fixture(scope="module", params=CONFIGS)
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Calibration, Split, Any, Any]:
    """A network without Keras, its calibration, and sessions with their scores and p-values."""
    from lstm_sweep.models.network import lstm

    folder, rng = tmp_path_factory.mktemp("bundle"), np.random.default_rng(1)
    config = TrialConfig(layer_size=8, sequence_length=5, **CONFIGS[request.param])
    backend.prepare(gpu=False, seed=1)
    model = lstm.build(config.evolve(averaging="off"), len(ALPHABET)).scored
    model.set_weights([4 * one for one in model.get_weights()])  # so that symbols differ
    metrics = {"trial": "s/1", "val_loss": 1.0, "test_loss": 1.0}
    opened = Bundle("s/1", config, ALPHABET, metrics)
    bundle.write(model, opened, folder, "keras")
    program = bundle.predictor(folder, opened)
    known, new = split(rng, 99), split(rng, 60)
    new.codes[new.starts[::7]] = UNKNOWN
    normal = Normality.of(sessions_of(split(rng, 20), ends=True), len(ALPHABET))
    scores = [
        normal.scores(one, judge(program, config, len(ALPHABET), one)[0], ends=True)
        for one in (known, new)
    ]
    calibration = Calibration(normal, scores[0])
    p = calibration.judge(scores[1], whole=True)[0]
    return Network(config, bundle.weights_of(folder, opened)), calibration, new, scores[1], p


def opened(judged: Any, *, ends: bool = True, most: int = 1_000) -> OpenSessions:
    return OpenSessions(judged[0], judged[1], RATE, ends=ends, most=most)


def events(new: Split, order: list[int]) -> list[Event]:
    """The symbols of sessions, each time the next one of the session that is named."""
    sessions = sessions_of(new, ends=True)
    at, found = [0] * len(sessions), list[Event]()
    for number in [*order, *range(len(sessions)), *range(len(sessions) - 1, -1, -1)]:
        rest = sessions[number][at[number] :]
        count = 1 if len(found) < len(order) else len(rest)
        found += [Event(str(number), int(code), "a line") for code in rest[:count]]
        at[number] += count
    return found


def test_scores_are_those_of_a_batch(judged: Any) -> None:
    _, _, new, scores, _ = judged
    found = opened(judged, most=7).scores_of(new)
    assert found == pytest.approx(scores, abs=1e-5)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, 59), max_size=200), st.integers(1, 60))
def test_sessions_that_interleave_get_the_p_values_of_a_batch(
    judged: Any, order: list[int], block: int
) -> None:
    _, _, new, _, p = judged
    stream, came, found = opened(judged), events(new, order), list[Judgement]()
    for begin in range(0, len(came), block):
        found += stream.read(came[begin : begin + block], float(begin))
    early = [one for one in found if one.abnormal]
    found += stream.close_idle(np.inf)
    ended = {int(one.session.name): one.p for one in found if one.end}
    assert [ended[number] for number in range(len(p))] == p.tolist()
    alarms = [int(one.session.name) for one in found if one.abnormal]
    assert sorted(alarms) == np.flatnonzero(raised(p, RATE, 99, str)).tolist(), "each once"
    assert {int(one.session.name) for one in early} <= {*alarms}
    assert not stream.open


def test_a_session_that_goes_on_for_too_long_raises_its_alarm_before_it_ends(
    judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = opened(judged)
    likely = int(Network.logits(judged[0], judged[0].first[None])[0, END + 1 :].argmax()) + END + 1
    with monkeypatch.context() as patch:
        patch.setattr(Calibration, "judge", None)  # what is as long as training is not judged yet
        assert not stream.read([Event("a", likely, "x")] * int(judged[1].normal.lengths[-1]), 0.0)
    [alarm] = stream.read([Event("a", likely, "x")] * 5_000, 0.0)
    assert alarm.abnormal and alarm.is_open
    [closed] = stream.close_idle(1.0)
    assert closed.p < RATE + 0.01 and not closed.abnormal, "once for a session"


def test_without_ends_a_session_is_judged_by_its_highest_surprise(judged: Any) -> None:
    _, calibration, new, scores, _ = judged
    stream = opened(judged, ends=False)
    found = stream.read(events(new, []), 0.0)
    p, _ = calibration.judge(scores, whole=False)
    assert (
        sorted(int(one.session.name) for one in found)
        == np.flatnonzero(raised(p, RATE, 99, str)).tolist()
    )
    assert not any(one.abnormal or one.end for one in stream.close_idle(1.0))


def test_sessions_beyond_the_cap_are_closed_and_the_longest_silent_first(
    judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST_NUMBERS", 60)  # what windows were read is forgotten, too
    stream = opened(judged, most=50)
    for begin in range(0, 20_000, 1_000):
        stream.read((Event(str(n), END + 1 + n % 4, "") for n in range(begin, begin + 1_000)), 0.0)
    assert [*stream.open] == [str(n) for n in range(19_950, 20_000)]
    assert stream.crowded_out == 19_950
    assert len(stream.saved(0.0).sessions) == 50
