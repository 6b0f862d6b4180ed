"""What an exported model does not expect in new data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.conformal import Promise, discoveries, raised
from lstm_sweep.models.cpu.program_types import Program
from lstm_sweep.models.data.alphabet import END, END_NAME, UNKNOWN, Alphabet
from lstm_sweep.models.data.sessions import Sessions, labels_of, read_sessions
from lstm_sweep.models.errors import InputError, check_kind, check_range, check_switch, shown
from lstm_sweep.models.normality import Calibration, Normality, count_of
from lstm_sweep.models.quality import VERDICT, OverRates, Quality, read_labels
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.actions.inference import predictor_of
from lstm_sweep.search.process import forkserver

#: findings that may be asked for, and verdicts that are listed
MOST_LISTED = 1_000_000
#: share of normal sessions that may raise an alarm if nothing else is asked for
USUAL_RATE = 0.01
#: p-values up to this are watched, and by how many standard deviations they may be too many
ODDEST, DEVIATIONS = 0.1, 4
#: why sessions are not judged as a whole
NO_ENDS = "its sessions have no ends, so they are not judged as a whole"
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

    below: float = 0.001
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
class Expected:
    """A symbol that is likely at a place."""

    symbol: Symbol
    probability: float


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
    #: the likeliest ones
    expected: list[Expected]
    #: symbols before it
    before: list[Symbol]
    #: the record whose symbol it is, with all lines that go on with it; empty if data are no log
    text: str = ""


@dataclass(frozen=True)
class Alarms:
    """Which sessions are abnormal, by how many alarms may be false; checked when it is made.

    Either a share of the normal sessions raises an alarm (`false_alarms`), or a share of the alarms
    is false (`false_discoveries`). With neither it is 1 % of the normal sessions, if the sessions
    of calibration can promise that.

    Raises:
        InputError: a value lies outside its limits, or both are given.
    """

    false_alarms: float | None = None
    false_discoveries: float | None = None

    def __post_init__(self) -> None:
        given = {"--false-alarms": self.false_alarms, "--false-discoveries": self.false_discoveries}
        for name, value in given.items():
            if value is not None:
                check_kind(name, value)
                if not 0 < value < 1:
                    raise InputError(f"{name} is {shown(value)}: expected a share, 0 to 1")
        if None not in given.values():
            raise InputError("found --false-alarms and --false-discoveries, expected one of them")

    @property
    def usual(self) -> bool:
        """Whether nothing was asked for."""
        return self.false_alarms is None and self.false_discoveries is None

    @property
    def rate(self) -> float:
        """The share of the normal sessions that may raise an alarm."""
        return USUAL_RATE if self.false_alarms is None else self.false_alarms

    def promise(self, sessions: int) -> str:
        """What so many sessions of calibration promise, for people.

        Raises:
            InputError: they are too few.
        """
        if self.false_discoveries is None:
            return f"false alarms: {Promise(self.rate, sessions)}"
        Promise(self.false_discoveries, sessions, option="--false-discoveries")
        return (
            f"false alarms: {self.false_discoveries:.2g} of all alarms on average, at most, from "
            f"{sessions:,} sessions"
        )

    def raised(
        self, p: NDArray[np.float64], calibrating: int, name: Callable[[int], str]
    ) -> NDArray[np.bool_]:
        """Which sessions that are judged together are abnormal, by their p-values and names."""
        if self.false_discoveries is None:
            return raised(p, self.rate, calibrating, name)
        return p <= discoveries(p, self.false_discoveries)


@dataclass(frozen=True)
class Verdict:
    """An abnormal session."""

    session: str
    #: the share of normal sessions that are as odd is at most this, on average
    p: float
    #: the score that it is oddest by, one of `normality.SCORES`, and what it says, in words
    by: str
    why: str
    #: how many it has
    symbols: int
    #: the symbol, or the end, that shows it
    at: Finding


@dataclass(frozen=True)
class Verdicts:
    """What was found of whole sessions."""

    #: what is promised of them; or, if they were not judged, why
    promise: str = ""
    missing: str = ""
    #: the oddest first
    abnormal: tuple[Verdict, ...] = ()
    #: sessions that each rule of `normality.RULES` by itself would call abnormal at the same rate
    rules: dict[str, int] = field(default_factory=dict)
    #: what speaks against the promise; empty if nothing does
    drift: str = ""
    #: how good the verdicts are, and those by each rule, by `VERDICT` and the rules' names; and the
    #: same with equal sessions counted once. Empty without labels
    quality: dict[str, Quality] = field(default_factory=dict)
    quality_of_distinct: dict[str, Quality] = field(default_factory=dict)
    #: what of labelled sessions they call abnormal at other rates; None without labels
    over_rates: OverRates | None = None
    #: sessions that no label names, and labels that name no session
    unlabelled: int = 0
    strange_labels: int = 0


@dataclass(frozen=True)
class SessionScore:
    """How well a session is predicted."""

    session: str
    symbols: int
    #: mean negative log-likelihood of its symbols, and of its end if that was judged, nats
    loss: float


@dataclass(frozen=True)
class Detection:
    """What was found in new data."""

    #: the trial whose model it is
    bundle: str
    #: what symbols are: `chars`, `words`, `ids` or `lines`
    kind: str
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
    verdicts: Verdicts
    #: what was done to lines of a log, for people; empty if nothing was
    noted: str

    def to_dict(self) -> dict[str, Any]:
        """All of it as `detect --json` prints it."""
        return asdict(self)


def detect(
    bundle: str,
    data: str,
    rule: Rule | None = None,
    top: int = 10,
    *,
    ends: bool = True,
    alarms: Alarms | None = None,
    calibrate: str | None = None,
    labels: str | None = None,
    apart: bool = False,
) -> Detection:
    """What the model of a bundle does not expect in new data; `top` findings are told in full.

    With `ends` the ends of sessions are judged too, if the model has learned where they end; else
    sessions may go on. `calibrate` names data with further normal sessions, which it was not
    trained on, and `labels` a file that says which sessions are abnormal. With `apart` data are
    read in a process of its own, too: expressions may take long, which only that can stop.

    Raises:
        InputError: this is no bundle, the data have none of its symbols, too few normal sessions
            are known for what is asked, or labels name none of the sessions.
    """
    check_switch("ends", ends)
    check_range("--top", top, 0, MOST_LISTED, whole=True)
    asked = bundle, data, rule or Rule(), top, ends, alarms or Alarms(), calibrate, labels
    if apart:
        return forkserver.call(_detect, *asked)
    return forkserver.call(_judge, *_read(*asked))


def _detect(*asked: Any) -> Detection:
    return _judge(*_read(*asked))


def _read(
    bundle: str,
    data: str,
    rule: Rule,
    top: int,
    ends: bool,
    alarms: Alarms,
    calibrate: str | None,
    labels: str | None,
) -> tuple[Any, ...]:
    """Arguments of `_judge`."""
    folder, opened = bundles.read_judging(bundle)
    sessions = read_known(data, bundle, opened, ends=ends)
    more = None if calibrate is None else read_known(calibrate, bundle, opened, ends=ends)
    verdicts = _promised(opened, len(more) if more else 0, alarms)
    if verdicts.missing and (more or labels or not alarms.usual):
        raise InputError(f"bundle {shown(bundle)}: {verdicts.missing}")
    truth = None
    if labels is not None:
        truth, strange = _truth(sessions, labels)
        verdicts = replace(verdicts, strange_labels=strange)
    return folder, opened, sessions, more, rule, top, alarms, verdicts, truth


def _truth(sessions: Sessions, labels: str) -> tuple[NDArray[np.float64], int]:
    """1 for sessions that are abnormal, 0 for normal ones, NaN without a label.

    A label names a session as `detect` does or, if all are in one file and have no names of their
    own, by its number there. The second result is how many labels name no session.
    """
    known = read_labels(labels)
    found = labels_of(labels, known, sessions.names, numbered=sessions.numbered)
    strange = len(known) - sum(label is not None for label in found)
    return np.array([np.nan if label is None else label for label in found], float), strange


def score(bundle: str, data: str, *, ends: bool = True) -> list[SessionScore]:
    """How well a bundle predicts each session of new data, in their order.

    Raises:
        InputError: this is no bundle, or the data have none of its symbols.
    """
    check_switch("ends", ends)
    folder, opened = bundles.read(bundle)
    sessions = read_known(data, bundle, opened, ends=ends)
    return forkserver.call(_score, folder, opened, sessions)


def _score(folder: Path, bundle: Bundle, sessions: Sessions) -> list[SessionScore]:
    """Score each session, in a process of its own."""
    program = predictor_of(folder, bundle, seed=0)
    from lstm_sweep.models.network.evaluation import judge  # Keras is there now

    surprise, _ = judge(program, bundle.config, len(bundle.alphabet), sessions.split)
    nats = np.split(surprise, sessions.split.starts[1:])
    return [
        SessionScore(sessions.name(number), len(one) - sessions.ends, float(one.mean()))
        for number, one in enumerate(nats)
    ]


def read_known(data: str, bundle: str, opened: Bundle, *, ends: bool) -> Sessions:
    """Sessions of data of which a bundle knows some symbols.

    Raises:
        InputError: it knows none.
    """
    sessions = read_sessions(data, opened.alphabet, ends=ends and opened.alphabet.ends)
    if np.isin(sessions.split.codes, (UNKNOWN, *([END] if sessions.ends else []))).all():
        raise InputError(
            f"data {shown(data)}: bundle {shown(bundle)} knows none of their symbols, expected "
            f"data such as it was trained on"
        )
    return sessions


def _promised(bundle: Bundle, more: int, alarms: Alarms) -> Verdicts:
    """What can be promised from the sessions of a bundle and some more, or why nothing can."""
    if bundle.calibration is None:
        return Verdicts(missing=NO_ENDS)
    try:
        return Verdicts(alarms.promise(len(bundle.calibration) + more))
    except InputError as error:
        return Verdicts(missing=str(error))


def _judge(
    folder: Path,
    bundle: Bundle,
    sessions: Sessions,
    more: Sessions | None,
    rule: Rule,
    most: int,
    alarms: Alarms,
    verdicts: Verdicts,
    truth: NDArray[np.float64] | None,
) -> Detection:
    """Judge each symbol and each session, in a process of its own."""
    predictor = predictor_of(folder, bundle, seed=0)
    from lstm_sweep.models.network.evaluation import judge  # Keras is there now

    def surprises(one: Sessions) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        return judge(predictor, bundle.config, len(bundle.alphabet), one.split)

    def findings(places: NDArray[np.int64]) -> list[Finding]:
        return _findings(predictor, bundle, sessions, places, surprise[places], rank[places])

    surprise, rank = surprises(sessions)
    calibration = bundle.calibration
    if calibration is not None and more:
        scores = calibration.normal.scores(more.split, surprises(more)[0], ends=more.ends)
        calibration = calibration.with_more(scores)
    if calibration is not None and not verdicts.missing:
        verdicts = _verdicts(
            verdicts, bundle, calibration, sessions, surprise, alarms, findings, truth
        )
    known = sessions.split.codes != UNKNOWN
    places = np.flatnonzero(rule.breaks(surprise, rank, known))
    of = np.searchsorted(sessions.split.starts, places, side="right") - 1
    found = np.bincount(of, minlength=len(sessions))
    worst = places[np.argsort(-surprise[places], kind="stable")][:most]
    return Detection(
        bundle.trial,
        bundle.alphabet.kind,
        len(sessions.split) - (len(sessions) if sessions.ends else 0),
        len(sessions),
        sessions.ends,
        float(surprise.mean()),
        len(places),
        {sessions.name(int(one)): int(found[one]) for one in np.flatnonzero(found)},
        findings(worst),
        verdicts,
        sessions.noted,
    )


def _verdicts(
    promised: Verdicts,
    bundle: Bundle,
    calibration: Calibration,
    sessions: Sessions,
    surprise: NDArray[np.float64],
    alarms: Alarms,
    findings: Callable[[NDArray[np.int64]], list[Finding]],
    truth: NDArray[np.float64] | None,
) -> Verdicts:
    """The abnormal sessions, and what simpler rules would call abnormal."""
    whole, split = sessions.ends, sessions.split
    scores = calibration.normal.scores(split, surprise, ends=whole)
    p, by = calibration.judge(scores, whole=whole)
    calibrating, name = len(calibration), sessions.drawn_by
    odd = np.flatnonzero(alarms.raised(p, calibrating, name))
    odd = odd[np.argsort(p[odd], kind="stable")][:MOST_LISTED]
    numbers: list[int] = odd.tolist()
    ends = split.starts + split.session_lengths

    def codes(one: int) -> NDArray[np.integer]:
        return split.codes[split.starts[one] : ends[one] - whole]

    told = [
        _shown_at(codes(one), surprise[split.starts[one] : ends[one]], by[one],
                  calibration.normal, bundle.alphabet)
        for one in numbers
    ]  # fmt: skip
    places = split.starts[odd] + np.array([place for place, _ in told], np.int64)
    abnormal = (
        Verdict(sessions.name(one), float(p[one]), by[one], why, len(codes(one)), finding)
        for one, (_, why), finding in zip(numbers, told, findings(places), strict=True)
    )
    by_rule = calibration.by_rule(scores) if whole else {}
    verdicts = replace(
        promised,
        abnormal=tuple(abnormal),
        rules={
            rule: int(alarms.raised(own, calibrating, name).sum()) for rule, own in by_rule.items()
        },
        drift=drift(p, calibrating),
    )
    if truth is None:
        return verdicts
    labelled = np.flatnonzero(~np.isnan(truth))
    _, first = np.unique([codes(one).tobytes() for one in range(len(p))], return_index=True)

    def quality(of: NDArray[np.int64]) -> dict[str, Quality]:
        abnormal = truth[of] == 1
        return {
            rule: Quality.of(own[of], alarms.raised(own, calibrating, name)[of], abnormal)
            for rule, own in ({VERDICT: p} | by_rule).items()
        }

    each = {rule: own[labelled] for rule, own in ({VERDICT: p} | by_rule).items()}
    return replace(
        verdicts,
        over_rates=OverRates.of(
            each,
            truth[labelled] == 1,
            calibrating,
            name=lambda one: sessions.name(int(labelled[one])),
        ),
        quality=quality(labelled),
        quality_of_distinct=quality(np.intersect1d(first, labelled)),
        unlabelled=len(truth) - len(labelled),
    )


def _shown_at(
    codes: NDArray[np.integer],
    nats: NDArray[np.float64],
    by: str,
    normal: Normality,
    alphabet: Alphabet,
) -> tuple[int, str]:
    """At which place of a session, from 0, one sees what it is oddest by, and what that is."""
    last = len(nats) - 1
    place, odd = last, None
    if by in ("surprise", "ngrams"):
        place = int(nats[: len(codes)].argmax()) if len(codes) else last
    elif by == "mean":
        place = int(nats.argmax())
    elif by == "unknown":
        place = int(np.flatnonzero(codes == UNKNOWN)[0])
    elif by == "counts":
        code, has, usual = normal.odd_count(count_of(codes))
        [symbol] = alphabet.decode([code])
        odd = str(symbol), has, usual
        place = int(np.flatnonzero(codes == code)[-1]) if has > usual else last
    unknown = int((codes == UNKNOWN).sum())
    return place, reason(by, mean=float(nats.mean()), unknown=unknown, symbols=len(codes), odd=odd)


def reason(
    by: str, *, mean: float, unknown: int, symbols: int, odd: tuple[str, int, int] | None
) -> str:
    """What a session is oddest by, in words: its mean surprise (nats), or numbers of symbols.

    `odd` is the symbol whose count is, how often the session has it, and the most similar one.
    """
    symbol, has, usual = odd or ("", 0, 0)
    return {
        "surprise": "a symbol that was not expected",
        "end": "an end that was not expected",
        "mean": f"{bits(mean):.2g} bits a symbol",
        "unknown": f"{unknown:,} symbols that training data do not have",
        "length": f"its length, {symbols:,} symbols",
        "ngrams": "symbols in an order that training data do not have",
        "counts": f"{has:,} times {symbol}, where the most similar session has it {usual:,} times",
    }[by]


def drift(p: NDArray[np.float64], calibration: int) -> str:
    """Whether far more sessions than a tenth are among the oddest tenth; p-values are uniform."""
    share = float((p <= ODDEST).mean())
    deviation = math.sqrt(ODDEST * (1 - ODDEST) * (1 / len(p) + 1 / calibration))
    if share <= ODDEST + DEVIATIONS * deviation:
        return ""
    return (
        f"{share:.0%} of these sessions are among the {ODDEST:.0%} that are the oddest in normal "
        f"data: many are abnormal, or normal ones have changed since, and then the promise is void"
    )


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
    of = np.searchsorted(split.starts, places, side="right") - 1
    for row, (place, session) in enumerate(zip(places, of, strict=True)):
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
                expected=[*map(Expected, alphabet.decode(codes[row]), map(float, chances[row]))],
                before=sessions.read(max(head, place - CONTEXT), place),
                text=sessions.text(int(place)) if sessions.log and symbol != END_NAME else "",
            )
        )
    return found
