"""Baselines on the same targets as the networks: unigram, Markov chain, naive Bayes, n-gram.

The first three use additive smoothing. Its strength, the window of naive Bayes, and the order of
the n-gram model are chosen on the last tenth of the training data; then counts are taken from all
training data, of a large corpus from the last `COUNTED` symbols (`ngram.COUNTED` for the n-gram
model). Validation data are used for the score only.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.spool import Codes, blocks
from lstm_sweep.models.data.windows import (
    Indices,
    before,
    past,
    scoring_targets,
    scoring_windows,
)
from lstm_sweep.models.ngram import FAMILY, ORDERS, Followers, NGram
from lstm_sweep.models.scoring import Floats, log_softmax, score

SMOOTHING = (0.001, 0.01, 0.1, 1.0)
WINDOWS = (1, 2, 3, 5, 8)
#: number of targets on which smoothing and window are chosen
CHOICE_TARGETS = 2_000
#: training symbols that are counted, at most
COUNTED = 1 << 26
#: targets for which what follows their contexts is counted at a time
EXPECTED = 1 << 17
#: largest number of elements in one block of predictions, and of symbols that are counted
BLOCK, COUNTED_BLOCK = 1 << 22, 1 << 20
#: an alphabet with so few pairs has all of them counted in an array
DENSE = 1 << 18
#: the same with more pairs if there are as many symbols, up to so many
MOST_DENSE = 1 << 22


class Counts:
    """Counts of symbols, of pairs, and of what follows contexts in a split; made on first use."""

    def __init__(self, split: Split, alphabet_size: int) -> None:
        self.size = alphabet_size
        self._split = split
        self._pairs: dict[int, sparse.csr_matrix] = {}
        self._expected: NDArray[np.int32] | None = None
        self._followers: Followers | None = None

    @cached_property
    def totals(self) -> Floats:
        """Occurrences of each code, `<float64>[alphabet]`."""
        counts = (np.bincount(block, minlength=self.size) for block in blocks(self._split.codes))
        return np.asarray(sum(counts), float)

    def pairs(self, lag: int) -> sparse.csr_matrix:
        """How often code c follows code x at distance `lag` in a session, sparse `[x, c]`."""
        if lag not in self._pairs:
            few = self.size**2 <= max(DENSE, min(len(self._split), MOST_DENSE))
            self._pairs[lag] = self._dense_pairs(lag) if few else self._sparse_pairs(lag)
        return self._pairs[lag]

    def _dense_pairs(self, lag: int) -> sparse.csr_matrix:
        counts = np.zeros(self.size**2, np.int64)
        for first, second in self._blocks(lag):
            pairs = first.astype(np.int32) * self.size + second
            counts += np.bincount(pairs, minlength=len(counts))
        return sparse.csr_matrix(counts.reshape(self.size, self.size).astype(float))

    def _sparse_pairs(self, lag: int) -> sparse.csr_matrix:
        shape = (self.size, self.size)
        counts = sparse.csr_matrix(shape)
        for pair in self._blocks(lag):
            counts += sparse.coo_matrix((np.ones(len(pair[0])), pair), shape).tocsr()
        return counts

    def expect(self, windows: NDArray[np.int32]) -> None:
        """Say for which windows, `<int32>[n, order]`, `followers` will be asked, part by part."""
        self._expected = windows

    def followers(self, windows: NDArray[np.int32]) -> Followers:
        """What follows the contexts of `windows`, counted once for all windows of `expect`."""
        for asked in (self._expected, windows):
            if asked is not None and not (self._followers and self._followers.cover(windows)):
                self._followers = None  # no two of them at a time in memory
                self._followers = Followers(self._split, self.size, asked)
        assert self._followers is not None
        return self._followers

    def _blocks(self, lag: int) -> Iterator[tuple[Codes, Codes]]:
        """The codes `lag` before each position of the split, and those at it, block by block."""
        for begin in range(0, len(self._split), COUNTED_BLOCK):
            end = min(begin + COUNTED_BLOCK, len(self._split))
            yield before(self._split, begin, end, lag), self._split.codes[begin:end]


@dataclass(frozen=True)
class NaiveBayes:
    """Naive Bayes over the last `window` symbols, taken as independent given the next one.

    log P(c | x) = log P(c) + sum over lags i of log P(x_i | c) + constant,
    with P(c) = (n_c + a) / (N + aA) and P(x_i | c) = (n_ic + a) / (n_c + aA)
    for smoothing a and an alphabet of A codes. A window of 0 is the unigram model.
    """

    window: int
    smoothing: float

    def predict(self, counts: Counts, windows: NDArray[np.int32]) -> Floats:
        """Log-probabilities `[n, A]` of the symbols after `windows`, `<int32>[n, window]`."""
        size, a, totals = counts.size, self.smoothing, counts.totals
        prior = np.log(totals + a) - np.log(totals.sum() + a * size)
        joint = np.tile(prior, (len(windows), 1))
        for lag in range(1, self.window + 1):
            seen = counts.pairs(lag)[windows[:, -lag]].toarray()
            joint += np.log(seen + a) - np.log(totals + a * size)
        return log_softmax(joint)


@dataclass(frozen=True)
class MarkovChain:
    """First order: P(c | x) = (n_xc + aA P(c)) / (n_x + aA), smoothed towards the unigram model."""

    smoothing: float
    window: int = 1

    def predict(self, counts: Counts, windows: NDArray[np.int32]) -> Floats:
        """Log-probabilities `[n, A]` of the symbols after `windows`, `<int32>[n, 1]`."""
        strength, totals = self.smoothing * counts.size, counts.totals
        prior = (totals + self.smoothing) / (totals.sum() + strength)
        seen = counts.pairs(1)[windows[:, -1]].toarray()
        mixed = (seen + strength * prior) / (seen.sum(axis=1, keepdims=True) + strength)
        return np.asarray(np.log(mixed))


Baseline = NaiveBayes | MarkovChain | NGram


@dataclass(frozen=True)
class BaselineScore:
    """The best member of a family of baselines, and its score."""

    name: str
    model: Baseline
    #: `loss` in nats, `accuracy`, `top5_accuracy`
    metrics: dict[str, float]


FAMILIES: dict[str, list[Baseline]] = {
    "unigram": [NaiveBayes(0, smoothing) for smoothing in SMOOTHING],
    "markov": [MarkovChain(smoothing) for smoothing in SMOOTHING],
    "naive_bayes": [NaiveBayes(window, smoothing) for window in WINDOWS for smoothing in SMOOTHING],
    "ngram": [*FAMILY],
}


def score_all(corpus: Corpus, targets: Indices, known: Container[str] = ()) -> list[BaselineScore]:
    """Score each family's best member on `targets` of the validation split.

    Families with a name in `known` are left out.
    """
    choice = _Choice(corpus)
    counts = Counts(choice.train, len(corpus.alphabet))
    scores = []
    for name in FAMILIES:
        if name not in known:
            best = choice.best(name)
            metrics = _score(best, counts, corpus.validation, targets)
            scores.append(BaselineScore(name, best, metrics))
    return scores


def best_order(corpus: Corpus) -> int:
    """By how many symbols before the next one an n-gram model predicts that best."""
    return _Choice(corpus).best("ngram").window


class _Choice:
    """Chooses members of families on the last tenth of the training data."""

    def __init__(self, corpus: Corpus) -> None:
        train = corpus.train
        #: what is counted of the training data
        self.train = train.part(max(0, len(train) - COUNTED), len(train))
        cut = max(1, len(self.train) * 9 // 10)
        self._counts = Counts(self.train.part(0, cut), len(corpus.alphabet))
        self._held = self.train.part(cut, len(self.train))
        self._targets = scoring_targets(self._held, CHOICE_TARGETS, seed=0)

    def best(self, family: str) -> Baseline:
        """The member of a family with the lowest loss."""
        return min(FAMILIES[family], key=self._loss)

    def _loss(self, model: Baseline) -> float:
        return _score(model, self._counts, self._held, self._targets)["loss"]


def _score(model: Baseline, counts: Counts, split: Split, targets: Indices) -> dict[str, float]:
    return score(_predictions(model, counts, split, targets))


def _predictions(
    model: Baseline, counts: Counts, split: Split, targets: Indices
) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Log-probabilities `[n, A]` and true codes `<int32>[n]` of the targets, block by block."""
    elements = BLOCK // 4 if isinstance(model, NGram) else BLOCK  # what it makes them of counts too
    rows = max(1, elements // counts.size)
    for begin in range(0, len(targets), EXPECTED):
        part = targets[begin : begin + EXPECTED]
        if isinstance(model, NGram):
            counts.expect(past(split, part, np.arange(max(ORDERS), 0, -1)))
        for windows, true in scoring_windows(split, part, max(1, model.window), rows):
            yield model.predict(counts, windows), true
