"""What normal sessions are like, and scores of how far a session is from that.

No score finds everything: the highest surprise has an AUC of 0.999 on block sessions of HDFS and of
0.5 on long traces of system calls, where the mean has 0.83; counts and lengths find what no order
says. So a session has all of them (`SCORES`), and `models.conformal` weighs them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.conformal import Combined, Floats, Indices
from lstm_sweep.models.data.alphabet import END, START, UNKNOWN
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.errors import InputError, shown

#: scores of a session, in the order of their columns: the highest surprise of a symbol and that of
#: its end, both at least `EXPECTED`, and the mean surprise (nats); the share of unknown symbols;
#: how far its length is from that of a training session (difference of logarithms); how far its
#: counts of symbols are from those of one (0 to 1); and by how much its shortest n-gram, head and
#: end included, that no training session has is shorter than `LONGEST`, and the share of n-grams of
#: that length that are new: so a rate of false alarms says which lengths count
SCORES = ("surprise", "end", "mean", "unknown", "length", "counts", "ngrams")
#: another one with each change of how a score is computed
VERSION = 2
#: symbols of an n-gram, from 2
LONGEST = 5
#: what is kept of the n-grams of a session at its head
FIRST = np.array([START] + [-1] * (LONGEST - 2) + [0] * (LONGEST - 1))
#: rules that the verdict is compared with, and the scores that each is made of
RULES = {
    "network": ("surprise", "end", "mean"),
    "new symbol": ("unknown",),
    "length": ("length",),
    "counts": ("counts",),
    "new n-gram": ("ngrams",),
}
#: what a new session's scores are lowered by before they are compared, since networks round: those
#: that are equal but for that are ties, which count against a session
ROUNDING = 1e-4
#: what is likelier than not surprises nobody: nats of a probability of a half
EXPECTED = math.log(2)
#: different counts of symbols that are kept, the most frequent first, and numbers in all of them
MOST_COUNTS, MOST_NUMBERS = 5_000, 1 << 22
#: symbols in all different counts that are compared by frequency, and in those that are kept, at
#: most; different n-grams of a length; and symbols of sessions that are looked at together, about
MOST_COUNTED, MOST_KEPT, MOST_NGRAMS, TOGETHER = 1 << 21, 1 << 20, 1 << 18, 1 << 20
#: what is added to the deviation of a logarithm of counts, since it may be none
LEAST_DEVIATION = 0.05
#: sessions whose counts are compared with all that are kept at a time
ROWS = 256
#: training sessions that are looked at, at most
MOST_TRAINING = 1 << 20
#: sessions and symbols of calibration, at most, and how high a score is
MOST_SESSIONS, MOST_SYMBOLS, HIGHEST = 10_000, 1 << 18, 1e9
#: number of symbols of a session, and of an n-gram, at most
LARGEST = 1 << 53

Integers = NDArray[np.integer]
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
    #: n-grams for each n from 2 to `LONGEST`, ascending, `<int64>[n]`: the place of what is before
    #: its last symbol among those that are shorter by one (the code of a symbol), times the
    #: alphabet, plus its last symbol; `<start>` is before the first symbol and after the last one
    ngrams: tuple[Indices, ...]

    @classmethod
    def of(cls, sessions: Sequence[Integers], alphabet: int) -> Self:
        """What sessions are like, each without its end."""
        lengths, counts, room = set[int](), Counter[Count](), MOST_COUNTED
        for codes in sessions:
            lengths.add(len(codes))
            count = count_of(codes)
            if count in counts or room > 0:
                room -= 0 if count in counts else len(count)
                counts[count] += 1
        ngrams = list[Indices]()
        while len(ngrams) < LONGEST - 1:
            found = np.empty(0, np.int64)
            for begin, end in _parts(np.array([*map(len, sessions)])):
                *_, (numbers, _) = _numbers(sessions[begin:end], ngrams, alphabet)
                found = np.union1d(found, numbers[numbers >= 0])[:MOST_NGRAMS]
            ngrams.append(found)
        kept = [one for one, _ in counts.most_common(_most_counts(alphabet))]
        room = int(np.searchsorted(np.cumsum([*map(len, kept)]), MOST_KEPT, side="right"))
        return cls(
            alphabet,
            np.array(sorted(lengths), np.int64),
            tuple(kept[: max(1, room)]),
            tuple(ngrams),
        )

    def scores(self, split: Split, surprise: Floats, *, ends: bool) -> Floats:
        """Scores of the sessions of a split, `<float64>[sessions, SCORES]`.

        `surprise` are negative log-probabilities of its symbols, nats, `<float64>[symbols]`; with
        `ends` the last one of each session is its end.
        """
        bounds, parts = np.append(split.starts, len(split)), []
        for begin, end in _parts(split.session_lengths):
            inside = slice(bounds[begin], bounds[end])
            part = Split(split.codes[inside], bounds[begin:end] - bounds[begin])
            parts.append(self._scores(part, surprise[inside], ends=ends))
        return np.concatenate(parts)

    def _scores(self, split: Split, surprise: Floats, *, ends: bool) -> Floats:
        sessions = sessions_of(split, ends=ends)
        nats = np.split(surprise, split.starts[1:])
        counts = [count_of(codes) for codes in sessions]
        columns: dict[str, Iterable[float]] = {
            "surprise": (one[: len(one) - ends].max(initial=EXPECTED) for one in nats),
            "end": (max(EXPECTED, one[-1]) if ends else EXPECTED for one in nats),
            "mean": (one.mean() for one in nats),
            "unknown": ((codes == UNKNOWN).mean() if len(codes) else 0.0 for codes in sessions),
            "length": self.far_in_length(np.array([len(codes) for codes in sessions])),
            "counts": self.nearest_count(counts)[0],
            "ngrams": self._new_ngrams(sessions),
        }
        return np.array([[*columns[name]] for name in SCORES], float).T

    def far_in_length(self, lengths: Indices) -> Floats:
        """How far lengths are from that of a training session: difference of logarithms."""
        place = np.searchsorted(self.lengths, lengths)
        around = np.stack([place - 1, place]).clip(0, len(self.lengths) - 1)
        far = np.log1p(self.lengths[around]) - np.log1p(lengths)
        return np.asarray(np.abs(far).min(axis=0))

    def nearest_count(self, sessions: Sequence[Count]) -> tuple[Floats, Indices]:
        """How far counts are from the nearest ones of a training session, and which these are.

        It is the share of both that only one of them has (Bray and Curtis 1957), as in the count
        vectors of Landauer et al., arXiv 2309.02854, but of logarithms of counts, by weights: of a
        symbol that all sessions have three times, a fourth says more than of one that varies.
        """
        from scipy.spatial.distance import cdist

        found = {one: (0.0, number) for number, one in enumerate(self.counts)}
        new = [one for one in dict.fromkeys(sessions) if one not in found]
        for begin in range(0, len(new), ROWS):
            block = new[begin : begin + ROWS]
            far = cdist(self._logs(block) * self._weights, self._known, "braycurtis")
            nearest = far.argmin(axis=1).tolist()
            pairs = zip(far.min(axis=1).tolist(), nearest, strict=True)
            found.update(zip(block, pairs, strict=True))
        distances, numbers = zip(*(found[one] for one in sessions), strict=True)
        return np.array(distances), np.array(numbers, np.int64)

    @cached_property
    def _weights(self) -> Floats:
        return np.asarray(1 / (self._logs(self.counts).std(axis=0) + LEAST_DEVIATION))

    @cached_property
    def _known(self) -> Floats:
        return self._logs(self.counts) * self._weights

    def _logs(self, counts: Sequence[Count]) -> Floats:
        rows = np.zeros((len(counts), self.alphabet))
        for row, one in zip(rows, counts, strict=True):
            for code, times in one:
                row[code] = math.log1p(times)
        return rows

    def _new_ngrams(self, sessions: Sequence[Integers]) -> Floats:
        numbered = _numbers(sessions, self.ngrams, self.alphabet)
        new = [
            np.bincount(of[(numbers >= 0) & ~np.isin(numbers, known)], minlength=len(sessions))
            for known, (numbers, of) in zip(self.ngrams, numbered, strict=False)
        ]
        return by_ngrams(np.stack(new, axis=1), np.array([*map(len, sessions)]))

    def ngrams_after(self, kept: Indices, codes: Integers) -> Indices:
        """What is kept of sessions' n-grams after one more symbol of each; at the head `FIRST`.

        It is the place of that of each length below `LONGEST` which ends here, -1 of none that
        training has, and how many of each length from 2 were new, `[sessions, 2 LONGEST - 2]`.
        """
        after = kept.copy()
        after[:, 0] = codes
        for n, known in enumerate(self._closed):
            numbers = np.where(kept[:, n] >= 0, kept[:, n] * self.alphabet + codes, -1)
            place = np.searchsorted(known, numbers)
            is_known = known[place] == numbers
            if n < LONGEST - 2:
                after[:, n + 1] = np.where(is_known, place, -1)
            after[:, LONGEST - 1 + n] += (numbers >= 0) & ~is_known
        return after

    @cached_property
    def _closed(self) -> list[Indices]:
        return [np.append(known, np.iinfo(np.int64).max) for known in self.ngrams]

    def odd_count(self, count: Count) -> tuple[int, int, int]:
        """The code whose count is furthest from the nearest training session's, and both counts."""
        nearest = self.counts[int(self.nearest_count([count])[1][0])]
        has, usual = self._logs([count, nearest])
        code = int((np.abs(has - usual) * self._weights).argmax())
        return code, dict(count).get(code, 0), dict(nearest).get(code, 0)


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
        by = self._of_whole if whole else self._of_open
        p, oddest = by.p_values(scores[:, : len(SCORES) if whole else 1] - ROUNDING)
        return p, [SCORES[number] for number in oddest]

    @cached_property
    def _of_whole(self) -> Combined:
        return Combined(self.scores)

    @cached_property
    def _of_open(self) -> Combined:
        return Combined(self.scores[:, :1])

    def by_rule(self, scores: Floats) -> dict[str, Floats]:
        """P-values of whole sessions by each of `RULES`."""
        columns = {rule: [*map(SCORES.index, names)] for rule, names in RULES.items()}
        return {
            rule: Combined(self.scores[:, used]).p_values(scores[:, used] - ROUNDING)[0]
            for rule, used in columns.items()
        }

    def with_more(self, scores: Floats) -> Self:
        """The same with further normal sessions."""
        return type(self)(self.normal, np.concatenate([self.scores, scores]))

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        normal = self.normal
        return {
            "version": VERSION,
            "lengths": normal.lengths.tolist(),
            "counts": [[number for pair in one for number in pair] for one in normal.counts],
            "ngrams": [one.tolist() for one in normal.ngrams],
            "scores": {
                name: column.tolist() for name, column in zip(SCORES, self.scores.T, strict=True)
            },
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], alphabet: int) -> Self:
        """Make one of `to_dict` for an alphabet of this size, with reserved codes."""
        if values.get("version") != VERSION:
            raise InputError(
                f"its scores have version {shown(values.get('version'))}, expected {VERSION}: "
                f"`export` writes it anew"
            )
        scores, counts, ngrams = (values.get(name) for name in ("scores", "counts", "ngrams"))
        if not isinstance(ngrams, list) or len(ngrams) != LONGEST - 1:
            raise InputError(f"ngrams: expected {LONGEST - 1} lists")
        lengths = _rising(values.get("lengths"), "lengths")
        of_lengths = tuple(_rising(one, "ngrams", fewest=0) for one in ngrams)
        most = _most_counts(alphabet)
        if not isinstance(counts, list) or not 0 < len(counts) <= most:
            raise InputError(f"counts: expected 1 to {most:,} lists")
        try:
            by_name = dict(scores or {})
            columns = np.array([by_name.pop(name) for name in SCORES], np.float64).T
        except (TypeError, KeyError, ValueError, OverflowError):
            columns = np.empty(0)
        if columns.ndim != 2 or by_name or not (np.abs(columns) <= HIGHEST).all():
            raise InputError(
                f"scores: expected equally many numbers of each of {', '.join(SCORES)}, at most "
                f"{HIGHEST:,.0f}"
            )
        read = tuple(_read_count(one, alphabet) for one in counts)
        return cls(Normality(alphabet, lengths, read, of_lengths), columns)


def _read_count(given: Any, alphabet: int) -> Count:
    whole = isinstance(given, list) and all(type(number) is int for number in given)
    if whole and len(given) % 2 == 0:
        codes, times = given[::2], given[1::2]
        rising = all(one < after for one, after in pairwise([-1, *codes, alphabet]))
        if rising and all(1 <= one <= LARGEST for one in times):
            return tuple(zip(codes, times, strict=True))
    raise InputError(
        f"counts: expected pairs of a code below {alphabet} and a count from 1, codes rising"
    )


def _rising(values: Any, name: str, *, fewest: int = 1) -> Indices:
    if not isinstance(values, list) or not all(
        type(one) is int and 0 <= one <= LARGEST for one in values
    ):
        raise InputError(f"{name}: expected a list of whole numbers from 0")
    read = np.array(values, np.int64)
    if len(read) < fewest or (np.diff(read) <= 0).any():
        raise InputError(f"{name}: expected some whole numbers in rising order")
    return read


def _most_counts(alphabet: int) -> int:
    """How many different counts of symbols are kept, so that they fit into memory side by side."""
    return min(MOST_COUNTS, max(1, MOST_NUMBERS // alphabet))


def held_out(corpus: Corpus) -> Split | None:
    """Normal sessions to calibrate on: those of the validation and the test split; None if none is.

    Of many it is some, evenly drawn. One that began in the training split is left out. All have an
    end.
    """
    validation, test = corpus.validation, corpus.test
    begins = test.starts if validation.codes[-1] == END else test.starts[1:]
    starts = np.concatenate([validation.starts, begins + len(validation)])
    if corpus.train.codes[-1] != END:
        starts = starts[1:]
    if not len(starts):
        return None
    codes = np.concatenate([validation.codes, test.codes])[starts[0] :]
    whole = Split(codes, starts - starts[0])
    return drawn(whole, min(MOST_SESSIONS, int(MOST_SYMBOLS / whole.session_lengths.mean()) + 1))


def drawn(split: Split, most: int) -> Split:
    """So many sessions of a split, evenly drawn, if it has more."""
    lengths = split.session_lengths
    if len(lengths) <= most:
        return split
    numbers = np.arange(most) * len(lengths) // most
    pieces = [split.codes[split.starts[one] :][: lengths[one]] for one in numbers]
    begins = np.cumsum([0, *lengths[numbers][:-1]])
    return Split(np.concatenate(pieces), begins)


def sessions_of(split: Split, *, ends: bool) -> list[Integers]:
    """The codes of each session; with `ends` without the last one, which is its end."""
    codes = np.split(np.asarray(split.codes), split.starts[1:])
    return [one[: len(one) - ends] for one in codes]


def by_ngrams(new: Indices, lengths: Indices) -> Floats:
    """Scores of sessions of so many symbols by their new n-grams of each n, `[m, LONGEST - 1]`."""
    shortest = (new > 0).argmax(axis=1)
    first = new[np.arange(len(new)), shortest]
    share = first / np.maximum(1, lengths + 1 - shortest)
    return np.where(first > 0, LONGEST - 2 - shortest + share, 0.0)


def count_of(codes: Integers) -> Count:
    """How often a session has each of its codes."""
    distinct, times = np.unique(codes, return_counts=True)
    return tuple(zip(distinct.tolist(), times.tolist(), strict=True))


def _parts(lengths: Indices) -> Iterator[tuple[int, int]]:
    """From which to which sessions parts of about `TOGETHER` symbols go."""
    ends = np.cumsum(lengths + 2)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] + TOGETHER, TOGETHER))
    return pairwise(np.unique([*cuts, len(lengths)]).tolist())


def _numbers(
    sessions: Sequence[Integers], known: Sequence[Indices], alphabet: int
) -> Iterator[tuple[Indices, Indices]]:
    """Numbers of the n-grams for each n from 2 to one more than is known, and their sessions.

    The number of one that begins with an n-gram that is not known is -1.
    """
    of = np.repeat(np.arange(len(sessions)), [len(one) + 2 for one in sessions])
    closed = np.concatenate([part for one in sessions for part in ([START], one, [START])])
    numbers = closed.astype(np.int64)
    for n, shorter in enumerate((*known, None), start=2):
        inside = of[: 1 - n] == of[n - 1 :]
        before, last = numbers[:-1], closed[n - 1 :]
        numbers = np.where(inside & (before >= 0), before * alphabet + last, -1)
        yield numbers[inside], of[: 1 - n][inside]
        if shorter is not None:
            place = np.searchsorted(shorter, numbers)
            numbers = np.where(np.isin(numbers, shorter), place, -1)
