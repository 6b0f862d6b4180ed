"""What normal sessions are like, and scores of how far a session is from that.

No score finds everything: the highest surprise has an AUC of 0.999 on block sessions of HDFS and of
0.5 on long traces of system calls, where the mean has 0.83; counts and lengths find what no order
says. So a session has all of them (`SCORES`), and `models.conformal` weighs them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from lstm_sweep.models.conformal import Floats, Indices, combined_p_values, p_values
from lstm_sweep.models.data.alphabet import END, START, UNKNOWN
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.spool import Codes
from lstm_sweep.models.errors import InputError

#: scores of a session, in the order of their columns: the highest surprise of a symbol and that of
#: its end, both at least `EXPECTED`, and the mean surprise (nats); the share of unknown symbols;
#: how far its length is from that of a training session (difference of logarithms); how far its
#: counts of symbols are from those of one (0 to 1); and the share of its pairs of neighbours, head
#: and end included, that no training session has
SCORES = ("surprise", "end", "mean", "unknown", "length", "counts", "pairs")
#: how many of them a verdict is made of: pairs are a rule to compare it with
OF_VERDICT = 6
#: rules that the verdict is compared with, and the scores that each is made of
RULES = {
    "network": ("surprise", "end", "mean"),
    "new symbol": ("unknown",),
    "length": ("length",),
    "counts": ("counts",),
    "new pair": ("pairs",),
}
#: what is likelier than not surprises nobody: nats of a probability of a half
EXPECTED = math.log(2)
#: different counts of symbols that are kept, the most frequent first, and numbers in all of them
MOST_COUNTS, MOST_NUMBERS = 5_000, 1 << 22
#: sessions whose counts are compared with all that are kept at a time
ROWS = 256
#: sessions and symbols of calibration, at most
MOST_SESSIONS, MOST_SYMBOLS = 10_000, 1 << 18

#: codes and how often a session has each, ascending by codes
Count = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Normality:
    """What training sessions are like."""

    #: size of the alphabet, with reserved codes
    alphabet: int
    #: different numbers of symbols, ascending, `<int64>[n]`
    lengths: Indices
    #: different counts of symbols
    counts: tuple[Count, ...]
    #: pairs of codes that follow each other, `first * alphabet + second`, ascending, `<int64>[n]`;
    #: `<start>` is before the first symbol and after the last one
    pairs: Indices

    @classmethod
    def of(cls, sessions: Iterable[Indices], alphabet: int) -> Self:
        """What sessions are like, each without its end."""
        lengths, pairs, counts = set[int](), set[int](), Counter[Count]()
        for codes in sessions:
            lengths.add(len(codes))
            counts[_count(codes)] += 1
            pairs.update(np.unique(_pairs(codes, alphabet)).tolist())
        most = min(MOST_COUNTS, max(1, MOST_NUMBERS // alphabet))
        return cls(
            alphabet,
            np.array(sorted(lengths), np.int64),
            tuple(one for one, _ in counts.most_common(most)),
            np.array(sorted(pairs), np.int64),
        )

    def scores(self, split: Split, surprise: Floats, *, ends: bool) -> Floats:
        """Scores of the sessions of a split, `<float64>[sessions, SCORES]`.

        `surprise` are negative log-probabilities of its symbols, nats, `<float64>[symbols]`; with
        `ends` the last one of each session is its end.
        """
        sessions = sessions_of(split, ends=ends)
        nats = np.split(surprise, split.starts[1:])
        counts = [_count(codes) for codes in sessions]
        columns: dict[str, Iterable[float]] = {
            "surprise": (one[: len(one) - ends].max(initial=EXPECTED) for one in nats),
            "end": (max(EXPECTED, one[-1]) if ends else EXPECTED for one in nats),
            "mean": (one.mean() for one in nats),
            "unknown": ((codes == UNKNOWN).mean() if len(codes) else 0.0 for codes in sessions),
            "length": self._far_in_length(np.array([len(codes) for codes in sessions])),
            "counts": self._nearest_count(counts)[0],
            "pairs": (self._new_pairs(codes) for codes in sessions),
        }
        return np.array([[*columns[name]] for name in SCORES], float).T

    def _far_in_length(self, lengths: Indices) -> Floats:
        place = np.searchsorted(self.lengths, lengths)
        around = np.stack([place - 1, place]).clip(0, len(self.lengths) - 1)
        far = np.log1p(self.lengths[around]) - np.log1p(lengths)
        return np.asarray(np.abs(far).min(axis=0))

    def _nearest_count(self, sessions: Sequence[Count]) -> tuple[Floats, Indices]:
        """How far counts are from the nearest ones of a training session, and which these are.

        It is the share of the symbols of both that only one of them has (Bray and Curtis 1957), as
        in the count vectors of Landauer et al., arXiv 2309.02854.
        """
        from scipy.spatial.distance import cdist

        found = {one: (0.0, number) for number, one in enumerate(self.counts)}
        new = [one for one in dict.fromkeys(sessions) if one not in found]
        known = self._dense(self.counts) if new else None
        for begin in range(0, len(new), ROWS):
            block = new[begin : begin + ROWS]
            far = cdist(self._dense(block), known, "braycurtis")
            nearest = far.argmin(axis=1).tolist()
            pairs = zip(far.min(axis=1).tolist(), nearest, strict=True)
            found.update(zip(block, pairs, strict=True))
        distances, numbers = zip(*(found[one] for one in sessions), strict=True)
        return np.array(distances), np.array(numbers, np.int64)

    def _dense(self, counts: Sequence[Count]) -> Floats:
        rows = np.zeros((len(counts), self.alphabet))
        for row, one in zip(rows, counts, strict=True):
            for code, times in one:
                row[code] = times
        return rows

    def _new_pairs(self, codes: Indices) -> float:
        pairs = _pairs(codes, self.alphabet)
        place = np.searchsorted(self.pairs, pairs).clip(0, len(self.pairs) - 1)
        return float((self.pairs[place] != pairs).mean())

    def odd_count(self, codes: Indices) -> tuple[int, int, int]:
        """The code whose count is furthest from that of the nearest training session.

        Returns:
            The code, how often the session has it, and how often that one does.
        """
        count = _count(codes)
        [number] = self._nearest_count([count])[1]
        has, usual = dict(count), dict(self.counts[number])
        code = max(
            sorted(has.keys() | usual.keys()), key=lambda c: abs(has.get(c, 0) - usual.get(c, 0))
        )
        return code, has.get(code, 0), usual.get(code, 0)


@dataclass(frozen=True)
class Calibration:
    """Scores of normal sessions that a network was not trained on, to weigh those of new ones."""

    normal: Normality
    #: `<float64>[sessions, SCORES]`
    scores: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def judge(self, scores: Floats, *, whole: bool) -> tuple[Floats, list[str]]:
        """P-values of sessions, `[m, SCORES]` to `[m]`, and the score that each is oddest by.

        Of sessions that may go on, which are not `whole`, it is the highest surprise, which does
        not fall when more symbols come.
        """
        used = slice(0, OF_VERDICT if whole else 1)
        p, oddest = combined_p_values(self.scores[:, used], scores[:, used])
        return p, [SCORES[number] for number in oddest]

    def by_rule(self, scores: Floats) -> dict[str, Floats]:
        """P-values of whole sessions by each of `RULES`."""
        found = {}
        for rule, names in RULES.items():
            used = [SCORES.index(name) for name in names]
            if len(used) == 1:
                found[rule] = p_values(self.scores[:, used[0]], scores[:, used[0]])
            else:
                found[rule], _ = combined_p_values(self.scores[:, used], scores[:, used])
        return found

    def with_more(self, scores: Floats) -> Self:
        """The same with further normal sessions."""
        return type(self)(self.normal, np.concatenate([self.scores, scores]))

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        normal = self.normal
        return {
            "lengths": normal.lengths.tolist(),
            "counts": [[number for pair in one for number in pair] for one in normal.counts],
            "pairs": normal.pairs.tolist(),
            "scores": {
                name: column.tolist() for name, column in zip(SCORES, self.scores.T, strict=True)
            },
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], alphabet: int) -> Self:
        """Make one for an alphabet of this size, with reserved codes, from a result of `to_dict`.

        Raises:
            InputError: `values` cannot be a result of `to_dict`.
        """
        scores, counts = values.get("scores"), values.get("counts")
        lengths, pairs = (_rising(values.get(name), name) for name in ("lengths", "pairs"))
        if not isinstance(counts, list) or not 0 < len(counts) <= MOST_COUNTS:
            raise InputError(f"counts: expected 1 to {MOST_COUNTS:,} lists")
        read = []
        for one in counts:
            whole = isinstance(one, list) and all(type(number) is int for number in one)
            if not whole or len(one) % 2 or not all(0 <= code < alphabet for code in one[::2]):
                raise InputError(f"counts: expected pairs of a code below {alphabet} and a count")
            read.append(tuple(zip(one[::2], one[1::2], strict=True)))
        try:
            columns = np.array([dict(scores or {})[name] for name in SCORES], np.float64).T
        except (TypeError, KeyError, ValueError, OverflowError):
            columns = np.empty(0)
        if columns.ndim != 2 or not np.isfinite(columns).all():
            raise InputError(
                f"scores: expected equally many numbers of each of {', '.join(SCORES)}"
            )
        return cls(Normality(alphabet, lengths, tuple(read), pairs), columns)


def _rising(values: Any, name: str) -> Indices:
    if not isinstance(values, list) or not all(type(one) is int and one >= 0 for one in values):
        raise InputError(f"{name}: expected a list of whole numbers from 0")
    read = np.array(values, np.int64)
    if not len(read) or (np.diff(read) <= 0).any():
        raise InputError(f"{name}: expected some whole numbers in rising order")
    return read


def held_out(corpus: Corpus) -> Split:
    """Normal sessions to calibrate on: those of the validation and the test split.

    Of many it is some, evenly drawn. A session that a boundary between splits has cut is left out.
    """
    codes: list[Codes] = []
    starts, before = [], corpus.train
    for split in (corpus.validation, corpus.test):
        is_cut = corpus.alphabet.ends and before.codes[-1] != END
        begin = int(split.starts[1]) if is_cut and len(split.starts) > 1 else 0
        starts.append(split.starts[split.starts >= begin] - begin + sum(len(one) for one in codes))
        codes.append(np.asarray(split.codes[begin:]))
        before = split
    whole = Split(np.concatenate(codes), np.concatenate(starts))
    lengths = whole.session_lengths
    most = min(MOST_SESSIONS, int(MOST_SYMBOLS / lengths.mean()) + 1)
    if len(lengths) <= most:
        return whole
    drawn = np.arange(most) * len(lengths) // most
    pieces = [whole.codes[whole.starts[one] :][: lengths[one]] for one in drawn]
    begins = np.cumsum([0, *lengths[drawn][:-1]])
    return Split(np.concatenate(pieces), begins)


def sessions_of(split: Split, *, ends: bool) -> list[Indices]:
    """The codes of each session; with `ends` without the last one, which is its end."""
    codes = np.split(np.asarray(split.codes, np.int64), split.starts[1:])
    return [one[: len(one) - ends] for one in codes]


def _count(codes: Indices) -> Count:
    distinct, times = np.unique(codes, return_counts=True)
    return tuple(zip(distinct.tolist(), times.tolist(), strict=True))


def _pairs(codes: Indices, alphabet: int) -> Indices:
    closed = np.concatenate([[START], codes, [START]])
    return np.asarray(closed[:-1] * alphabet + closed[1:])
