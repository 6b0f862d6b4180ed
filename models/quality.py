"""How good verdicts on labelled sessions are, with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.conformal import Floats, Promise, needed, raised
from lstm_sweep.models.data.source import told
from lstm_sweep.models.data.tables import check_once, read_label_list
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.normality import RULES, Calibration

#: words for what a session is
NORMAL = frozenset({"0", "normal", "false", "no", "-"})
ABNORMAL = frozenset({"1", "abnormal", "anomaly", "anomalous", "true", "yes"})
#: normal quantile of intervals of 95 %
Z = 1.96

#: name of the verdict among the rules
VERDICT = "verdict"
#: shares of false alarms that are looked at, and the fewest sessions that calibrate a check of them
RATES, FEWEST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1), 99

#: the two bounds that hold a share with 95 %
Interval = list[float]


@dataclass(frozen=True)
class Quality:
    """Of labelled sessions, which are found; shares have intervals of 95 % (Wilson 1927)."""

    normal: int
    abnormal: int
    found: int
    false_alarms: int
    #: None where nothing is divided by nothing
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None
    #: area under the receiver operating characteristic: the probability that an abnormal session
    #: has a lower p-value than a normal one, ties counted half
    auc: float | None
    #: mean precision at the abnormal sessions, in the order of p-values, ties taken together
    average_precision: float | None
    precision_interval: Interval
    recall_interval: Interval
    false_alarm_interval: Interval

    @classmethod
    def of(cls, p: Floats, raised: NDArray[np.bool_], abnormal: NDArray[np.bool_]) -> Self:
        """Compare p-values and alarms with the truth, `[sessions]` each."""
        found, false = int((raised & abnormal).sum()), int((raised & ~abnormal).sum())
        positive, negative = int(abnormal.sum()), int((~abnormal).sum())
        curves = ranked(-p, abnormal, np.ones((1, len(p))))
        auc, average_precision = (None if np.isnan(one[0]) else float(one[0]) for one in curves)
        return cls(
            negative,
            positive,
            found,
            false,
            _share(found, found + false),
            _share(found, positive),
            _share(2 * found, found + false + positive),
            _share(false, negative),
            auc,
            average_precision,
            wilson(found, found + false),
            wilson(found, positive),
            wilson(false, negative),
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as `detect --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class OverRates:
    """What the verdict and each rule call abnormal if so many false alarms are promised."""

    #: sessions
    calibrating: int
    normal: int
    abnormal: int
    #: those of `RATES` that can be promised, and what they are at most, with 95 %
    rates: list[float]
    highest: list[float]
    #: at each rate, normal and abnormal sessions that `VERDICT` and each of `RULES` call abnormal
    false_alarms: dict[str, list[int]]
    found: dict[str, list[int]]
    #: whose network it is, if it is kept
    trial: str = ""

    @classmethod
    def of(
        cls,
        p: Mapping[str, Floats],
        abnormal: NDArray[np.bool_],
        calibrating: int,
        trial: str = "",
        name: Callable[[int], str] = str,
    ) -> Self:
        """By p-values of sessions by the verdict and each rule, and which sessions are abnormal."""
        rates = [rate for rate in RATES if needed(rate) <= calibrating]
        alarms = {
            rule: [raised(own, rate, calibrating, name) for rate in rates]
            for rule, own in p.items()
        }

        def count(of: NDArray[np.bool_]) -> dict[str, list[int]]:
            return {rule: [int(one[of].sum()) for one in its] for rule, its in alarms.items()}

        return cls(
            calibrating,
            int((~abnormal).sum()),
            int(abnormal.sum()),
            rates,
            [Promise(rate, calibrating).highest for rate in rates],
            count(~abnormal),
            count(abnormal),
            trial,
        )

    @classmethod
    def of_later(cls, known: Calibration, trial: str = "") -> Self | None:
        """The later half of normal sessions as the earlier one judges it; None of too few."""
        half = len(known) // 2
        if half < FEWEST:
            return None
        earlier, later = Calibration(known.normal, known.scores[:half]), known.scores[half:]
        p = {VERDICT: earlier.judge(later, whole=True)[0]} | earlier.by_rule(later)
        return cls.of(p, np.zeros(len(later), bool), half, trial)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """What `to_text` has written; None of anything else."""
        try:
            read = cls(**json.loads(text))
            shares = [*read.rates, *read.highest]
            counts = [read.calibrating, read.normal, read.abnormal]
            rows = [row for by in (read.false_alarms, read.found) for row in by.values()]
            whole = all(type(one) is int and 0 <= one < 1 << 53 for one in sum(rows, counts))
            fits = len(read.rates) == len(read.highest) > 0 < read.normal
            even = all(len(row) == len(read.rates) for row in rows)
            names = [VERDICT, *RULES]
            named = [*read.false_alarms] == names == [*read.found] and isinstance(read.trial, str)
            low = all(type(one) is float and 0 < one < 1 for one in shares)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        return read if whole and fits and even and named and low else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def wilson(part: int, whole: int) -> Interval:
    """An interval that holds a share with 95 %."""
    if not whole:
        return [0.0, 1.0]
    share, spread = part / whole, Z * Z / whole
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return [max(0.0, middle - half), min(1.0, middle + half)]


def ranked(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Area under the curve and average precision, the higher scores first.

    Scores are `[n]`; of each row of weights, `[b, n]`, which are whole numbers, there is one of
    both, NaN if not both kinds have any weight.
    """
    falling = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[falling], append=np.nan) != 0)
    said = weights[:, falling].cumsum(axis=1)[:, ends]
    hits = (weights * positive)[:, falling].cumsum(axis=1)[:, ends]
    false = said - hits
    found, wrong = (np.diff(one, axis=1, prepend=0) for one in (hits, false))
    positives, negatives = ((weights * one).sum(axis=1) for one in (positive, ~positive))
    either = np.where(positives * negatives > 0, 1.0, np.nan)
    below = negatives[:, None] - false + wrong / 2
    auc = (found * below).sum(axis=1) / np.maximum(positives * negatives, 1)
    precision = (found * hits / np.maximum(said, 1)).sum(axis=1) / np.maximum(positives, 1)
    return auc * either, precision * either


def read_labels(given: str) -> dict[str, bool]:
    """Whether sessions are abnormal, by their names; the first line of the file may be a head."""
    path, lines = read_label_list(given)
    labels = dict[str, bool]()
    for number, name, label in lines:
        known = label.lower() in NORMAL | ABNORMAL
        if not known and number == 1 and name:
            continue
        if not known or not name:
            raise InputError(
                f"{path}:{number}: found {told(f'{name} {label}'.strip())}, expected the name of "
                f"a session and normal or abnormal (0 or 1)"
            )
        check_once(path, number, labels, name, abnormal := label.lower() in ABNORMAL)
        labels[name] = abnormal
    if not labels:
        raise InputError(f"{path}: has no labels, expected some")
    return labels
