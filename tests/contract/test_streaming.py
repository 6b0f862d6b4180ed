"""Sessions of a stream get the verdicts that `detect` gives them in a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models import backend
from lstm_sweep.models.bundle import bundle
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import END, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.network import streaming
from lstm_sweep.models.network.evaluation import judge
from lstm_sweep.models.network.streaming import Event, Judgement, Network, OpenSessions
from lstm_sweep.models.normality import OF_VERDICT, Calibration, Normality, sessions_of

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
    assert found[:, :OF_VERDICT] == pytest.approx(scores[:, :OF_VERDICT], abs=1e-5)


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
    assert sorted(alarms) == np.flatnonzero(p <= RATE).tolist(), "each once"
    assert {int(one.session.name) for one in early} <= {*alarms}
    assert not stream.open


def test_a_session_that_goes_on_for_too_long_raises_its_alarm_before_it_ends(judged: Any) -> None:
    stream = opened(judged)
    likely = int(Network.logits(judged[0], judged[0].first[None])[0, END + 1 :].argmax()) + END + 1
    [alarm] = stream.read([Event("a", likely, "x")] * 5_000, 0.0)
    assert alarm.abnormal and alarm.is_open
    [closed] = stream.close_idle(1.0)
    assert closed.p <= RATE and not closed.abnormal, "once for a session"


def test_without_ends_a_session_is_judged_by_its_highest_surprise(judged: Any) -> None:
    _, calibration, new, scores, _ = judged
    stream = opened(judged, ends=False)
    found = stream.read(events(new, []), 0.0)
    p, _ = calibration.judge(scores, whole=False)
    assert sorted(int(one.session.name) for one in found) == np.flatnonzero(p <= RATE).tolist()
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
    assert len(stream.saved(0.0)["kept"]) == 50
