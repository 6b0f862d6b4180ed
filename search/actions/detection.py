"""What an exported model does not expect in new data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.cpu.program_types import Program
from lstm_sweep.models.data.alphabet import END, UNKNOWN
from lstm_sweep.models.data.corpus import Sessions, read_sessions
from lstm_sweep.models.errors import InputError, check_kind, check_range, check_switch, shown
from lstm_sweep.search.actions.inference import predictor_of
from lstm_sweep.search.process import forkserver

#: findings that may be asked for
MOST_LISTED = 1_000_000
#: symbols that are shown before an unexpected one, and in its place
CONTEXT, LIKELIEST = 12, 3

Symbol = str | int


@dataclass(frozen=True)
class Rule:
    """Which symbols are unexpected; checked when it is made.

    Those less likely than `below` or, if `candidates` is given, those that are not among so many
    likeliest (Du et al., "DeepLog: anomaly detection and diagnosis from system logs through deep
    learning", CCS 2017). Symbols that training data did not have are never among them.

    Raises:
        InputError: a value lies outside its limits.
    """

    below: float
    candidates: int | None = None

    def __post_init__(self) -> None:
        check_kind("--below", self.below)
        if not 0 < self.below < 1:
            raise InputError(f"--below is {shown(self.below)}: expected a probability, 0 to 1")
        if self.candidates is None:
            return
        check_kind("--candidates", self.candidates, whole=True)
        if self.candidates < 1:
            raise InputError(f"--candidates is {shown(self.candidates)}: expected 1 or more")

    def breaks(
        self, surprise: NDArray[np.float64], rank: NDArray[np.int64], known: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether symbols are unexpected, by their nats and by how many are likelier.

        `known` are those that training data had.
        """
        if self.candidates is not None:
            return (rank >= self.candidates) | ~known
        return (surprise > -math.log(self.below)) | ~known

    def __str__(self) -> str:
        if self.candidates is not None:
            return f"not among the {self.candidates:,} likeliest"
        return f"unknown or less likely than {self.below:g}"


@dataclass(frozen=True)
class Finding:
    """An unexpected symbol, or end of a session."""

    session: str
    #: its place in the session, from 1
    place: int
    #: `<end>` for the end
    symbol: Symbol
    #: whether training data had it
    known: bool
    probability: float
    #: symbols that are likelier there
    likelier: int
    #: the likeliest ones, with their probabilities
    expected: tuple[tuple[Symbol, float], ...]
    #: symbols before it
    before: tuple[Symbol, ...]

    def to_dict(self) -> dict[str, Any]:
        """The symbol as `detect --json` prints it."""
        expected = [{"symbol": symbol, "probability": p} for symbol, p in self.expected]
        return vars(self) | {"expected": expected, "before": list(self.before)}


@dataclass(frozen=True)
class Detection:
    """What was found in new data."""

    bundle: Bundle
    symbols: int
    sessions: int
    #: whether the ends of sessions were judged too
    ends: bool
    #: mean negative log-likelihood of all symbols, and ends if they were judged, nats
    loss: float
    #: how many of them are unexpected, and in each session that has some, by its name
    unexpected: int
    in_sessions: dict[str, int]
    #: some of them, the most surprising first
    findings: list[Finding]

    def to_dict(self) -> dict[str, Any]:
        """All of it as `detect --json` prints it."""
        return vars(self) | {
            "bundle": self.bundle.trial,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def detect(bundle: str, data: str, rule: Rule, top: int = 10, *, ends: bool = True) -> Detection:
    """What the model of a bundle does not expect in new data; `top` findings are told in full.

    With `ends` the ends of sessions are judged too, if the model has learned where they end.

    Raises:
        InputError: this is no bundle, or the data have none of its symbols.
    """
    check_switch("--ends", ends)
    check_range("--top", top, 0, MOST_LISTED, whole=True)
    folder, opened = bundles.read(bundle)
    sessions = read_sessions(data, opened.alphabet, ends=ends and opened.alphabet.ends)
    if np.isin(sessions.split.codes, (UNKNOWN, *([END] if sessions.ends else []))).all():
        raise InputError(
            f"data {shown(data)}: bundle {shown(bundle)} knows none of their symbols, expected "
            f"data such as it was trained on"
        )
    return forkserver.call(_judge, folder, opened, sessions, rule, top)


def _judge(folder: Path, bundle: Bundle, sessions: Sessions, rule: Rule, most: int) -> Detection:
    """Judge each symbol, in a process of its own."""
    predictor = predictor_of(folder, bundle, seed=0)
    from lstm_sweep.models.network.evaluation import judge  # Keras is there now

    surprise, rank = judge(predictor, bundle.config, len(bundle.alphabet), sessions.split)
    known = sessions.split.codes != UNKNOWN
    places = np.flatnonzero(rule.breaks(surprise, rank, known))
    found = np.bincount(_sessions_of(sessions, places), minlength=len(sessions))
    worst = places[np.argsort(-surprise[places], kind="stable")][:most]
    return Detection(
        bundle,
        len(sessions.split) - (len(sessions) if sessions.ends else 0),
        len(sessions),
        sessions.ends,
        float(surprise.mean()),
        len(places),
        {sessions.name(int(one)): int(found[one]) for one in np.flatnonzero(found)},
        _findings(predictor, bundle, sessions, worst, surprise[worst], rank[worst]),
    )


def _sessions_of(sessions: Sessions, places: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(sessions.split.starts, places, side="right") - 1


def _findings(
    predictor: Program,
    bundle: Bundle,
    sessions: Sessions,
    places: NDArray[np.int64],
    surprise: NDArray[np.float64],
    rank: NDArray[np.int64],
) -> list[Finding]:
    from lstm_sweep.models.network.evaluation import likeliest

    split, alphabet = sessions.split, bundle.alphabet
    codes, chances = likeliest(predictor, bundle.config, len(alphabet), split, places, LIKELIEST)
    found = []
    for row, (place, session) in enumerate(
        zip(places, _sessions_of(sessions, places), strict=True)
    ):
        head = int(split.starts[session])
        [symbol] = sessions.read(place, place + 1)
        found.append(
            Finding(
                session=sessions.name(int(session)),
                place=int(place) - head + 1,
                symbol=symbol,
                known=bool(split.codes[place] != UNKNOWN),
                probability=float(np.exp(-surprise[row])),
                likelier=int(rank[row]),
                expected=tuple(
                    zip(alphabet.decode(codes[row]), map(float, chances[row]), strict=True)
                ),
                before=tuple(sessions.read(max(head, place - CONTEXT), place)),
            )
        )
    return found
