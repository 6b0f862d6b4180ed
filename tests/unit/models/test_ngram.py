from __future__ import annotations

import math
from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.chains import IDS, data_of
from lstm_sweep.models.baselines import ORDERS, Counts, NGram, score_all
from lstm_sweep.models.data.alphabet import START, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.windows import past
from lstm_sweep.models.scoring import Floats

#: codes of the two symbols of the smallest alphabet
A, B = 2, 3
SIZE = 5


def split_of(sessions: list[list[int]]) -> Split:
    starts = np.cumsum([0, *(len(session) for session in sessions[:-1])]).astype(np.int64)
    return Split(np.array([code for session in sessions for code in session], np.uint16), starts)


def corpus_of(train: Split, validation: Split, symbols: int) -> Corpus:
    return Corpus("made", Alphabet(tuple(range(symbols))), train, validation, validation, "0", "")


def one_session(codes: NDArray[np.integer]) -> Split:
    return Split(codes.astype(np.uint16), np.zeros(1, np.int64))


def windows_of(*rows: list[int]) -> NDArray[np.int32]:
    return np.array(rows, np.int32)


def by_definition(sessions: list[list[int]], context: list[int]) -> Floats:
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


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        # of 5 codes, A came 3 times and B once: (n + 2/5) / (4 + 2)
        ([1], [0.4 / 6, 0.4 / 6, 3.4 / 6, 1.4 / 6, 0.4 / 6]),
        # after A came B once and A once: (n + 2 P) / (2 + 2), with P as above
        ([A], [0.8 / 24, 0.8 / 24, 12.8 / 24, 8.8 / 24, 0.8 / 24]),
        # after B came A once, at the first order
        ([B], [0.4 / 12, 0.4 / 12, 9.4 / 12, 1.4 / 12, 0.4 / 12]),
        # and once at the second, after A
        ([A, B], [0.4 / 24, 0.4 / 24, 21.4 / 24, 1.4 / 24, 0.4 / 24]),
        # B never came before B: what is left is the first order
        ([B, B], [0.4 / 12, 0.4 / 12, 9.4 / 12, 1.4 / 12, 0.4 / 12]),
    ],
)
def test_an_ngram_equals_that_computed_by_hand(context: list[int], expected: list[float]) -> None:
    counts = Counts(split_of([[A, B, A, A]]), SIZE)
    predicted = NGram(len(context)).predict(counts, windows_of(context))
    np.testing.assert_allclose(np.exp(predicted), [expected])


small_sessions = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=4
)
contexts = st.integers(1, 5).flatmap(
    lambda order: st.lists(
        st.lists(st.integers(0, 4), min_size=order, max_size=order), min_size=1, max_size=6
    )
)


@given(small_sessions, contexts, st.integers(1, 8), st.sampled_from([0, 10, 1000]))
def test_a_prediction_follows_its_definition_however_it_is_counted(
    sessions: list[list[int]], given_contexts: list[list[int]], block: int, dense: int
) -> None:
    with (
        patch("lstm_sweep.models.baselines.NGRAM_BLOCK", block),
        patch("lstm_sweep.models.baselines.DENSE", dense),
    ):
        counts = Counts(split_of(sessions), SIZE)
        predicted = NGram(len(given_contexts[0])).predict(counts, windows_of(*given_contexts))
    expected = [by_definition(sessions, context) for context in given_contexts]
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-9)
    np.testing.assert_allclose(np.exp(predicted).sum(axis=1), 1, rtol=1e-9)


@given(small_sessions, small_sessions)
def test_contexts_are_those_of_the_windows(
    sessions: list[list[int]], scored: list[list[int]]
) -> None:
    split = split_of(scored)
    windows = past(split, np.arange(len(split)), np.arange(3, 0, -1))
    padded = [[START] * 3 + session for session in scored]
    expected = [
        by_definition(sessions, session[place : place + 3])
        for session in padded
        for place in range(len(session) - 3)
    ]
    predicted = NGram(3).predict(Counts(split_of(sessions), SIZE), windows)
    np.testing.assert_allclose(np.exp(predicted), expected, rtol=1e-9)


@given(small_sessions, contexts, contexts)
def test_windows_that_were_not_expected_are_counted_too(
    sessions: list[list[int]], expected: list[list[int]], given_contexts: list[list[int]]
) -> None:
    counts, model = Counts(split_of(sessions), SIZE), NGram(len(given_contexts[0]))
    counts.expect(windows_of(*expected))
    alone = model.predict(Counts(split_of(sessions), SIZE), windows_of(*given_contexts))
    np.testing.assert_array_equal(model.predict(counts, windows_of(*given_contexts)), alone)


def test_what_follows_expected_windows_is_counted_once() -> None:
    counts = Counts(split_of([[A, B, A, A, B]]), SIZE)
    counts.expect(windows_of([A, B], [B, A], [A, A]))
    first = counts.followers(windows_of([A, B]))
    assert counts.followers(windows_of([A], [B])) is first
    assert counts.followers(windows_of([B, B])) is not first


def test_codes_of_a_large_alphabet_are_not_taken_for_others() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(2, 5000, 3000)
    windows = codes[np.arange(8) + np.arange(2990)[:, None]].astype(np.int32)
    predicted = NGram(8).predict(Counts(one_session(codes), 5000), windows[:50])
    # eight codes in a row came once; what followed has half of what is left at each order
    true = np.exp(predicted[np.arange(50), codes[8:58]])
    assert (true > 0.99).all()
    # in another order they never came
    other = NGram(8).predict(Counts(one_session(codes), 5000), windows[:50, [1, 0, *range(2, 8)]])
    lower = NGram(6).predict(Counts(one_session(codes), 5000), windows[:50, 2:])
    np.testing.assert_allclose(other, lower)


def test_of_a_large_corpus_the_last_symbols_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstm_sweep.models.baselines.NGRAM_COUNTED", 6)
    split = split_of([[A, A, A, A, A], [B, B, A, B, B, B]])
    found = NGram(2).predict(Counts(split, SIZE), windows_of([B, B], [A, A]))
    expected = [by_definition([[B, B, A, B, B, B]], context) for context in ([B, B], [A, A])]
    np.testing.assert_allclose(np.exp(found), expected)


def scored(corpus: Corpus) -> dict[str, tuple[int, float]]:
    """Window and loss of each baseline on all validation symbols."""
    found = score_all(corpus, np.arange(len(corpus.validation)))
    return {one.name: (one.model.window, one.metrics["loss"]) for one in found}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_chain_of_second_order_is_learned_nearly_as_well_as_can_be(seed: int) -> None:
    chain, parts = data_of(seed)
    train, validation = (one_session(parts[name] + A) for name in ("train", "validation"))
    found = scored(corpus_of(train, validation, IDS))
    assert found["ngram"][0] == 2
    pairs = windows_of(*([a, b] for a in range(A, A + IDS) for b in range(A, A + IDS)))
    told = np.exp(NGram(2).predict(Counts(train, A + IDS), pairs))[:, A:]
    loss = chain.cross_entropy(told.reshape(IDS, IDS, IDS))
    bound = chain.bound(parts["train"])
    assert bound < loss < 1.01 * bound
    assert found["ngram"][1] == pytest.approx(loss, abs=0.03)  # of 6,000 ids
    assert found["markov"][1] > bound + 0.8


@pytest.mark.parametrize("symbols", [2, 10, 300])
def test_independent_symbols_are_not_predicted(symbols: int) -> None:
    rng = np.random.default_rng(symbols)
    train, validation = (
        one_session(rng.integers(A, A + symbols, count)) for count in (20_000, 4_000)
    )
    order, loss = scored(corpus_of(train, validation, symbols))["ngram"]
    windows = past(validation, np.arange(4_000), np.arange(order, 0, -1))
    predicted = NGram(order).predict(Counts(train, A + symbols), windows)
    losses = -predicted[np.arange(4_000), validation.codes]
    assert loss == pytest.approx(losses.mean())
    assert loss >= math.log(symbols) - 3 * losses.std() / math.sqrt(4_000) - 1e-9


def test_scores_do_not_depend_on_the_sizes_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    _, parts = data_of(2)
    train, validation = one_session(parts["train"][:3000] + A), one_session(parts["test"][:500] + A)
    corpus = corpus_of(train, validation, IDS)
    whole = scored(corpus)["ngram"]
    monkeypatch.setattr("lstm_sweep.models.baselines.NGRAM_BLOCK", 700)
    monkeypatch.setattr("lstm_sweep.models.baselines.EXPECTED", 90)
    monkeypatch.setattr("lstm_sweep.models.baselines.BLOCK", 900)
    order, loss = scored(corpus)["ngram"]
    assert order == whole[0]
    assert loss == pytest.approx(whole[1], rel=1e-12)


@pytest.mark.parametrize("sessions", [[[A, B, A]], [[A], [B], [A, B], [B]]])
def test_sessions_may_be_shorter_than_the_order(sessions: list[list[int]]) -> None:
    split = split_of(sessions)
    order, loss = scored(corpus_of(split, split, 2))["ngram"]
    assert order in ORDERS and 0 < loss < math.log(4)
