"""N-gram models: the next symbol by how often each followed the last symbols, up to eight of them.

A model of order k mixes those of all lower orders by the method of Witten and Bell (1991; as in
Chen and Goodman 1999, section 2.5):

    P_k(c | h_k) = (n(h_k, c) + T(h_k) P_{k-1}(c | h_{k-1})) / (n(h_k) + T(h_k))

with h_k the last k symbols, n(h, c) how often c came after h, n(h) their sum, and T(h) how many
different symbols came after h. P_{-1} gives each code of the alphabet the same share. After symbols
that never came before, P_k is P_{k-1}. Contexts do not cross sessions; what comes before the first
symbol of a session is `<start>`, as in all windows.

Only what follows the contexts of the targets is counted, and of a large corpus only the last
`COUNTED` symbols.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.spool import let_go
from lstm_sweep.models.data.windows import Indices, before
from lstm_sweep.models.scoring import Floats

ORDERS = (2, 3, 4, 5, 6, 8)
#: training symbols that are counted, at most
COUNTED = 1 << 22
#: symbols that are counted at a time
COUNTED_BLOCK = 1 << 18
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
        if len(split) > COUNTED:
            split = split.part(len(split) - COUNTED, len(split))
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
        counts = [_table(shape) for shape in shapes]
        for begin in range(0, len(split), COUNTED_BLOCK):
            end = min(begin + COUNTED_BLOCK, len(split))
            for order, (numbers, codes) in enumerate(self._matches(split, begin, end)):
                counts[order] += _counted(numbers, codes, shapes[order])
            let_go(split.codes)
        return [sparse.csr_matrix(table) for table in counts]

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

    def cover(self, windows: NDArray[np.int32]) -> bool:
        """Whether it was counted for all these windows."""
        known = windows.shape[1] <= len(self._contexts)
        return known and bool((self.rows(windows) >= 0).all())


def _table(shape: tuple[int, int]) -> Any:
    """No counts yet: an array if it is small, which is faster, else a sparse one."""
    if math.prod(shape) <= DENSE:
        return np.zeros(shape, np.int64)
    return sparse.csr_matrix(shape, dtype=np.int32)


def _counted(rows: Indices, codes: NDArray[np.integer], shape: tuple[int, int]) -> Any:
    """How often each pair of a row and a code occurs, in an array or a sparse one as `_table`."""
    if math.prod(shape) <= DENSE:
        return np.bincount(rows * shape[1] + codes, minlength=math.prod(shape)).reshape(shape)
    return sparse.coo_matrix((np.ones(len(codes), np.int32), (rows, codes)), shape).tocsr()


def _find(contexts: Indices, keys: Indices) -> Indices:
    """Index of each key in rising contexts, -1 if it is not there."""
    found = np.minimum(np.searchsorted(contexts, keys), len(contexts) - 1)
    return np.where(contexts[found] == keys, found, -1)


class Counted(Protocol):
    """What followed the contexts of windows in training data."""

    size: int

    def followers(self, windows: NDArray[np.int32]) -> Followers:
        """Counts that cover these windows."""
        ...


@dataclass(frozen=True)
class NGram:
    """An n-gram model of order `window`: it knows that many symbols before the next one."""

    window: int

    def predict(self, counts: Counted, windows: NDArray[np.int32]) -> Floats:
        """Log-probabilities `[n, A]` of the symbols after `windows`, `<int32>[n, window]`."""
        followers = counts.followers(windows)
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


FAMILY = [NGram(order) for order in ORDERS]
