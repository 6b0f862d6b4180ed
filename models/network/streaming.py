"""Sessions that are judged while they grow, all side by side: a network reads a symbol in a step.

The arithmetic is NumPy's, so that a stream begins at once: importing Keras takes seconds. A network
whose state is carried takes one step for a symbol, from what is kept of its session. One that reads
windows takes as many steps as a window is long, unless another session has had the same window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
)

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.conformal import highest_p
from lstm_sweep.models.cpu.program_types import Codes, Float32s
from lstm_sweep.models.data.alphabet import END, PREDICTED, START, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.log_lines import LONGEST_REMEMBERED, REMEMBERED, Records, short_name
from lstm_sweep.models.data.sessions import number_of
from lstm_sweep.models.data.source import TooLongError
from lstm_sweep.models.data.templates import Matcher
from lstm_sweep.models.normality import (
    EXPECTED,
    FIRST,
    HIGHEST,
    LONGEST,
    SCORES,
    Calibration,
    Count,
    by_ngrams,
)
from lstm_sweep.models.scoring import Floats, log_softmax

#: rows of a step, at most: more do not stay in a cache
ROWS = 512
#: numbers that are kept of windows which were read before, at most
MOST_NUMBERS = 1 << 23
#: likeliest symbols that are kept with an unexpected one
LIKELIEST = 3
#: characters of a record that are kept
LONGEST_TEXT = 2_000
#: seconds of this process after which a line's expressions are stopped; sound ones take 10 us
LINE_SECONDS = 1.0

#: what is kept of sessions between two symbols, `[sessions, ...]`
Kept = NDArray[Any]


class Cell(NamedTuple):
    """Weights of a layer in one direction.

    Gates are in the order input, forget, output, candidate, the first three halved: the logistic
    function of x is (1 + tanh(x / 2)) / 2.
    """

    #: `[features, 4 units]`; of the first layer of each symbol what it and the bias give
    kernel: Float32s
    #: `[units, 4 units]`
    recurrent_kernel: Float32s
    #: `[4 units]`
    bias: Float32s

    def step(self, read: Float32s, output: Float32s, state: Float32s) -> tuple[Float32s, Float32s]:
        """Output and state after a symbol of which the kernel makes `read`, which is changed."""
        units = len(self.recurrent_kernel)
        read += output @ self.recurrent_kernel
        np.tanh(read, out=read)
        gates = read[:, : 3 * units]
        gates += 1
        gates *= 0.5
        after = gates[:, units : 2 * units] * state
        after += gates[:, :units] * read[:, 3 * units :]
        return gates[:, 2 * units :] * np.tanh(after), after


class Network:
    """The network of a config; `kept` of a session at its head is `first`."""

    def __init__(self, config: TrialConfig, weights: Sequence[Float32s]) -> None:
        """`weights` are in Keras's order."""
        rest = iter(weights)
        embedding = next(rest) if config.embedding_size else None
        directions = 2 if config.direction == "bi" else 1
        self._layers = [
            [_cell(*islice(rest, 3)) for _ in range(directions)] for _ in range(config.layers)
        ]
        self._kernel, self._bias = rest
        self._layers[0] = [
            one._replace(
                kernel=(one.kernel if embedding is None else embedding @ one.kernel) + one.bias
            )
            for one in self._layers[0]
        ]
        self._units, self._carried = config.layer_size, config.carried
        self._known: dict[bytes, Float32s] = {}
        if self._carried:
            zeros = np.zeros((1, config.layers, 2, config.layer_size), np.float32)
            self.first: Kept = self.after(zeros, np.array([START]))[0]
        else:
            self.first = np.full(config.sequence_length, START, np.int32)

    def logits(self, kept: Kept) -> Float32s:
        """Logits of the next symbols, `[sessions, alphabet]`."""
        if self._carried:
            return np.asarray(kept[:, -1, 0] @ self._kernel + self._bias)
        keys = [one.tobytes() for one in kept]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if len(new) + len(self._known) > MOST_NUMBERS // len(self._bias):
            self._known.clear()
            new = {key: row for row, key in enumerate(keys)}
        if new:
            self._known.update(zip(new, self._of_windows(kept[[*new.values()]]), strict=True))
        return np.array([self._known[key] for key in keys])

    def after(self, kept: Kept, codes: NDArray[np.integer]) -> Kept:
        """What is kept after one more symbol of each session."""
        if not self._carried:
            return np.concatenate([kept[:, 1:], codes[:, None].astype(np.int32)], axis=1)
        found, read = np.empty_like(kept), self._layers[0][0].kernel[codes]
        for number, [cell] in enumerate(self._layers):
            if number:
                read = found[:, number - 1, 0] @ cell.kernel
                read += cell.bias
            found[:, number, 0], found[:, number, 1] = cell.step(
                read, kept[:, number, 0], kept[:, number, 1]
            )
        return found

    def _of_windows(self, windows: Codes) -> Float32s:
        features: list[Float32s] | None = None
        for cells in self._layers:
            outputs = []
            for cell, order in zip(cells, (1, -1), strict=False):
                inputs = windows.T if features is None else features
                output = state = np.zeros((len(windows), self._units), np.float32)
                steps = []
                for one in inputs[::order]:
                    read = cell.kernel[one] if features is None else one @ cell.kernel + cell.bias
                    output, state = cell.step(read, output, state)
                    steps.append(output)
                outputs.append(steps)
            last = np.concatenate([steps[-1] for steps in outputs], axis=1)
            features = [
                np.concatenate(both, axis=1)
                for both in zip(*(s[::o] for s, o in zip(outputs, (1, -1), strict=False)),
                                strict=True)
            ]  # fmt: skip
        return np.asarray(last @ self._kernel + self._bias)


def _cell(kernel: Float32s, recurrent_kernel: Float32s, bias: Float32s) -> Cell:
    def ordered(weight: Float32s) -> Float32s:
        i, f, candidate, o = np.split(weight, 4, axis=-1)
        return np.concatenate([i / 2, f / 2, o / 2, candidate], axis=-1).astype(np.float32)

    return Cell(ordered(kernel), ordered(recurrent_kernel), ordered(bias))


class Event(NamedTuple):
    """A symbol of a session."""

    session: str
    code: int
    text: str


def _checked(code: int, info: ValidationInfo[int]) -> int:
    if not 0 <= code < info.context:
        raise ValueError(f"{code} is no code")
    return code


#: a code in a file, which may have been changed; the validation's context is the alphabet's size
Code = Annotated[int, AfterValidator(_checked)]


class Place(NamedTuple):
    """A symbol of a session, or its end."""

    #: from 1
    place: int
    code: Code
    text: str
    nats: FiniteFloat
    #: codes of the likeliest ones with their probabilities
    expected: tuple[tuple[Code, FiniteFloat], ...]


NOWHERE = Place(0, 0, "", -1.0, ())


@dataclass(slots=True)
class Session:
    """What is known of a session that may go on."""

    name: str
    #: its row in what is kept
    slot: int
    #: when its last symbol came
    heard: FiniteFloat
    symbols: NonNegativeInt = 0
    #: sum of its surprises
    nats: FiniteFloat = 0.0
    unknown: NonNegativeInt = 0
    #: how often it has each code
    counts: dict[Code, PositiveInt] = field(default_factory=dict)
    #: the most surprising symbol, the first unknown one and the last one
    worst: Place = NOWHERE
    first_unknown: Place | None = None
    last_code: Code = 0
    last_text: str = ""
    #: whether an alarm was raised
    alarmed: bool = False
    #: symbols of the events that are read just now
    waiting: int = 0

    @property
    def count(self) -> Count:
        return tuple(sorted(self.counts.items()))


class Saved(BaseModel):
    """Open sessions in a file."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    #: when it was written
    now: FiniteFloat
    sessions: list[Session]
    #: of each session what the network and `Normality.ngrams_after` keep
    kept: bytes
    ngrams: bytes


class Judgement(NamedTuple):
    """What was found of a session, as long as it is or at its end."""

    session: Session
    p: float
    #: the score that it is oddest by
    by: str
    abnormal: bool
    #: its end, if that is judged
    end: Place | None = None
    #: whether it has ended, or may go on; neither if it was closed as there were too many
    ended: bool = False
    is_open: bool = False


class OpenSessions:
    """Sessions of a stream, and their judgements.

    A session is judged once it has ended. Before, an alarm is raised for one whose end cannot take
    it back: the highest surprise does not fall, nor how far a length is above all usual ones, and
    all else is taken to be as usual as can be. So both together are the promise for whole sessions.
    Without `ends` sessions are judged by their highest surprise alone.
    """

    def __init__(
        self, network: Network, calibration: Calibration, rate: float, *, ends: bool, most: int
    ) -> None:
        """`rate` is the share of false alarms, and `most` the number of open sessions."""
        self._network, self._calibration = network, calibration
        self._rate, self._ends, self._most = rate, ends, most
        #: by name; the one that was silent for longest is the first
        self.open: dict[str, Session] = {}
        #: sessions that were closed as there were too many
        self.crowded_out = 0
        self._kept = np.repeat(network.first[None], min(most, 1_024), axis=0)
        self._ngrams = np.repeat(FIRST[None], len(self._kept), axis=0)
        self._free = [*range(len(self._kept))]
        self._ticks: list[list[tuple[Session, Event]]] = []
        self._judged: list[Judgement] = []
        #: those that were closed since there were too many, still to be judged
        self._closed: list[Session] = []
        self._far = self._bounds()

    def _bounds(self) -> tuple[float, int]:
        """The lowest surprise, and number of symbols, by which an open session may be abnormal."""

        def lowest(column: str, low: float, high: float) -> float:
            for _ in range(60):
                scores = self._lowest(**{column: (middle := (low + high) / 2)})
                is_odd = self._p(scores, whole=self._ends)[0] <= self._highest()
                low, high = (low, middle) if is_odd[0] else (middle, high)
            return high

        most = int(self._calibration.normal.lengths[-1])
        far = lowest("length", 0.0, 40.0)
        length = int(np.expm1(far + np.log1p(most))) if self._ends and far < 39 else 1 << 62
        return lowest("surprise", EXPECTED, HIGHEST), max(length, most + 1)

    def _lowest(self, surprise: float = EXPECTED, length: float = 0.0) -> Floats:
        """The lowest scores that a session may have in the end, `[1, SCORES]`."""
        known = {"surprise": max(EXPECTED, surprise), "end": EXPECTED, "length": length}
        return np.array([[known.get(name, 0.0) for name in SCORES]])

    def _highest(self, name: str = "") -> float:
        return highest_p(self._rate, len(self._calibration), number_of(name))

    def _p(self, scores: Floats, *, whole: bool) -> tuple[Floats, list[str]]:
        return self._calibration.judge(scores, whole=whole)

    def read(self, events: Iterable[Event], now: float) -> list[Judgement]:
        """Read symbols in the order in which they came; what is to be said of sessions."""
        ticks = self._ticks
        for event in events:
            session = self.open.pop(event.session, None) or self._begun(event.session)
            self.open[event.session] = session
            session.heard = now
            if session.waiting == len(ticks):
                ticks.append([])
            ticks[session.waiting].append((session, event))
            session.waiting += 1
        self._read()
        self._judge(self._closed, ended=False)
        self._closed.clear()
        judged, self._judged = self._judged, []
        return judged

    def _begun(self, name: str) -> Session:
        if len(self.open) >= self._most:
            if next(iter(self.open.values())).waiting:
                self._read()
            self.crowded_out += 1
            self._closed.append(self._removed(next(iter(self.open))))
        if not self._free:
            size = len(self._kept)
            more = min(size, self._most - size)
            self._kept = np.concatenate(
                [self._kept, np.repeat(self._network.first[None], more, axis=0)]
            )
            self._ngrams = np.concatenate([self._ngrams, np.repeat(FIRST[None], more, axis=0)])
            self._free = [*range(size, size + more)]
        slot = self._free.pop()
        self._kept[slot], self._ngrams[slot] = self._network.first, FIRST
        return Session(name, slot, 0.0)

    def _read(self) -> None:
        for tick in self._ticks:
            for begin in range(0, len(tick), ROWS):
                self._step(tick[begin : begin + ROWS])
        self._ticks.clear()

    def _step(self, read: Sequence[tuple[Session, Event]]) -> None:
        """Read one more symbol of some sessions."""
        slots = np.array([session.slot for session, _ in read])
        codes = np.array([event.code for _, event in read])
        kept = self._kept[slots]
        found = log_softmax(self._network.logits(kept))
        self._kept[slots] = self._network.after(kept, codes)
        normal = self._calibration.normal
        self._ngrams[slots] = normal.ngrams_after(self._ngrams[slots], codes)
        nats = (-found[np.arange(len(codes)), codes]).tolist()
        surprise, length = self._far
        odd = []
        for row, ((session, event), surprised) in enumerate(zip(read, nats, strict=True)):
            code = event.code
            session.waiting = 0
            session.symbols += 1
            session.nats += surprised
            session.counts[code] = session.counts.get(code, 0) + 1
            session.last_code, session.last_text = code, event.text
            if surprised > session.worst.nats:
                session.worst = _place(session.symbols, code, event.text, found[row])
            if code == UNKNOWN:
                session.unknown += 1
                if session.first_unknown is None:
                    session.first_unknown = _place(session.symbols, code, event.text, found[row])
            if (surprised >= surprise or session.symbols >= length) and not session.alarmed:
                odd.append(session)
        if odd:
            self._judge_open(odd)

    def _judge_open(self, sessions: Sequence[Session]) -> None:
        usual = np.log1p(int(self._calibration.normal.lengths[-1]))
        far = [max(0.0, float(np.log1p(one.symbols) - usual)) for one in sessions]
        scores = [self._lowest(one.worst.nats, its) for one, its in zip(sessions, far, strict=True)]
        p, by = self._p(np.concatenate(scores), whole=self._ends)
        for session, its, oddest in zip(sessions, p.tolist(), by, strict=True):
            if its <= self._highest(session.name):
                session.alarmed = True
                self._judged.append(Judgement(session, its, oddest, True, is_open=True))

    def close_idle(self, before: float) -> list[Judgement]:
        """Close sessions without a symbol since then: they have ended."""
        silent = []
        for session in self.open.values():
            if session.heard > before:
                break
            silent.append(session)
        return self.close(silent)

    def close(self, sessions: Sequence[Session]) -> list[Judgement]:
        """Close sessions, which have ended."""
        self._judge(sessions, ended=True)
        for one in sessions:
            self._removed(one.name)
        judged, self._judged = self._judged, []
        return judged

    def _removed(self, name: str) -> Session:
        session = self.open.pop(name)
        self._free.append(session.slot)
        return session

    def _judge(self, sessions: Sequence[Session], *, ended: bool) -> None:
        """Judge sessions that are closed."""
        for begin in range(0, len(sessions), ROWS):
            some = sessions[begin : begin + ROWS]
            whole = ended and self._ends
            scores, ends = self._scores(some, whole=whole)
            p, by = self._p(scores, whole=whole)
            for one, its, oddest, end in zip(some, p.tolist(), by, ends, strict=True):
                is_odd = ended and not one.alarmed and its <= self._highest(one.name)
                self._judged.append(Judgement(one, its, oddest, is_odd, end, ended))

    def _scores(
        self, sessions: Sequence[Session], *, whole: bool
    ) -> tuple[Floats, list[Place | None]]:
        """Scores of sessions that are closed, as `Normality.scores`, and their ends."""
        scores = np.zeros((len(sessions), len(SCORES)))
        columns = scores.T
        columns[0] = [max(EXPECTED, one.worst.nats) for one in sessions]
        if not whole:
            return scores, [None] * len(sessions)
        slots = [one.slot for one in sessions]
        kept, normal = self._kept[slots], self._calibration.normal
        ends = [
            _place(one.symbols + 1, END, "", row)
            for one, row in zip(sessions, log_softmax(self._network.logits(kept)), strict=True)
        ]
        symbols = np.array([one.symbols for one in sessions])
        columns[1] = [max(EXPECTED, end.nats) for end in ends]
        columns[2] = [
            (one.nats + end.nats) / (one.symbols + 1)
            for one, end in zip(sessions, ends, strict=True)
        ]
        columns[3] = [one.unknown / one.symbols for one in sessions]
        columns[4] = normal.far_in_length(symbols)
        columns[5] = normal.nearest_count([one.count for one in sessions])[0]
        ngrams = normal.ngrams_after(self._ngrams[slots], np.full(len(slots), START))
        columns[6] = by_ngrams(ngrams[:, LONGEST - 1 :], symbols)
        return scores, [*ends]

    def scores_of(self, split: Split) -> Floats:
        """Scores of the sessions of a split, `[sessions, SCORES]`.

        All have ends, and none may be open.
        """
        found = []
        bounds = [*split.starts, len(split)]
        for begin in range(0, len(split.starts), self._most):
            some = range(begin, min(begin + self._most, len(split.starts)))
            for number in some:
                codes = split.codes[bounds[number] : bounds[number + 1] - 1].tolist()
                self.read((Event(str(number), code, "") for code in codes), 0.0)
            sessions = [self.open[str(number)] for number in some]
            found.append(self._scores(sessions, whole=True)[0])
            self.close(sessions)
        return np.concatenate(found)

    def saved(self, now: float) -> Saved:
        sessions = [*self.open.values()]
        slots = [one.slot for one in sessions]
        kept, ngrams = self._kept[slots].tobytes(), self._ngrams[slots].tobytes()
        return Saved.model_construct(now=now, sessions=sessions, kept=kept, ngrams=ngrams)

    def restore(self, saved: Saved, now: float) -> None:
        """Open sessions again.

        Raises:
            ValueError: what is kept of them is not of this network.
        """
        first, count = self._network.first, len(saved.sessions)
        kept = np.frombuffer(saved.kept, first.dtype).reshape(count, *first.shape)
        ngrams = np.frombuffer(saved.ngrams, FIRST.dtype).reshape(count, *FIRST.shape)
        if (
            first.dtype == np.int32
            and not ((kept >= 0) & (kept < self._calibration.normal.alphabet)).all()
        ):
            raise ValueError("it has a code that is none")
        if not np.isfinite(kept).all():
            raise ValueError("it has numbers that are not finite")
        for session, *rows in zip(saved.sessions, kept, ngrams, strict=True):
            session.slot = self._begun(session.name).slot
            session.heard += now - saved.now
            self._kept[session.slot], self._ngrams[session.slot] = rows
            self.open[session.name] = session
        self._closed.clear()


def _place(place: int, code: int, text: str, found: Floats) -> Place:
    count = min(LIKELIEST, len(found) - PREDICTED)
    best = np.argsort(-found[PREDICTED:], kind="stable")[:count] + PREDICTED
    expected = tuple(zip(best.tolist(), np.exp(found[best]).tolist(), strict=True))
    return Place(place, code, text, -float(found[code]), expected)


class Lines:
    """Finds symbols in the lines of a stream."""

    sessions = 0  # that are lines

    def __init__(self, alphabet: Alphabet, file: str, set_timer: Callable[[float], float]) -> None:
        """`file` is the session of lines whose format names none; `set_timer` as `source.timer`."""
        assert alphabet.lines
        self._records = Records(alphabet.lines)
        self.counts = self._records.counts
        self._alphabet, self._file, self._set_timer = alphabet, file, set_timer
        self._tokens = alphabet.lines.settings.tokens
        is_field = alphabet.lines.symbol_field is not None
        self._matcher = Matcher([] if is_field else [str(one) for one in alphabet.symbols])
        self._codes: dict[str, int] = {}
        #: lines that were read, records whose symbol is unknown, and lines whose expressions took
        #: too long
        self.read = self.unmatched = self.too_long = 0

    def parts(self, block: bytes, most: int) -> Iterator[tuple[list[Event], tuple[str, ...]]]:
        """The symbols of some whole lines, with which no session ends."""
        yield self.events(block), ()

    def events(self, block: bytes) -> list[Event]:
        """The symbols of some whole lines."""
        lines = self._records.decoded(block).split("\n")
        self.read += len(lines) - (not lines[-1])
        found, rest = list[Event](), iter(lines)
        while True:
            try:
                self._set_timer(LINE_SECONDS)
                found.extend(self._found(rest))
                self._set_timer(0)
                break
            except TooLongError:
                self.too_long += 1
        self.counts.records += len(found)
        return found

    def _found(self, lines: Iterator[str]) -> Iterator[Event]:
        read, known = self._records.record, self._codes
        for line in lines:
            record = read(line)
            if record is None:
                continue
            name, masked = record
            code = known.get(masked)
            if code is None:
                code = self._code(masked)
            self.unmatched += code == UNKNOWN
            yield Event(short_name(name) or self._file, code, line[:LONGEST_TEXT])

    def _code(self, masked: str) -> int:
        alphabet = self._alphabet
        if alphabet.lines and alphabet.lines.symbol_field is not None:
            [code] = alphabet.encode([masked]).tolist()
        else:
            number = self._matcher.number(self._tokens(masked))
            code = UNKNOWN if number is None else number + len(alphabet.reserved)
        if len(self._codes) >= REMEMBERED:
            self._codes.clear()
        if len(masked) <= LONGEST_REMEMBERED:
            self._codes[masked] = code
        return int(code)
