"""Baselines on the same targets as the networks: unigram, Markov chain, naive Bayes, n-gram.

The first three use additive smoothing. Its strength, the window of naive Bayes, and the order of
the n-gram model are chosen on the last tenth of the training data; then counts are taken from all
training data, of a large corpus from the last `COUNTED` symbols (`NGRAM_COUNTED` for the n-gram
model). Validation data are used for the score only.

N-gram models tell the next symbol by how often each followed the last symbols, up to eight of them.
A model of order k mixes those of all lower orders by the method of Witten and Bell (1991; as in
Chen and Goodman 1999, section 2.5):

    P_k(c | h_k) = (n(h_k, c) + T(h_k) P_{k-1}(c | h_{k-1})) / (n(h_k) + T(h_k))

with h_k the last k symbols, n(h, c) how often c came after h, n(h) their sum, and T(h) how many
different symbols came after h. P_{-1} gives each code of the alphabet the same share. After symbols
that never came before, P_k is P_{k-1}. Contexts do not cross sessions; what comes before the first
symbol of a session is `<start>`, as in all windows.

Only what follows the contexts of the targets is counted, and of a large corpus only the last
`COUNTED` symbols.

The baselines of sequences with classes know which n-grams of symbols a sequence has.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lstm_sweep.models import classes
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.labelled import LabelledCorpus, LabelledSplit
from lstm_sweep.models.data.spool import Codes, blocks, let_go
from lstm_sweep.models.data.windows import Indices, before, past, scoring_targets, scoring_windows
from lstm_sweep.models.scoring import Floats, log_softmax, score

ORDERS = (2, 3, 4, 5, 6, 8)
#: training symbols that are counted, at most
NGRAM_COUNTED = 1 << 22
#: symbols that are counted at a time
NGRAM_BLOCK = 1 << 18
#: contexts with so few elements in all are counted in an array
DENSE = 1 << 18


class Followers:
    """How often each code of a split followed the last symbols of given windows.

    The contexts of each order are numbered. A context is the number of its last symbols, which are
    a context of the order below, and one more symbol before them; so nothing but numbers is
    compared, and no two contexts are taken for the same one.
    """

    def __init__(self, split: Split, alphabet_size: int, windows: NDArray[np.int32]) -> None:
        """Count for `windows`, `<int32>[n, order]` with n above 0, at all orders up to theirs."""
        self._size = alphabet_size
        #: of each order from 1 on, the contexts in rising order, by which they are numbered
        self._contexts: list[Indices] = []
        numbers = np.zeros(len(windows), np.int64)
        for lag in range(1, windows.shape[1] + 1):
            contexts, numbers = np.unique(
                self._keys(numbers, windows[:, -lag]), return_inverse=True
            )
            self._contexts.append(contexts)
        if len(split) > NGRAM_COUNTED:
            split = split.part(len(split) - NGRAM_COUNTED, len(split))
        counts = self._count(split)
        #: of each order from 0 on, the row of its first context
        self._firsts = np.cumsum([0, *(table.shape[0] for table in counts[:-1])])
        #: how often each code followed each context, `[contexts, c]`, all orders below one another
        self.counts = sparse.vstack(counts, "csr", float)
        #: how many symbols, and how many different ones, followed each context, `<float64>`
        self.totals = np.asarray(self.counts.sum(axis=1))[:, 0]
        self.kinds = np.diff(self.counts.indptr).astype(float)

    def _keys(self, numbers: Indices, codes: NDArray[np.integer]) -> Indices:
        """Contexts as the numbers of those an order below, and the codes before them."""
        return numbers * self._size + codes

    def _count(self, split: Split) -> list[sparse.csr_matrix]:
        """Of each order from 0 on, how often each code followed each context, `[contexts, c]`."""
        shapes = [(rows, self._size) for rows in (1, *map(len, self._contexts))]
        counts = [_Tally(shape, dense=math.prod(shape) <= DENSE) for shape in shapes]
        for begin in range(0, len(split), NGRAM_BLOCK):
            end = min(begin + NGRAM_BLOCK, len(split))
            for order, (numbers, codes) in enumerate(self._matches(split, begin, end)):
                counts[order].add(numbers, codes)
            let_go(split.codes)
        return [tally.table() for tally in counts]

    def _matches(
        self, split: Split, begin: int, end: int
    ) -> Iterator[tuple[Indices, NDArray[np.unsignedinteger]]]:
        """Of each order from 0 on, the contexts that occur in a block, and what follows them."""
        codes = split.codes[begin:end]
        places, numbers = np.arange(len(codes)), np.zeros(len(codes), np.int64)
        yield numbers, codes
        for lag, contexts in enumerate(self._contexts, start=1):
            found = _find(contexts, self._keys(numbers, before(split, begin, end, lag)[places]))
            places, numbers = places[found >= 0], found[found >= 0]
            yield numbers, codes[places]

    def rows(self, windows: NDArray[np.int32]) -> Indices:
        """Rows of the contexts of windows `[n, order]` in `counts`, by order from 0 on.

        They are `<int64>[n, order + 1]`. A context that is not one of the given windows has -1.
        """
        numbers = np.zeros(len(windows), np.int64)
        rows = [numbers]
        for lag in range(1, windows.shape[1] + 1):
            # the keys of what was not found are below 0, so they are not found either
            numbers = _find(self._contexts[lag - 1], self._keys(numbers, windows[:, -lag]))
            rows.append(np.where(numbers >= 0, numbers + self._firsts[lag], -1))
        return np.stack(rows, axis=1)


class _Tally:
    """How often each pair of a row and a code occurs, in an array or, if large, in a sparse one."""

    def __init__(self, shape: tuple[int, int], *, dense: bool) -> None:
        self._shape, self._dense = shape, dense
        size = math.prod(shape)
        self._counts: Any = (
            np.zeros(size, np.int64) if dense else sparse.csr_matrix(shape, dtype=np.int32)
        )

    def add(self, rows: NDArray[np.integer], codes: NDArray[np.integer]) -> None:
        if self._dense:
            pairs = rows.astype(np.int32) * self._shape[1] + codes
            self._counts += np.bincount(pairs, minlength=len(self._counts))
        else:
            ones = np.ones(len(codes), np.int32)
            self._counts += sparse.coo_matrix((ones, (rows, codes)), self._shape).tocsr()

    def table(self) -> sparse.csr_matrix:
        counts = self._counts.reshape(self._shape) if self._dense else self._counts
        return sparse.csr_matrix(counts, dtype=float)


def _find(contexts: Indices, keys: Indices) -> Indices:
    """Index of each key in rising contexts, -1 if it is not there."""
    found = np.minimum(np.searchsorted(contexts, keys), len(contexts) - 1)
    return np.where(contexts[found] == keys, found, -1)


@dataclass(frozen=True)
class NGram:
    """An n-gram model of order `window`: it knows that many symbols before the next one."""

    window: int

    def predict(self, counts: Counts, windows: NDArray[np.int32]) -> Floats:
        """Log-probabilities `[n, A]` of the symbols after `windows`, `<int32>[n, window]`.

        What follows their contexts has been counted (`Counts.follow`).
        """
        followers = counts.followers
        rows = followers.rows(windows)
        total, kinds = followers.totals[rows], followers.kinds[rows]
        divisor = np.maximum(total + kinds, 1)
        # what the orders from k on leave to those below them, `[n, k]`
        left = np.where(total > 0, kinds / divisor, 1.0)[:, ::-1].cumprod(axis=1)[:, ::-1]
        above = np.append(left[:, 1:], np.ones((len(left), 1)), axis=1)
        begins = np.arange(0, rows.size + 1, rows.shape[1])
        shape = (len(rows), followers.counts.shape[0])
        mix = sparse.csr_matrix(((above / divisor).ravel(), rows.ravel(), begins), shape)
        mixed = (mix @ followers.counts).toarray()
        mixed += left[:, :1] / counts.size
        return np.asarray(np.log(mixed, out=mixed))


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
#: the same with more pairs if there are as many symbols, up to so many
MOST_DENSE = 1 << 22


class Counts:
    """Counts of symbols, of pairs, and of what follows contexts in a split; made on first use."""

    def __init__(self, split: Split, alphabet_size: int) -> None:
        self.size = alphabet_size
        self._split = split
        self._pairs: dict[int, sparse.csr_matrix] = {}
        self._followed: NDArray[np.int32] | None = None
        self.followers: Followers

    @cached_property
    def totals(self) -> Floats:
        """Occurrences of each code, `<float64>[alphabet]`."""
        counts = (np.bincount(block, minlength=self.size) for block in blocks(self._split.codes))
        return np.asarray(sum(counts), float)

    def pairs(self, lag: int) -> sparse.csr_matrix:
        """How often code c follows code x at distance `lag` in a session, sparse `[x, c]`."""
        if lag not in self._pairs:
            few = self.size**2 <= max(DENSE, min(len(self._split), MOST_DENSE))
            tally = _Tally((self.size, self.size), dense=few)
            for first, second in self._blocks(lag):
                tally.add(first, second)
            self._pairs[lag] = tally.table()
        return self._pairs[lag]

    def follow(self, windows: NDArray[np.int32]) -> None:
        """Count what follows the contexts of windows, `<int32>[n, order]`, into `followers`."""
        if self._followed is None or not np.array_equal(self._followed, windows):
            vars(self).pop("followers", None)  # no two of them at a time in memory
            self.followers, self._followed = Followers(self._split, self.size, windows), windows

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
    #: a member of a family of `FAMILIES`, or one that tells classes
    model: Any
    #: `loss` in nats, `accuracy`, and `top5_accuracy` or, of classes, `macro_f1`
    metrics: dict[str, float]
    #: of classes: log-probabilities of all validation sequences, `<float32>[sequences, classes]`
    logits: NDArray[np.float32] | None = None


FAMILIES: dict[str, list[Baseline]] = {
    "unigram": [NaiveBayes(0, smoothing) for smoothing in SMOOTHING],
    "markov": [MarkovChain(smoothing) for smoothing in SMOOTHING],
    "naive_bayes": [NaiveBayes(window, smoothing) for window in WINDOWS for smoothing in SMOOTHING],
    "ngram": [NGram(order) for order in ORDERS],
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
        return min(
            FAMILIES[family],
            key=lambda one: _score(one, self._counts, self._held, self._targets)["loss"],
        )


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
            counts.follow(past(split, part, np.arange(max(ORDERS), 0, -1)))
        for windows, true in scoring_windows(split, part, max(1, model.window), rows):
            yield model.predict(counts, windows), true


# --- sequences with classes -----------------------------------------------------------------------

#: n-grams that are counted at most, of each sequence from its head; buckets that they are hashed to
MOST_GRAMS, BUCKETS = 1 << 25, 1 << 22
#: weights of a model, at most: features times classes
MOST_WEIGHTS = 1 << 19
#: sequences of the training data that members of families are chosen on, and fitted to for it
HELD, FITTED = 2_000, 5_000
#: the longest n-grams, of characters and of other symbols
CHARACTERS, WORDS = (1, 3, 5), (1, 2, 3)
STRENGTHS = (10.0, 100.0)


@dataclass(frozen=True)
class Majority:
    """Each class has its share of the training sequences, with additive smoothing."""

    smoothing: float = 1.0


@dataclass(frozen=True)
class ClassNaiveBayes:
    """Multinomial naive Bayes on n-grams of up to `window` symbols, `binary`: whether they occur.

    Its probabilities, which are too sure since n-grams depend on each other, are tempered.
    """

    window: int
    smoothing: float
    binary: bool
    temperature: float = 1.0


@dataclass(frozen=True)
class ClassLogistic:
    """Logistic regression on n-grams of up to `window` symbols (tf-idf); `strength` is C."""

    window: int
    strength: float


ClassBaseline = Majority | ClassNaiveBayes | ClassLogistic
Member = TypeVar("Member", ClassNaiveBayes, ClassLogistic)


def score_baselines(corpus: LabelledCorpus) -> list[BaselineScore]:
    """Score each family's best member on the validation sequences.

    Members are chosen on a part of the training data.
    """
    labels = corpus.validation.labels
    counts = np.bincount(corpus.train.labels, minlength=len(corpus.classes))
    found = list[BaselineScore]()

    def add(name: str, model: ClassBaseline, logits: NDArray[np.floating]) -> None:
        metrics = classes.score(logits, labels)
        found.append(BaselineScore(name, model, metrics, logits.astype(np.float32)))

    first, second, third = classes.BASELINES
    majority = Majority()
    shares = np.log((counts + majority.smoothing) / (counts + majority.smoothing).sum())
    add(first, majority, np.tile(shares, (len(labels), 1)))
    fitting = _Fitting(corpus)
    bayes = fitting.bayes()
    add(second, *fitting.best_of(bayes))
    add(third, *fitting.best_of(fitting.logistic(bayes.window)))
    return found


class _Fitting:
    """Chooses members of families, and fits them, on n-grams of a corpus."""

    def __init__(self, corpus: LabelledCorpus) -> None:
        self._corpus, self._grams = corpus, dict[int, tuple[Any, Any]]()
        labels, rng = corpus.train.labels, np.random.default_rng(0)
        order = rng.permutation(len(labels))
        held = min(HELD, max(1, len(labels) // 10))
        #: places of the training sequences that members are chosen on, and fitted to for that
        self._held, self._part = order[:held], order[held : held + FITTED]

    def bayes(self) -> ClassNaiveBayes:
        windows = CHARACTERS if self._corpus.alphabet.kind == "chars" else WORDS
        members = [
            ClassNaiveBayes(window, smoothing, binary)
            for window in windows
            for smoothing in (0.01, 0.1, 1.0)
            for binary in (False, True)
        ]
        return self._best(members)

    def logistic(self, window: int) -> ClassLogistic:
        return self._best([ClassLogistic(window, strength) for strength in STRENGTHS])

    def _best(self, members: list[Member]) -> Member:
        labels = self._corpus.train.labels
        chosen = list[tuple[float, Member]]()
        if not len(self._part):
            return members[0]
        for one in members:
            grams, _ = self._features(one.window)
            logits = _fitted(
                one, grams[self._part], labels[self._part], grams[self._held], self._classes
            )
            if isinstance(one, ClassNaiveBayes):
                heat = classes.temperature_of(logits, labels[self._held])
                one, logits = replace(one, temperature=heat), logits / heat  # type: ignore[call-arg]
            chosen.append((classes.score(logits, labels[self._held])["loss"], one))
        return min(chosen, key=lambda pair: pair[0])[1]

    def best_of(self, model: Member) -> tuple[Member, Floats]:
        """A model, and its log-probabilities of the validation sequences."""
        train, validation = self._features(model.window)
        logits = _fitted(model, train, self._corpus.train.labels, validation, self._classes)
        return model, log_softmax(logits / getattr(model, "temperature", 1.0))

    @property
    def _classes(self) -> int:
        return len(self._corpus.classes)

    def _features(self, window: int) -> tuple[Any, Any]:
        """Counts of n-grams in the training and the validation sequences."""
        if window not in self._grams:
            self._grams.clear()  # no two of them at a time in memory
            parts = self._corpus.train, self._corpus.validation
            train, validation = (_grams(part, window) for part in parts)
            often = np.bincount(train.indices, minlength=BUCKETS)
            most = max(1, MOST_WEIGHTS // self._classes)
            kept = np.argsort(-often, kind="stable")[: min(most, int((often > 1).sum()) or most)]
            self._grams[window] = train[:, kept], validation[:, kept]
        return self._grams[window]


def _grams(split: LabelledSplit, window: int) -> sparse.csr_matrix:
    """How often each n-gram of up to `window` symbols is in a sequence, by its hash."""
    sequences, lengths = split.sequences, split.sequences.session_lengths
    longest = max(1, MOST_GRAMS // window // len(lengths))
    if lengths.sum() * window <= MOST_GRAMS:
        longest = int(lengths.max())
    tables, each = [], max(1, NGRAM_BLOCK // min(longest, int(lengths.max())))
    for first in range(0, len(lengths), each):
        last = min(first + each, len(lengths))
        begin = int(sequences.starts[first])
        end = begin + int(lengths[first:last].sum())
        places = np.arange(begin, end)
        row = np.repeat(np.arange(last - first), lengths[first:last])
        place = places - sequences.starts[first:last][row]
        codes, row = (
            sequences.codes[begin:end][place < longest].astype(np.uint64),
            row[place < longest],
        )
        rows, keys = [row], [_mixed(codes, 1)]
        hashed = codes
        for order in range(2, window + 1):
            hashed = hashed[:-1] * np.uint64(0x9E3779B97F4A7C15) + codes[order - 1 :] + np.uint64(1)
            within = row[order - 1 :] == row[: len(row) - order + 1]
            rows.append(row[order - 1 :][within])
            keys.append(_mixed(hashed[within], order))
        pair = np.concatenate(rows), np.concatenate(keys)
        ones = np.ones(len(pair[0]), np.float32)
        tables.append(sparse.coo_matrix((ones, pair), (last - first, BUCKETS)).tocsr())
    return sparse.vstack(tables, "csr")


def _mixed(hashed: NDArray[np.uint64], order: int) -> NDArray[np.int32]:
    """Buckets of hashes of n-grams of an order (the finalizer of MurmurHash3)."""
    hashed = hashed + np.uint64(order << 56)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashed = (hashed ^ (hashed >> np.uint64(33))) * np.uint64(factor)
    return ((hashed ^ (hashed >> np.uint64(33))) % np.uint64(BUCKETS)).astype(np.int32)


def _fitted(model: ClassBaseline, grams: Any, labels: Any, others: Any, count: int) -> Floats:
    """Log-probabilities of the classes of `others`, `[n, count]`, after a fit to `grams`."""
    shares = np.log(np.bincount(labels, minlength=count) + 1.0) - np.log(len(labels) + count)
    if isinstance(model, ClassNaiveBayes):
        if model.binary:
            grams, others = grams > 0, others > 0
        hot = sparse.csr_matrix(
            (np.ones(len(labels)), (labels, np.arange(len(labels)))), (count, len(labels))
        )
        sums = (hot @ grams).toarray() + model.smoothing
        weights = np.log(sums) - np.log(sums.sum(axis=1, keepdims=True))
        return log_softmax(others @ weights.T + shares)
    if not isinstance(model, ClassLogistic) or len(np.unique(labels)) < 2:
        return np.tile(shares, (others.shape[0], 1))
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    weighing = TfidfTransformer(sublinear_tf=True).fit(grams)
    fit = LogisticRegression(C=model.strength, max_iter=50, tol=1e-3)
    # to share its small steps among threads costs many times what it gains where cores are busy
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what has not converged is scored as it is
        fit.fit(weighing.transform(grams), labels)
    # a class that none of these sequences has keeps a share
    logits = np.tile(shares, (others.shape[0], 1))
    logits[:, fit.classes_] = fit.predict_log_proba(weighing.transform(others))
    return log_softmax(logits)
