from __future__ import annotations

import itertools
import math
import tracemalloc
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.baselines import (
    FAMILIES,
    Baseline,
    Counts,
    MarkovChain,
    NaiveBayes,
    best_order,
    score_all,
)
from lstm_sweep.models.data.alphabet import START, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.windows import scoring_targets, scoring_windows
from lstm_sweep.models.scoring import Floats

#: codes of the two symbols of the smallest alphabet
A, B = 2, 3
SIZE = 4


def split_of(sessions: list[list[int]]) -> Split:
    starts = np.cumsum([0, *(len(session) for session in sessions[:-1])]).astype(np.int64)
    return Split(np.array([code for session in sessions for code in session], np.uint16), starts)


def corpus_of(codes: NDArray[np.integer], symbols: int) -> Corpus:
    """Split one long session by 80/10/10; `symbols` are those of its alphabet, without reserved."""
    whole = Split(codes.astype(np.uint16), np.zeros(1, np.int64))
    cuts = [0, len(codes) * 8 // 10, len(codes) * 9 // 10, len(codes)]
    train, validation, test = (whole.part(*pair) for pair in itertools.pairwise(cuts))
    alphabet = Alphabet(tuple(range(symbols)))
    return Corpus("made", alphabet, train, validation, test, "0" * 32, "")


def windows_of(*rows: list[int]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


HAND_MADE = split_of([[A, B, A, A]])


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [
        # (0 + 1, 0 + 1, 3 + 1, 1 + 1) / (4 + 4 * 1)
        (1.0, [1 / 8, 1 / 8, 4 / 8, 2 / 8]),
        # (0.5, 0.5, 3.5, 1.5) / 6
        (0.5, [1 / 12, 1 / 12, 7 / 12, 3 / 12]),
    ],
)
def test_a_unigram_equals_that_computed_by_hand(smoothing: float, expected: list[float]) -> None:
    predicted = NaiveBayes(0, smoothing).predict(Counts(HAND_MADE, SIZE), windows_of([A], [B]))
    np.testing.assert_allclose(np.exp(predicted), [expected, expected])


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # the prior is (1, 1, 4, 2) / 8, its weight 4; after A came B once and A once
        (A, [0.5 / 6, 0.5 / 6, 3 / 6, 2 / 6]),
        # after B came A once
        (B, [0.5 / 5, 0.5 / 5, 3 / 5, 1 / 5]),
        # the session began with A
        (START, [0.5 / 5, 0.5 / 5, 3 / 5, 1 / 5]),
        # the unknown symbol never came: what is left is the prior
        (1, [1 / 8, 1 / 8, 4 / 8, 2 / 8]),
    ],
)
def test_a_markov_chain_equals_that_computed_by_hand(before: int, expected: list[float]) -> None:
    predicted = MarkovChain(1.0).predict(Counts(HAND_MADE, SIZE), windows_of([before]))
    np.testing.assert_allclose(np.exp(predicted), [expected])


def test_a_naive_bayes_equals_that_computed_by_hand() -> None:
    # P(c) * (1 + how often A came before c) / (4 + how often c came)
    joint = np.array([1 / 8 * 1 / 4, 1 / 8 * 1 / 4, 4 / 8 * 2 / 7, 2 / 8 * 2 / 5])
    predicted = NaiveBayes(1, 1.0).predict(Counts(HAND_MADE, SIZE), windows_of([A]))
    np.testing.assert_allclose(np.exp(predicted), [joint / joint.sum()])


def test_pairs_do_not_cross_sessions() -> None:
    counts = Counts(split_of([[A, A], [B]]), SIZE)
    expected = np.zeros((SIZE, SIZE))
    expected[START, A] = expected[A, A] = expected[START, B] = 1
    np.testing.assert_array_equal(counts.pairs(1).toarray(), expected)


small_sessions = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=4
)
models = st.builds(NaiveBayes, st.integers(0, 4), st.sampled_from([0.001, 0.1, 1.0])) | st.builds(
    MarkovChain, st.sampled_from([0.001, 0.1, 1.0])
)
pasts = st.lists(st.integers(0, 4), min_size=4, max_size=4)


def followers(sessions: list[list[int]], lag: int) -> NDArray[np.int64]:
    """Count pairs one by one."""
    table = np.zeros((5, 5), np.int64)
    for session in sessions:
        for place, code in enumerate(session):
            table[session[place - lag] if place >= lag else START, code] += 1
    return table


@given(small_sessions, st.integers(1, 8), st.integers(1, 5), st.booleans())
def test_pairs_are_the_same_however_they_are_counted(
    sessions: list[list[int]], lag: int, block: int, dense: bool
) -> None:
    with (
        patch("lstm_sweep.models.baselines.COUNTED_BLOCK", block),
        patch("lstm_sweep.models.baselines.DENSE", 25 if dense else 24),
        patch("lstm_sweep.models.baselines.MOST_DENSE", 24),
    ):
        counted = Counts(split_of(sessions), 5).pairs(lag)
    np.testing.assert_array_equal(counted.toarray(), followers(sessions, lag))


def test_of_a_large_corpus_the_last_symbols_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # what comes first says the opposite of what comes last
    codes = np.concatenate([np.tile([A, A, A, B], 200), np.tile([B, B, B, A], 200)])
    corpus = corpus_of(np.concatenate([codes, np.tile([B, B, B, A], 50)]), 2)
    targets = np.arange(len(corpus.validation))
    whole = score_all(corpus, targets)[0].metrics["loss"]
    monkeypatch.setattr("lstm_sweep.models.baselines.COUNTED", 400)
    last = score_all(corpus, targets)[0].metrics["loss"]
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert last == pytest.approx(entropy, abs=0.01) and whole > entropy + 0.05


def by_definition(
    model: NaiveBayes | MarkovChain, sessions: list[list[int]], past: list[int]
) -> Floats:
    flat, a = [code for session in sessions for code in session], model.smoothing
    often = np.array([flat.count(code) for code in range(5)])
    prior = (often + a) / (len(flat) + 5 * a)
    if isinstance(model, MarkovChain):
        row = followers(sessions, 1)[past[-1]]
        return np.asarray((row + 5 * a * prior) / (row.sum() + 5 * a))
    joint = prior
    for lag in range(1, model.window + 1):
        joint = joint * (followers(sessions, lag)[past[-lag]] + a) / (often + 5 * a)
    return np.asarray(joint / joint.sum())


@given(models, small_sessions, pasts)
def test_a_prediction_follows_its_definition(
    model: NaiveBayes | MarkovChain, sessions: list[list[int]], past: list[int]
) -> None:
    predicted = model.predict(Counts(split_of(sessions), 5), windows_of(past))
    np.testing.assert_allclose(np.exp(predicted), [by_definition(model, sessions, past)], rtol=1e-9)


@pytest.mark.parametrize("model", [model for family in FAMILIES.values() for model in family])
def test_a_prediction_is_a_distribution(model: Baseline) -> None:
    rng = np.random.default_rng(1)
    counts = Counts(split_of([rng.integers(1, 20, 300).tolist() for _ in range(3)]), 25)
    windows = rng.integers(0, 25, (50, max(1, model.window))).astype(np.int32)
    predicted = np.exp(model.predict(counts, windows))
    assert predicted.shape == (50, 25)
    assert (predicted > 0).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-9)


def chain(size: int, seed: int) -> NDArray[np.int64]:
    """Draw a first-order chain over ten symbols: nine times in ten, the next one."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(size) < 0.9, 1, rng.integers(0, 10, size))
    return 2 + np.cumsum(steps) % 10


def test_a_markov_chain_beats_a_unigram_on_a_first_order_chain() -> None:
    corpus = corpus_of(chain(30_000, 1), 10)
    losses = {s.name: s.metrics["loss"] for s in score_all(corpus, np.arange(2000))}
    assert losses["unigram"] == pytest.approx(math.log(10), abs=0.02)
    # the next one comes with 0.91, each of the nine others with 0.01
    entropy = -0.91 * math.log(0.91) - 9 * 0.01 * math.log(0.01)
    assert losses["markov"] == pytest.approx(entropy, abs=0.05)


def losses_of(model: Baseline, corpus: Corpus, targets: NDArray[np.int64]) -> Floats:
    """Negative log-likelihoods of validation targets, one by one."""
    length = max(1, model.window)
    windows, true = next(scoring_windows(corpus.validation, targets, length, len(targets)))
    predicted = model.predict(Counts(corpus.train, len(corpus.alphabet)), windows)
    return np.asarray(-predicted[np.arange(len(targets)), true])


@pytest.mark.parametrize("symbols", [2, 10, 60])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_baseline_predicts_independent_uniform_symbols(symbols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corpus = corpus_of(rng.integers(2, 2 + symbols, 20_000), symbols)
    targets = np.arange(len(corpus.validation))
    for result in score_all(corpus, targets):
        losses = losses_of(result.model, corpus, targets)
        error = losses.std() / math.sqrt(len(losses))
        assert result.metrics["loss"] >= math.log(symbols) - 3 * error - 1e-9


def test_a_score_is_the_mean_over_the_given_targets() -> None:
    corpus = corpus_of(chain(5000, 3), 10)
    targets = scoring_targets(corpus.validation, 100, seed=2)
    for result in score_all(corpus, targets):
        expected = losses_of(result.model, corpus, targets).mean()
        assert result.metrics["loss"] == pytest.approx(expected)


def test_validation_data_choose_neither_smoothing_nor_window() -> None:
    corpus = corpus_of(chain(5000, 4), 10)
    noise = np.random.default_rng(0).integers(2, 12, len(corpus.validation))
    other = replace(corpus, validation=Split(noise.astype(np.uint16), np.zeros(1, np.int64)))
    here, there = (score_all(c, np.arange(100)) for c in (corpus, other))
    assert [s.model for s in here] == [s.model for s in there]
    assert [s.metrics for s in here] != [s.metrics for s in there]


def test_the_smallest_corpus_has_baselines() -> None:
    # two symbols of training, one of validation
    one = Split(np.array([A], np.uint8), np.zeros(1, np.int64))
    train = Split(np.array([A, B], np.uint8), np.zeros(1, np.int64))
    corpus = Corpus("tiny", Alphabet(("a", "b")), train, one, one, "0" * 32, "")
    scores = score_all(corpus, np.zeros(1, np.int64))
    assert [s.name for s in scores] == ["unigram", "markov", "naive_bayes", "ngram"]
    assert all(math.isfinite(s.metrics["loss"]) for s in scores)


def test_the_best_order_is_that_of_the_ngram_model_that_is_scored() -> None:
    rng = np.random.default_rng(0)
    after = rng.dirichlet(np.full(6, 0.2), (6, 6))
    codes = [0, 1]
    for draw in rng.random(6_000):
        codes.append(int(np.searchsorted(after[codes[-2], codes[-1]].cumsum(), draw)))
    corpus = corpus_of(np.array(codes) % 6 + 2, 6)
    [scored] = [s for s in score_all(corpus, np.arange(200)) if s.name == "ngram"]
    assert best_order(corpus) == scored.model.window == 2


def test_an_alphabet_of_5000_ids_takes_little_memory() -> None:
    rng = np.random.default_rng(1)
    small = corpus_of(rng.integers(2, 5002, 4000), 5000)
    corpus = replace(small, validation=split_of([rng.integers(2, 5002, 5000).tolist()]))
    tracemalloc.start()
    scores = score_all(corpus, np.arange(5000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(scores) == len(FAMILIES)
    # a few blocks of 34 MB; one dense table of pairs or predictions would add 200 MB
    assert peak < 300e6
