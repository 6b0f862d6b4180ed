from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.chains import IDS, data_of
from lstm_sweep.models.baselines import (
    Baseline,
    Counts,
    MarkovChain,
    NaiveBayes,
    NGram,
    best_order,
    score_all,
)
from lstm_sweep.models.data.alphabet import START, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.windows import scoring_windows
from lstm_sweep.models.scoring import Floats

#: codes of the two symbols of the smallest alphabet
A, B = 2, 3
SIZE = 5


def split_of(sessions: list[list[int]]) -> Split:
    starts = np.cumsum([0, *(len(session) for session in sessions[:-1])]).astype(np.int64)
    return Split(np.array([code for session in sessions for code in session], np.uint16), starts)


def one_session(codes: NDArray[np.integer]) -> Split:
    return Split(codes.astype(np.uint16), np.zeros(1, np.int64))


def corpus_of(codes: NDArray[np.integer], symbols: int) -> Corpus:
    """Split one long session by 80/10/10; `symbols` are those of its alphabet, without reserved."""
    cuts = [0, len(codes) * 8 // 10, len(codes) * 9 // 10, len(codes)]
    train, validation, test = (one_session(codes).part(*pair) for pair in itertools.pairwise(cuts))
    alphabet = Alphabet(tuple(range(symbols)))
    return Corpus("made", alphabet, train, validation, test, "0" * 32, "")


def windows_of(*rows: list[int]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


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


def predicted_by(model: Baseline, counts: Counts, windows: NDArray[np.int32]) -> Floats:
    if isinstance(model, NGram):
        counts.follow(windows)
    return model.predict(counts, windows)


def losses_of(model: Baseline, corpus: Corpus, targets: NDArray[np.int64]) -> Floats:
    """Negative log-likelihoods of validation targets, one by one."""
    length = max(1, model.window)
    windows, true = next(scoring_windows(corpus.validation, targets, length, len(targets)))
    predicted = predicted_by(model, Counts(corpus.train, len(corpus.alphabet)), windows)
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


def test_validation_data_choose_neither_smoothing_nor_window() -> None:
    corpus = corpus_of(data_of(0)[1]["validation"] + A, IDS)
    noise = np.random.default_rng(0).integers(A, A + IDS, len(corpus.validation))
    other = replace(corpus, validation=one_session(noise))
    here, there = (score_all(c, np.arange(100)) for c in (corpus, other))
    assert [s.model for s in here] == [s.model for s in there]
    assert [s.metrics for s in here] != [s.metrics for s in there]


def ngram_by_definition(sessions: list[list[int]], context: list[int]) -> Floats:
    """Count what followed a context, and each of its ends, one by one."""
    found = np.full(SIZE, 1 / SIZE)
    for order in range(len(context) + 1):
        after: Counter[int] = Counter()
        for session in sessions:
            padded = [START] * order + session
            for place, code in enumerate(session):
                if padded[place : place + order] == context[len(context) - order :]:
                    after[code] += 1
        if after:
            often = np.array([after[code] for code in range(SIZE)])
            found = (often + len(after) * found) / (after.total() + len(after))
    return found


contexts = st.integers(1, 5).flatmap(
    lambda order: st.lists(
        st.lists(st.integers(0, 4), min_size=order, max_size=order), min_size=1, max_size=6
    )
)


@given(small_sessions, contexts, st.integers(1, 8), st.sampled_from([0, 10, 1000]))
def test_an_ngram_follows_its_definition_however_it_is_counted(
    sessions: list[list[int]], given_contexts: list[list[int]], block: int, dense: int
) -> None:
    with (
        patch("lstm_sweep.models.baselines.NGRAM_BLOCK", block),
        patch("lstm_sweep.models.baselines.DENSE", dense),
    ):
        counts = Counts(split_of(sessions), SIZE)
        predicted = predicted_by(NGram(len(given_contexts[0])), counts, windows_of(*given_contexts))
    expected = [ngram_by_definition(sessions, context) for context in given_contexts]
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-9)
    np.testing.assert_allclose(np.exp(predicted).sum(axis=1), 1, rtol=1e-9)


def test_codes_of_a_large_alphabet_are_not_taken_for_others() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(2, 5000, 3000)
    windows = codes[np.arange(8) + np.arange(2990)[:, None]].astype(np.int32)
    predicted = predicted_by(NGram(8), Counts(one_session(codes), 5000), windows[:50])
    # eight codes in a row came once; what followed has half of what is left at each order
    true = np.exp(predicted[np.arange(50), codes[8:58]])
    assert (true > 0.99).all()
    # in another order they never came
    other = predicted_by(
        NGram(8), Counts(one_session(codes), 5000), windows[:50, [1, 0, *range(2, 8)]]
    )
    lower = predicted_by(NGram(6), Counts(one_session(codes), 5000), windows[:50, 2:])
    np.testing.assert_allclose(other, lower)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_chain_of_second_order_is_learned_nearly_as_well_as_can_be(seed: int) -> None:
    chain, parts = data_of(seed)
    train, validation = (one_session(parts[name] + A) for name in ("train", "validation"))
    corpus = Corpus("c", Alphabet(tuple(range(IDS))), train, validation, validation, "0", "")
    found = {one.name: one for one in score_all(corpus, np.arange(len(validation)))}
    assert best_order(corpus) == found["ngram"].model.window == 2
    pairs = windows_of(*([a, b] for a in range(A, A + IDS) for b in range(A, A + IDS)))
    told = np.exp(predicted_by(NGram(2), Counts(train, A + IDS), pairs))[:, A:]
    loss = chain.cross_entropy(told.reshape(IDS, IDS, IDS))
    bound = chain.bound(parts["train"])
    assert bound < loss < 1.01 * bound
    assert found["ngram"].metrics["loss"] == pytest.approx(loss, abs=0.03)  # of 6,000 ids
    assert found["markov"].metrics["loss"] > bound + 0.8
