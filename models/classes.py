"""How well classes of sequences are told: scores with intervals, beside those of baselines.

Logits are `[sequences, classes]`, labels the numbers of the true classes, `[sequences]`. Losses are
in nats a sequence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.decisions import Bools, Decision, Labels
from lstm_sweep.models.quality import ranked, wilson
from lstm_sweep.models.scoring import Floats, log_softmax, softmax

#: resamplings of the bootstrap; a measure that must do with fewer than `FEWEST` has no interval
REPLICATES, FEWEST = 1000, 100
#: numbers of a block of resamplings, of all, and what rankings are resampled with, about
BLOCK, MOST_DRAWN, MOST_RANKED = 1 << 22, 20_000_000, 50_000_000
#: bins of confidence, equally wide (Guo et al., "On calibration of modern neural networks", 2017)
BINS = 15
#: between them a temperature lies
TEMPERATURES = (0.05, 20.0)
#: families of baselines of classes; the first knows nothing but how frequent each class is
BASELINES = ("majority", "naive_bayes", "logistic_regression")
#: what scores have of all classes together
MEASURES = (
    "log_loss", "scaled_log_loss", "accuracy", "macro_f1", "auc", "average_precision",
    "calibration_error", "scaled_calibration_error", "majority_rate",
)  # fmt: skip
#: classes of a confusion matrix, at most; the rarest of more are one
MOST_CLASSES = 30
OTHERS = "other classes"
#: sequences that are shown of those that are wrong
MOST_WRONG = 20


def log_losses(logits: NDArray[np.floating], labels: Labels, temperature: float = 1.0) -> Floats:
    """-log of the probability of the true class, `<float64>[sequences]`."""
    scaled = log_softmax(logits / temperature)
    return -np.take_along_axis(scaled, labels[:, None].astype(np.int64), axis=1)[:, 0]


def score(
    logits: NDArray[np.floating], labels: Labels, predicted: Labels | None = None
) -> dict[str, float]:
    """`loss`, `accuracy` and `macro_f1`, which trials report after each round.

    `predicted` are the classes that were decided for, unless these are the most probable ones.
    """
    predicted = logits.argmax(axis=1) if predicted is None else predicted
    true, said = (np.bincount(one, minlength=logits.shape[1]) for one in (labels, predicted))
    hits = np.bincount(labels[predicted == labels], minlength=logits.shape[1])
    met = true + said > 0
    return {
        "loss": float(log_losses(logits, labels).mean()),
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float((2 * hits[met] / (true + said)[met]).mean()),
    }


def averaged(logits: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Logits of the mean of the probabilities that several networks give the same sequences."""
    logs = [log_softmax(one) for one in logits]
    return logits[0] if len(logs) == 1 else np.logaddexp.reduce(logs) - math.log(len(logs))


def chosen(logits: Sequence[NDArray[np.floating]], labels: Labels) -> list[int]:
    """Which networks are averaged: the first, and each further one that lowers the log loss."""
    numbers = [0]
    for number in range(1, len(logits)):
        without, with_it = (
            log_losses(averaged([logits[k] for k in some]), labels).mean()
            for some in (numbers, [*numbers, number])
        )
        numbers += [number] if with_it < without else []
    return numbers


def temperature_of(logits: NDArray[np.floating], labels: Labels) -> float:
    """What logits are to be divided by for the lowest log loss (temperature scaling).

    One more sequence, of each class in equal parts, keeps few that are all told right from making
    probabilities 0 and 1 (as Platt 1999 does).
    """
    from scipy.optimize import minimize_scalar

    def loss(inverse: float) -> float:  # it is convex in the inverse
        of_true = log_losses(logits, labels, 1 / inverse).sum()
        return float(of_true - log_softmax(logits * inverse).mean()) / (len(labels) + 1)

    low, high = TEMPERATURES
    found = minimize_scalar(loss, bounds=(1 / high, 1 / low), method="bounded")
    return float(1 / found.x)


# --- scores with intervals ------------------------------------------------------------------------


class Estimate(NamedTuple):
    """A measure with the bounds that hold it with 95 %; None: too few sequences, or too many."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None or self.low is None:
            return "" if self.value is None else f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from all others."""

    name: str
    sequences: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Confusion:
    """How many sequences of each true class (rows) were taken for which."""

    classes: tuple[str, ...]
    counts: list[list[int]]

    def __post_init__(self) -> None:
        size = len(self.classes)
        if not 0 < size <= MOST_CLASSES or [*map(len, self.counts)] != [size] * size:
            raise ValueError("the confusion matrix is not one of its classes")
        if min(map(min, self.counts)) < 0:
            raise ValueError("the confusion matrix has numbers below 0")


@dataclass(frozen=True)
class Scores:
    """How well the classes of some sequences are told."""

    sequences: int
    #: that of the two measures `scaled_...`
    temperature: float
    #: `log_loss`, `accuracy`, `macro_f1`, `auc` and `average_precision` (means over classes, one
    #: against the rest), `calibration_error`; with the temperature `scaled_log_loss` and
    #: `scaled_calibration_error`; `majority_rate`, the share of the most frequent class
    measures: Mapping[str, Estimate]
    classes: tuple[ClassScore, ...]
    confusion: Confusion

    def __post_init__(self) -> None:
        if not self.measures.keys() >= {*MEASURES}:
            raise ValueError(f"measures are {[*self.measures]}, expected {[*MEASURES]}")

    @classmethod
    def of(
        cls,
        logits: NDArray[np.floating],
        labels: Labels,
        names: Sequence[str],
        temperature: float | None = None,
        predicted: Labels | None = None,
    ) -> Self:
        """Scores of predictions; without a `temperature`, with that which suits these best.

        `predicted` is as of `score`.
        """
        scale = temperature_of(logits, labels) if temperature is None else temperature
        sample = _Sample.of(logits, labels, scale, predicted)
        exact = {name: found[0] for name, found in sample.measures(sample.ones).items()}
        drawn = sample.bootstrap()
        most_frequent = labels == np.bincount(labels).argmax()
        shares = {"accuracy": sample.correct, "majority_rate": most_frequent}
        measures = {
            name: _share(int(shares[name].sum()), len(labels))
            if name in shares
            else _estimate(value, drawn.get(name), of_calibration="calibration" in name)
            for name, value in (exact | {"majority_rate": 0.0}).items()
            if not name.startswith(_F1)
        }
        predicted = sample.predicted
        auc, precision = sample.ranked_by_class(sample.ones)
        hits = np.bincount(labels[sample.correct], minlength=len(names))
        true, said = (np.bincount(one, minlength=len(names)) for one in (labels, predicted))
        classes = tuple(
            ClassScore(
                name, int(true[k]), _share(int(hits[k]), int(said[k])),
                _share(int(hits[k]), int(true[k])), _estimate(exact[f"{_F1}{k}"],
                drawn[f"{_F1}{k}"]), _number(auc[0, k]), _number(precision[0, k]),
            )
            for k, name in enumerate(names)
        )  # fmt: skip
        return cls(len(labels), scale, measures, classes, confusion(predicted, labels, names))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; an estimate is a list of its value and its bounds."""
        return _plain(self)

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Self:
        """As `to_dict` has written it; `ValueError` if it is none."""
        return _read(cls, written)


Written = TypeVar("Written")


def _plain(value: object) -> dict[str, Any]:
    from pydantic import TypeAdapter

    written: dict[str, Any] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return written


def _read(kind: type[Written], written: Mapping[str, Any]) -> Written:
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_json(json.dumps(written, allow_nan=False))


#: beginning of the name of the F1 of one class
_F1 = "f1 "


@dataclass(frozen=True)
class _Sample:
    """Predictions of sequences, of which each counts as often as a weight says."""

    probabilities: Floats
    labels: Labels
    predicted: Labels
    correct: Bools
    #: -log of the probability of the true class, and confidence: as they are, and scaled
    losses: tuple[Floats, Floats]
    confidences: tuple[Floats, Floats]

    @classmethod
    def of(
        cls,
        logits: NDArray[np.floating],
        labels: Labels,
        temperature: float,
        predicted: Labels | None = None,
    ) -> Self:
        predicted = logits.argmax(axis=1) if predicted is None else predicted
        plain, scaled = (softmax(logits / one) for one in (1.0, temperature))
        losses = (log_losses(logits, labels), log_losses(logits, labels, temperature))
        places = np.arange(len(labels))
        confidences = plain[places, predicted], scaled[places, predicted]
        return cls(plain, labels, predicted, predicted == labels, losses, confidences)

    @property
    def ones(self) -> Floats:
        """Weights of the sample as it is, `[1, sequences]`."""
        return np.ones((1, len(self.labels)))

    def bootstrap(self, *, rankings: bool = True) -> dict[str, Floats]:
        """Measures of samples drawn from these sequences, `[replicates]` each; always the same."""
        sequences, classes = self.probabilities.shape
        most = min(REPLICATES, rankings * MOST_RANKED // (sequences * classes))
        rng, drawn = np.random.default_rng(0), dict[str, list[Floats]]()
        rows = max(1, BLOCK // max(sequences, 3 * classes))
        replicates = max(2 * FEWEST, min(REPLICATES, MOST_DRAWN // sequences))
        for begin in range(0, replicates, rows):
            size = min(rows, replicates - begin)
            places = rng.integers(sequences, size=(size, sequences))
            places += np.arange(size)[:, None] * sequences
            counts = np.bincount(places.ravel(), minlength=size * sequences)
            weights = counts.reshape(size, sequences).astype(np.float64)
            ranked_rows = 0 if most < FEWEST else min(size, max(0, most - begin))
            for name, values in self.measures(weights, ranked_rows).items():
                drawn.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in drawn.items()}

    def measures(self, weights: Floats, ranked_rows: int = 1) -> dict[str, Floats]:
        """Each measure by rows of weights, `[b, n]`; those of rankings of the first rows only."""
        with np.errstate(invalid="ignore"):  # of classes that no sequence has
            true, said, hits = self._counts(weights)
            f1 = 2 * hits / (true + said)
            found = {
                "log_loss": weights @ self.losses[0],
                "scaled_log_loss": weights @ self.losses[1],
                "accuracy": weights @ self.correct,
            }
            found = {name: sums / weights.sum(axis=1) for name, sums in found.items()}
        found["macro_f1"] = np.nanmean(f1, axis=1)
        if ranked_rows:
            auc, precision = self.ranked_by_class(weights[:ranked_rows])
            some = ~np.isnan(auc[0])
            for name, values in (("auc", auc), ("average_precision", precision)):
                found[name] = _mean(values[:, some])
        for name, confidence in zip(("", "scaled_"), self.confidences, strict=True):
            found[f"{name}calibration_error"] = self._calibration_error(weights, confidence)
        return found | {f"{_F1}{k}": f1[:, k] for k in range(f1.shape[1])}

    def _counts(self, weights: Floats) -> Iterator[Floats]:
        """Sequences of each class, those taken for it, and those rightly so, `[b, classes]`."""
        from scipy import sparse

        shape = (self.probabilities.shape[1], len(self.labels))
        places = np.arange(len(self.labels))
        for classes, ones in (
            (self.labels, np.ones(len(places))),
            (self.predicted, np.ones(len(places))),
            (self.labels, self.correct.astype(np.float64)),
        ):
            yield (sparse.csr_matrix((ones, (classes, places)), shape) @ weights.T).T

    def ranked_by_class(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUC and average precision of each class against the rest, `[b, classes]`; maybe NaN."""
        found = [ranked(p, self.labels == k, weights) for k, p in enumerate(self.probabilities.T)]
        auc, precision = (np.stack(values, axis=1) for values in zip(*found, strict=True))
        return auc, precision

    def _calibration_error(self, weights: Floats, confidence: Floats) -> Floats:
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        gaps = np.zeros((len(bins), BINS))
        gaps[np.arange(len(bins)), bins] = self.correct - confidence
        return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


def _mean(values: Floats) -> Floats:
    """Means of rows without what is NaN; NaN if nothing is left."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _share(part: int, whole: int) -> Estimate:
    return Estimate(part / whole, *wilson(part, whole)) if whole else Estimate(None)


def _estimate(value: float, drawn: Floats | None, *, of_calibration: bool = False) -> Estimate:
    """A measure with the middle 95 % of the bootstrap.

    A calibration error is too large by chance, and more so in what is drawn; there the interval is
    mirrored at the value (the basic bootstrap).
    """
    if not np.isfinite(value):
        return Estimate(None)
    known = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
    if len(known) < FEWEST:
        return Estimate(float(value))
    low, high = np.quantile(known, [0.025, 0.975])
    if of_calibration:
        low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
    return Estimate(float(value), float(low), float(high))


def confusion(predicted: Labels, labels: Labels, names: Sequence[str]) -> Confusion:
    shown, row = (*names,), np.arange(len(names))
    if len(names) > MOST_CLASSES:
        frequent = np.argsort(-np.bincount(labels, minlength=len(names)), kind="stable")
        kept = np.sort(frequent[: MOST_CLASSES - 1])
        row = np.full(len(names), len(kept))
        row[kept] = np.arange(len(kept))
        shown = (*(names[k] for k in kept), OTHERS)
    pairs = row[labels] * len(shown) + row[predicted]
    counts = np.bincount(pairs, minlength=len(shown) ** 2).reshape(len(shown), -1)
    return Confusion(shown, counts.tolist())


def decided(
    decision: Decision, logits: NDArray[np.floating], labels: Labels, temperature: float
) -> dict[str, Estimate]:
    """`accuracy` and `macro_f1` of what a decision says, by calibrated probabilities."""
    predicted = decision.classes(softmax(logits / temperature))
    sample = _Sample.of(logits, labels, temperature, predicted)
    value = sample.measures(sample.ones, 0)["macro_f1"]
    drawn = sample.bootstrap(rankings=False)["macro_f1"]
    right = _share(int(sample.correct.sum()), len(labels))
    return {"accuracy": right, "macro_f1": _estimate(value[0], drawn)}


@dataclass(frozen=True)
class Compared:
    """How another model tells the classes of the same sequences, against the best."""

    log_loss: Estimate
    accuracy: Estimate
    macro_f1: Estimate
    #: how much lower the log loss of the best is, and the probability of as much by chance
    gain: float
    p_loss: float
    #: of as great a difference in what is told rightly, by chance
    p_accuracy: float

    @classmethod
    def of(
        cls,
        best: NDArray[np.floating],
        other: NDArray[np.floating],
        labels: Labels,
        names: Sequence[str],
    ) -> Self:
        """Paired t test of losses; exact test of McNemar of what only one of both has right."""
        from scipy.special import bdtr, stdtr

        gains = log_losses(other, labels) - log_losses(best, labels)
        error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
        p_loss = 2 * stdtr(len(gains) - 1, -abs(gains.mean()) / error) if error else 1.0
        right, also = (one.argmax(axis=1) == labels for one in (best, other))
        only, others = int((right & ~also).sum()), int((also & ~right).sum())
        both = only + others
        p_accuracy = min(1.0, 2 * float(bdtr(min(only, others), both, 0.5))) if both else 1.0
        its = Scores.of(other, labels, names, temperature=1.0).measures
        return cls(
            its["log_loss"],
            its["accuracy"],
            its["macro_f1"],
            float(gains.mean()),
            float(p_loss),
            p_accuracy,
        )


@dataclass(frozen=True)
class Wrong:
    """A sequence whose true class is not the likeliest one."""

    text: str
    true: str
    predicted: str
    #: of the predicted class, with the temperature of the scores
    probability: float


@dataclass(frozen=True)
class Evidence:
    """How well a network tells the classes of sequences, beside baselines."""

    #: trial of the network
    trial: str
    scores: Scores
    baselines: Mapping[str, Compared]
    #: those that it is surest of
    wrong: tuple[Wrong, ...]
    #: accuracy and macro F1 of decisions for macro F1; empty if they are not known
    decided: Mapping[str, Estimate]

    @classmethod
    def of(
        cls,
        trial: str,
        logits: NDArray[np.floating],
        labels: Labels,
        names: Sequence[str],
        baselines: Mapping[str, NDArray[np.floating]],
        texts_of: Callable[[Sequence[int]], Sequence[str]],
    ) -> Self:
        """Of the logits of a network and of baselines; `texts_of` is asked for a few sequences."""
        scores = Scores.of(logits, labels, names)
        compared = {
            name: Compared.of(logits, one, labels, names) for name, one in baselines.items()
        }
        scaled = softmax(logits / scores.temperature)
        best = decided(Decision.of(scaled, labels), logits, labels, scores.temperature)
        predicted, sure = logits.argmax(axis=1), scaled.max(axis=1)
        places = np.flatnonzero(predicted != labels)
        surest = places[np.argsort(-sure[places], kind="stable")][:MOST_WRONG].tolist()
        wrong = tuple(
            Wrong(text, names[labels[k]], names[predicted[k]], float(sure[k]))
            for k, text in zip(surest, texts_of(surest), strict=True)
        )
        return cls(trial, scores, compared, wrong, best)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return _plain(self)

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Self:
        """As `to_dict` has written it; `ValueError` if it is none."""
        return _read(cls, written)
