"""What is said of sequences by the probabilities of classes: one class, a set, whether of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.conformal import Promise, p_values
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.quality import Interval, wilson
from lstm_sweep.models.scoring import Floats

Labels = NDArray[np.integer]
Bools = NDArray[np.bool_]
#: how a class is decided for: the most probable one, or so that macro F1 is highest
PROBABILITY, MACRO_F1 = "probability", "macro_f1"
#: steps in which decisions for macro F1 are improved
STEPS = 30


@dataclass(frozen=True)
class Threshold:
    """A probability of a class from which on sequences are said to be of it.

    Precision and recall are those of the sequences that it was chosen on, with intervals of 95 %.
    """

    value: float
    precision: float
    recall: float
    precision_interval: Interval
    recall_interval: Interval

    @classmethod
    def of(
        cls,
        p: Floats,
        positive: Bools,
        *,
        precision: float | None = None,
        recall: float | None = None,
    ) -> Self:
        """The threshold with a wanted precision or recall, and the most of the other one.

        Raises:
            InputError: none has such a precision, or no sequence is of the class.
        """
        if not positive.any():
            raise InputError("no sequence to choose a threshold on is of the class")
        falling = np.argsort(-p, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(p[falling]) != 0, True))
        said, hits = ends + 1, positive[falling].cumsum()[ends]
        precisions, recalls = hits / said, hits / positive.sum()
        if precision is not None:
            enough = np.flatnonzero(precisions >= precision)
            if not len(enough):
                raise InputError(
                    f"--precision is {precision:g}: the most that any threshold has on "
                    f"{len(p):,} sequences is {precisions.max():.3g}, expected no more"
                )
            best = enough[hits[enough] == hits[enough].max()][0]
        else:
            enough = np.flatnonzero(recalls >= (recall or 0.0))
            best = enough[precisions[enough].argmax()]
        levels = np.append(p[falling][ends], 0.0)
        hit, said_of = int(hits[best]), int(said[best])
        return cls(
            float(levels[best] + levels[best + 1]) / 2,  # off both, whatever is rounded
            float(precisions[best]),
            float(recalls[best]),
            wilson(hit, said_of),
            wilson(hit, int(positive.sum())),
        )


@dataclass(frozen=True)
class PredictionSets:
    """Sets of classes that leave out the true one of a share of the sequences, at most.

    Split conformal prediction by 1 - p of the true class (Vovk et al., 2005; Sadinle, Lei and
    Wasserman 2019). The class that is said of a sequence is always in its set.
    """

    promise: Promise
    #: 1 - p of the true class of the sequences of calibration, `[n]`
    calibration: Floats

    @classmethod
    def of(cls, probabilities: Floats, labels: Labels, error: float) -> Self:
        """Sets of an `error` above 0 and below 1, by labelled sequences.

        Raises:
            InputError: they are too few for it.
        """
        promise = Promise(error, len(labels), "sequences", "--error", "")
        true = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
        return cls(promise, 1 - true[:, 0])

    def sets(self, probabilities: Floats, said: Labels) -> Bools:
        """Which classes are in the set of each sequence, `[m, classes]`; `said` are `[m]`."""
        inside = p_values(self.calibration, 1 - probabilities) > self.promise.rate
        inside[np.arange(len(inside)), said] = True
        return np.asarray(inside)

    def __str__(self) -> str:
        return f"the true class is not in the set: {self.promise}"


@dataclass(frozen=True)
class Decision:
    """Says the class with the largest `gain * p - cost`, for the highest macro F1.

    Its optimum has this form, a linearization of macro F1 (Narasimhan, Ramaswamy and Agarwal,
    "Consistent classification algorithms for multi-class non-decomposable performance metrics",
    arXiv 1501.00287). Rare classes are said from a lower probability on than frequent ones.
    """

    #: `[classes]`
    gain: Floats
    cost: Floats

    @classmethod
    def of(cls, probabilities: Floats, labels: Labels) -> Self:
        """The best found for sequences of such calibrated probabilities, `[sequences, classes]`.

        How often each class is rightly said is what these expect, since of rare ones few are seen.
        """
        classes = probabilities.shape[1]
        true = np.bincount(labels, minlength=classes)
        decision = best = cls(np.ones(classes), np.zeros(classes))
        highest = -1.0
        for _ in range(STEPS):
            predicted = decision.classes(probabilities)
            p = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
            hits = np.bincount(predicted, p, minlength=classes)
            both = true + np.bincount(predicted, minlength=classes)
            found = float((hits / np.maximum(both, 1e-9)).sum())
            if found > highest:
                highest, best = found, decision
            both = np.maximum(both, 1.0)  # one that is hardly expected is not said for that
            decision = cls(2 / both, 2 * hits / both**2)
        return best

    def classes(self, probabilities: Floats) -> NDArray[np.int64]:
        """What is said of each sequence."""
        return np.asarray((self.gain * probabilities - self.cost).argmax(axis=1))
