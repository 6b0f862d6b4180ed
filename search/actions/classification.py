"""Which classes an exported classifier says that sequences are of."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle, Classes
from lstm_sweep.models.classes import Scores, score
from lstm_sweep.models.config import ClassConfig
from lstm_sweep.models.data.alphabet import UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import BEGINNING, NewSequences, read_new
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.decisions import MACRO_F1, PROBABILITY, Decision, PredictionSets, Threshold
from lstm_sweep.models.errors import InputError, check_kind, check_word, cut, shown
from lstm_sweep.models.scoring import Floats
from lstm_sweep.search.actions.inference import encode, prepare
from lstm_sweep.search.process import forkserver

#: a text, event ids, or lines of a log
Given = str | Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class Wish:
    """What is asked for beside probabilities; checked when it is made.

    Raises:
        InputError: a value lies outside its limits, or they do not go together.
    """

    #: share of the sequences whose set of classes may lack the true one
    error: float | None = None
    #: of the sequences that are said to be of class `of`; a threshold is chosen for either
    precision: float | None = None
    recall: float | None = None
    of: str | None = None
    #: which class is said of a sequence: the most probable one, or for the highest macro F1
    decide: str = PROBABILITY

    def __post_init__(self) -> None:
        check_word("--decide", self.decide, (PROBABILITY, MACRO_F1))
        for name in ("error", "precision", "recall"):
            value = getattr(self, name)
            if value is not None:
                check_kind(f"--{name}", value)
                if not 0 < value < 1 and (name == "error" or value != 1):
                    raise InputError(f"--{name} is {shown(value)}: expected a share, 0 to 1")
        if None not in (self.precision, self.recall):
            raise InputError("found --precision and --recall, expected one of them")
        wanted = {self.precision, self.recall} != {None}
        if wanted != (self.of is not None):
            raise InputError(
                "expected --class with --precision or --recall, found "
                + ("none" if wanted else "it alone")
            )


@dataclass(frozen=True)
class Classified:
    """A sequence, and what a classifier says of it."""

    #: its name: a file, a row, a session; and how it begins, as it was read
    sequence: str
    text: str
    #: the class that is said of it, its probability, and those of all
    said: str
    probability: float
    probabilities: dict[str, float]
    #: classes, one of which is the true one as often as was asked for; None if it was not
    set: tuple[str, ...] | None
    #: whether it is said to be of the class that was asked for; None if none was
    decided: bool | None
    #: its true class, if data say it
    label: str | None

    def to_dict(self) -> dict[str, Any]:
        """The sequence as `classify --json` prints it."""
        rest = dict(vars(self))
        first = {"sequence": rest.pop("sequence"), "class": rest.pop("said")}
        return first | rest | {"set": self.set and [*self.set]}


@dataclass(frozen=True)
class Classification:
    """What a classifier says of sequences."""

    #: trial whose model it is
    trial: str
    classes: tuple[str, ...]
    sequences: tuple[Classified, ...]
    #: what is promised of sets; empty if none was asked for
    promise: str
    #: of the class that was asked for
    of: str | None
    threshold: Threshold | None
    #: accuracy and macro F1 on validation data, as wished and by the most probable classes; None
    #: if these were wished
    decision: Mapping[str, Any] | None
    #: how good it is; None if data have no labels
    scores: Scores | None

    @property
    def decision_line(self) -> str:
        """What the wished decision gains, for people; empty if none was wished."""
        if not self.decision:
            return ""
        by, wished = self.decision[PROBABILITY], self.decision[MACRO_F1]
        return (
            f"decided for macro F1, on validation data {wished['macro_f1']:.3f} instead of "
            f"{by['macro_f1']:.3f}, at accuracy {wished['accuracy']:.3f} instead of "
            f"{by['accuracy']:.3f}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as `classify --json` prints it."""
        threshold = self.threshold and {"class": self.of} | vars(self.threshold)
        return {
            "bundle": self.trial,
            "classes": [*self.classes],
            "promise": self.promise,
            "threshold": threshold,
            "decision": self.decision,
            "scores": self.scores and self.scores.to_dict(),
            "sequences": [one.to_dict() for one in self.sequences],
        }


def classify(
    bundle: str,
    data: str | Sequence[Given],
    wish: Wish | None = None,
    *,
    text: str | None = None,
    label: str | None = None,
    labels: str | None = None,
) -> Classification:
    """What the classifier of a bundle says of new data: a path, or sequences themselves.

    `text` and `label` are columns of a table, `labels` is a file of the classes of sessions.

    Raises:
        InputError: this is no such bundle, the data have none of its symbols, or validation data
            do not allow what is wished.
    """
    wish = wish or Wish()
    folder, opened, classes = bundles.read_classifier(bundle)
    known = classes.probabilities
    sets = None if wish.error is None else PredictionSets.of(known, classes.labels, wish.error)
    threshold = _threshold(known, classes, wish)
    if isinstance(data, str):
        source = Source(data=data, text=text, label=label, labels=labels)
        # expressions have a limit of time in a main thread alone
        is_main = threading.current_thread() is threading.main_thread()
        read = read_new if is_main else partial(forkserver.call, read_new)
        new = read(source, opened.alphabet, classes.names)
    else:
        new = _encoded(data, opened.alphabet)
    if (new.sequences.codes == UNKNOWN).all():
        raise InputError(
            f"data {shown(data)}: bundle {shown(bundle)} knows none of their symbols, expected "
            f"data such as it was trained on"
        )
    logits = forkserver.call(_logits, folder, opened, new.sequences)
    if not np.isfinite(logits).all():
        raise InputError(
            f"bundle {shown(bundle)}: its network gives no finite numbers, expected a trained one"
        )
    return _classification(opened, classes, new, logits, wish, sets, threshold)


def _threshold(known: Floats, classes: Classes, wish: Wish) -> Threshold | None:
    """That of the class that was asked for, chosen on validation sequences."""
    if wish.of is None:
        return None
    check_word("--class", wish.of, classes.names)
    number = classes.names.index(wish.of)
    p, positive = known[:, number], classes.labels == number
    return Threshold.of(p, positive, precision=wish.precision, recall=wish.recall)


def _encoded(given: Sequence[Given], alphabet: Alphabet) -> NewSequences:
    """Sequences that are given themselves, which are named by their numbers, from 1."""
    codes, begins = list[NDArray[np.int32]](), list[str]()
    for number, one in enumerate(given, start=1):
        text = one if isinstance(one, str) else alphabet.between.join(map(str, one))
        codes.append(encode(alphabet, text, f"sequence {number}"))
        begins.append(cut(text.replace("\n", " | ") if alphabet.lines else text, BEGINNING))
        if not len(codes[-1]):
            raise InputError(f"sequence {number} is empty, expected symbols")
    if not codes:
        raise InputError("found no sequences, expected some")
    starts = np.cumsum([0, *map(len, codes[:-1])], dtype=np.int64)
    split = Split(np.concatenate(codes).astype(np.uint32), starts)
    names = tuple(str(number + 1) for number in range(len(codes)))
    return NewSequences(split, names, None, tuple(begins))


def _logits(folder: Path, bundle: Bundle, split: Split) -> NDArray[np.float32]:
    """Logits of all sequences, `[sequences, classes]`, in a process of its own."""
    prepare(seed=0)
    program = bundles.predictor(folder, bundle)
    from lstm_sweep.models.network.classifier import class_logits  # Keras is there now

    assert isinstance(bundle.config, ClassConfig)
    return class_logits(program, bundle.config, split)


def _classification(
    bundle: Bundle,
    classes: Classes,
    new: NewSequences,
    logits: NDArray[np.float32],
    wish: Wish,
    sets: PredictionSets | None,
    threshold: Threshold | None,
) -> Classification:
    names = classes.names
    probabilities = classes.calibrated(logits)
    said, decision = probabilities.argmax(axis=1), None
    if wish.decide == MACRO_F1:
        by = Decision.of(classes.probabilities, classes.labels)
        said = by.classes(probabilities)
        known = classes.logits, classes.labels
        decision = {
            PROBABILITY: score(*known),
            MACRO_F1: score(*known, by.classes(classes.probabilities)),
        }
    inside = None if sets is None else sets.sets(probabilities, said)
    told = list[Classified]()
    for number, (name, row) in enumerate(zip(new.names, probabilities, strict=True)):
        best = int(said[number])
        label = -1 if new.labels is None else int(new.labels[number])
        told.append(
            Classified(
                name,
                new.texts[number],
                names[best],
                float(row[best]),
                dict(zip(names, row.tolist(), strict=True)),
                None if inside is None else tuple(names[k] for k in np.flatnonzero(inside[number])),
                None
                if threshold is None
                else bool(row[names.index(str(wish.of))] >= threshold.value),
                None if label < 0 else names[label],
            )
        )
    scores = None
    if new.labels is not None and (labelled := np.flatnonzero(new.labels >= 0)).size:
        scores = Scores.of(
            logits[labelled], new.labels[labelled], names, classes.temperature, said[labelled]
        )
    return Classification(
        bundle.trial, names, tuple(told), str(sets or ""), wish.of, threshold, decision, scores
    )
