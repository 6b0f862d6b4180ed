"""Baselines on the same targets as the networks: unigram, Markov chain, naive Bayes.

All use additive smoothing. Its strength, and the window of naive Bayes, are chosen on the last
tenth of the training data; then counts are taken from all training data, of a large corpus from the
last `COUNTED` symbols. Validation data are used for the score only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.spool import Codes, blocks
from lstm_sweep.models.data.windows import Indices, scoring_targets, scoring_windows
from lstm_sweep.models.scoring import Floats, log_softmax, score

SMOOTHING = (0.001, 0.01, 0.1, 1.0)
WINDOWS = (1, 2, 3, 5, 8)
#: number of targets on which smoothing and window are chosen
CHOICE_TARGETS = 2_000
#: training symbols that are counted, at most
COUNTED = 1 << 26
#: largest number of elements in one block of predictions, and of symbols that are counted
BLOCK, COUNTED_BLOCK = 1 << 22, 1 << 20
#: an alphabet with so few pairs has all of them counted in an array
DENSE = 1 << 18
#: the same with more pairs if there are as many symbols, up to so many
MOST_DENSE = 1 << 22


class Counts:
    """Counts of symbols and pairs of symbols in a split; computed on first use."""

    def __init__(self, split: Split, alphabet_size: int) -> None:
        self.size = alphabet_size
        self._split = split
        self._pairs: dict[int, sparse.csr_matrix] = {}

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
        for before, after in self._blocks(lag):
            pairs = before.astype(np.int32) * self.size + after
            counts += np.bincount(pairs, minlength=len(counts))
        return sparse.csr_matrix(counts.reshape(self.size, self.size).astype(float))

    def _sparse_pairs(self, lag: int) -> sparse.csr_matrix:
        shape = (self.size, self.size)
        counts = sparse.csr_matrix(shape)
        for pair in self._blocks(lag):
            counts += sparse.coo_matrix((np.ones(len(pair[0])), pair), shape).tocsr()
        return counts

    def _blocks(self, lag: int) -> Iterator[tuple[Codes, Codes]]:
        """The codes `lag` before each position of the split, and those at it, block by block."""
        for begin in range(0, len(self._split), COUNTED_BLOCK):
            end = min(begin + COUNTED_BLOCK, len(self._split))
            yield _before(self._split, begin, end, lag), self._split.codes[begin:end]


def _before(split: Split, begin: int, end: int, lag: int) -> Codes:
    """Codes that precede the positions from `begin` to `end` by `lag`, as `windows.past` has them.

    It is several times as fast.
    """
    before = np.full(end - begin, START, split.codes.dtype)
    known = max(begin, lag)
    before[known - begin :] = split.codes[known - lag : max(end, known) - lag]
    first, last = np.searchsorted(split.starts, (begin - lag, end - 1), side="right")
    for step in range(lag):
        places = split.starts[first:last] + step - begin
        before[places[(places >= 0) & (places < len(before))]] = START
    return before


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


Baseline = NaiveBayes | MarkovChain


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
}


def score_all(corpus: Corpus, targets: Indices) -> list[BaselineScore]:
    """Score each family's best member on `targets` of the validation split."""
    size, train = len(corpus.alphabet), corpus.train
    if len(train) > COUNTED:
        train = train.part(len(train) - COUNTED, len(train))
    cut = max(1, len(train) * 9 // 10)
    known, held = Counts(train.part(0, cut), size), train.part(cut, len(train))
    choice = scoring_targets(held, CHOICE_TARGETS, seed=0)
    counts = Counts(train, size)
    scores = []
    for name, family in FAMILIES.items():
        best = min(family, key=lambda model: _score(model, known, held, choice)["loss"])
        scores.append(BaselineScore(name, best, _score(best, counts, corpus.validation, targets)))
    return scores


def _score(model: Baseline, counts: Counts, split: Split, targets: Indices) -> dict[str, float]:
    parts = scoring_windows(split, targets, max(1, model.window), max(1, BLOCK // counts.size))
    return score((model.predict(counts, windows), true) for windows, true in parts)
