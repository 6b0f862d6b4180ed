"""Sessions of a log that is written just now: alarms as they come, a state that outlives a kill."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, ValidationError
from typing_extensions import TypedDict

from lstm_sweep.models.bundle import bundle as bundles
from lstm_sweep.models.bundle.bundle import Bundle
from lstm_sweep.models.data.alphabet import UNKNOWN, Alphabet
from lstm_sweep.models.data.log_lines import Counts
from lstm_sweep.models.data.reader import ID_DIGITS
from lstm_sweep.models.data.sessions import NUMBERED
from lstm_sweep.models.data.source import timer
from lstm_sweep.models.errors import (
    InputError,
    check_range,
    check_switch,
    cut,
    refusing,
    shown,
    why_not,
)
from lstm_sweep.models.network.streaming import (
    Event,
    Judgement,
    Lines,
    Network,
    OpenSessions,
    Place,
    Saved,
    Session,
)
from lstm_sweep.models.normality import Calibration
from lstm_sweep.models.scoring import bits
from lstm_sweep.search.actions.detection import Alarms, drift, read_known, reason
from lstm_sweep.search.process.files import replace_text
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.process.tail import MOST_REST, Pipe, Tail

#: seconds between two looks for silent sessions, and between two writes of a state, which takes
#: this share of the time, at most
CLOSE_S, SAVE_S, SAVE_SHARE = 0.5, 3.0, 0.05
#: seconds between two lines that say the same
SAY_AGAIN_S = 60.0
#: p-values that are watched for drift, at least and at most
FEWEST_WATCHED, MOST_WATCHED = 200, 2_000
#: format of a state, and bytes of it at most
STATE_FORMAT, MOST_STATE = 3, 8 << 30
#: an event id, and lines of ids that are read together
ID, TOGETHER = re.compile(f"[0-9]{{1,{ID_DIGITS}}}"), 1_024
#: upper bounds of p-values that are counted
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *(n / 10 for n in range(1, 11)))
MOST_IDLE, MOST_OPEN = 30 * 86_400, 10_000_000


@dataclass(frozen=True)
class Following:
    """How a log is followed; checked when it is made.

    Raises:
        InputError: a value lies outside its limits.
    """

    #: seconds without a line after which a session has ended, by the clock of this machine
    idle: float = 300.0
    #: sessions that are open at once, at most
    open_sessions: int = 50_000
    #: a file that remembers what was read
    state: str | None = None
    #: where figures are told, PORT or ADDRESS:PORT
    metrics: str | None = None

    def __post_init__(self) -> None:
        check_range("--idle", self.idle, 0.1, MOST_IDLE)
        check_range("--open-sessions", self.open_sessions, 1, MOST_OPEN, whole=True)
        if self.metrics is not None:
            _, _, port = self.metrics.rpartition(":")
            if not port.isdecimal() or not 0 < int(port) < 1 << 16:
                raise InputError(
                    f"--metrics is {shown(self.metrics)}: expected a port, or ADDRESS:PORT"
                )


def _decodable(head: str) -> str:
    base64.b64decode(head, validate=True)
    return head


class Position(TypedDict):
    """Where to go on in a file: its device and inode, its first bytes, and bytes before that."""

    file: tuple[int, int]
    head: Annotated[str, AfterValidator(_decodable)]
    offset: Annotated[int, Field(ge=0, lt=1 << 62)]


class State(Saved):
    """What was read, in a file."""

    format: int
    #: its digest
    bundle: str
    file: str
    ends: bool
    #: of event ids
    numbered: int
    position: Position | None


class Ids:
    """Finds event ids in the lines of a stream, as `reader.read_symbols` does in those of a file.

    A line is a session, which ends with it; but as long as no line has had several ids, the stream
    is one. Lines with anything else, or so long that they may have been cut, are left out.
    """

    too_long = 0

    def __init__(self, alphabet: Alphabet, file: str, sessions: int) -> None:
        """`sessions` is the number of lines with ids before; below 0 if all are one session."""
        self._alphabet, self._file, self.sessions = alphabet, file, sessions
        self.counts = Counts()
        #: lines that were read, and ids that are unknown
        self.read = self.unmatched = 0

    def parts(self, block: bytes, most: int) -> Iterator[tuple[list[Event], list[str]]]:
        """The ids of so many lines at a time, and the sessions that end with, or before, them."""
        lines = block.decode(errors="replace").split("\n")
        self.read += len(lines) - (not lines[-1])
        events, ended = list[Event](), list[str]()
        for line in lines:
            ids = line.split()
            if len(line) >= MOST_REST or not all(map(ID.fullmatch, ids)):
                self.counts.no_ids += 1
                continue
            if len(ids) > 1 and self.sessions <= 0:
                yield events, [self._file]
                events, self.sessions = [], -self.sessions
            name = self._file
            if len(ids) > 1 or (ids and self.sessions > 0):
                self.sessions += 1
                name += f"{NUMBERED}{self.sessions}"
                ended.append(name)
            else:
                self.sessions -= len(ids)
            codes = self._alphabet.encode(map(int, ids)).tolist()
            self.counts.records += len(codes)
            self.unmatched += codes.count(UNKNOWN)
            events += (Event(name, code, one) for code, one in zip(codes, ids, strict=True))
            if len(ended) >= most:
                yield events, ended
                events, ended = [], []
        yield events, ended


class Follower:
    """Alarms of a log that is written just now, and figures of it."""

    def __init__(
        self,
        bundle: str,
        follows: str | int,
        how: Following,
        alarms: Alarms,
        *,
        ends: bool,
        calibrate: str | None,
        emit: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
    ) -> None:
        """`follows` is the path of a file, or the number of a descriptor that is read.

        `emit` takes alarms, and `say` lines for people.

        Raises:
            InputError: this is no bundle, too few normal sessions are known for what is asked, or
                the state is not one of this bundle and file.
        """
        check_switch("ends", ends)
        if alarms.false_discoveries is not None:
            raise InputError(
                "--false-discoveries is of a batch: expected --false-alarms with --follow"
            )
        folder, self._bundle = bundles.read_judging(bundle)
        self._how, self._alarms, self._emit, self._say = how, alarms, emit, say
        calibration = self._bundle.calibration
        if calibration is None:
            raise InputError(
                f"bundle {shown(bundle)}: its sessions have no ends, expected event ids, or log "
                f"lines with sessions (launch --symbols lines)"
            )
        network = Network(self._bundle.config, bundles.weights_of(folder, self._bundle))
        if calibrate is not None:
            calibration = _with_more(network, calibration, calibrate, bundle, self._bundle)
        self._promise = alarms.promise(len(calibration))
        self._calibration, self._ends = calibration, ends
        self._open = OpenSessions(
            network, calibration, alarms.rate, ends=ends, most=how.open_sessions
        )
        self._where = "-" if isinstance(follows, int) else str(Path(follows).absolute())
        #: what a state must be of
        self._mine = {
            "format": STATE_FORMAT, "bundle": _digest(folder), "file": self._where, "ends": ends,
        }  # fmt: skip
        self._lines: Lines | Ids
        self._numbered = 0
        position = self._restored()
        self._input = (
            Pipe(follows) if isinstance(follows, int) else Tail(Path(self._where), say, position)
        )
        #: sessions by verdict, sessions that were closed by why, counted p-values
        self.verdicts, self.closed = Counter[str](), Counter[str]()
        self._p = np.zeros(len(BOUNDS), np.int64)
        self._p_sum = 0.0
        self._watched: deque[float] = deque(maxlen=MOST_WATCHED)
        self.drift = ""
        self._said: dict[str, tuple[float, int]] = {}

    def run(self, interrupts: Interrupts) -> None:
        """Follow until the end of a pipe, or until it is interrupted."""
        network = self._bundle.config
        anew = "" if network.carried else (
            f"; windows of {network.sequence_length} symbols are read anew, unless they came before"
        )  # fmt: skip
        self._say(f"following {self._where}; {self._promise}{anew}")
        if self._how.metrics is not None:
            self._serve(self._how.metrics)
        name = Path(self._where).name if self._where != "-" else "stdin"
        with timer() as set_timer:
            alphabet = self._bundle.alphabet
            self._lines = (
                Lines(alphabet, name, set_timer)
                if alphabet.lines
                else Ids(alphabet, name, self._numbered)
            )
            if self._how.state is not None:
                self._save(self._how.state)
            self._loop(interrupts)
        self._say(self._summary())

    def _loop(self, interrupts: Interrupts) -> None:
        close_at = save_at = 0.0
        while not interrupts.signal_number:
            block = self._input.read()
            now = time.monotonic()
            if block:
                self._read(block, now)
            if now >= close_at:
                self._close_idle(now)
                close_at = now + CLOSE_S
            if self._how.state is not None and now >= save_at:
                self._save(self._how.state)
                took = time.monotonic() - now
                save_at = now + took + max(SAVE_S, took / SAVE_SHARE)
            if block is None:
                self._end(self._open.open.values())
                break
            if not block:
                self._input.wait()
        if self._how.state is not None:
            self._save(self._how.state)

    def _read(self, block: bytes, now: float) -> None:
        crowded = self._open.crowded_out
        for events, ended in self._lines.parts(block, min(self._how.open_sessions, TOGETHER)):
            self._note(self._open.read(events, now))
            self._end(self._open.open[name] for name in ended if name in self._open.open)
        self._crowded(self._open.crowded_out - crowded)

    def _end(self, sessions: Iterable[Session]) -> None:
        closed = self._open.close([*sessions])
        self.closed["end"] += len(closed)
        self._note(closed)

    def _close_idle(self, now: float) -> None:
        closed = self._open.close_idle(now - self._how.idle)
        if closed:
            self.closed["idle"] += len(closed)
            self._note(closed)
            self._tell("idle", len(closed), f"sessions without a line for {self._how.idle:g} s "
                       f"are closed (--idle)")  # fmt: skip

    def _crowded(self, count: int) -> None:
        if count:
            self.closed["crowded out"] += count
            self._tell("crowded", count, f"sessions are closed unfinished, since over "
                       f"{self._how.open_sessions:,} are open (--open-sessions)")  # fmt: skip

    def _tell(self, what: str, count: int, text: str) -> None:
        """Say how often something has happened, but not all the time."""
        at, before = self._said.get(what, (-SAY_AGAIN_S, 0))
        now = time.monotonic()
        if now - at < SAY_AGAIN_S:
            self._said[what] = at, before + count
            return
        self._say(f"{before + count:,} {text}")
        self._said[what] = now, 0

    def _note(self, judged: Sequence[Judgement]) -> None:
        """Raise alarms, and count sessions that are closed."""
        for one in judged:
            if one.abnormal:
                self._emit(self._alarm(one))
                self.verdicts["abnormal"] += 1
            if one.is_open:
                continue
            self._p[int(np.searchsorted(BOUNDS, one.p))] += 1
            self._p_sum += one.p
            self._watched.append(one.p)
            if not one.abnormal and not one.session.alarmed:
                self.verdicts["normal" if one.ended else "unfinished"] += 1
        if len(self._watched) >= FEWEST_WATCHED and judged:
            found = drift(np.array(self._watched), len(self._calibration))
            if found and not self.drift:
                self._say(f"of the last {len(self._watched):,} sessions: {found}")
            self.drift = found

    def _alarm(self, judged: Judgement) -> dict[str, Any]:
        """An alarm in the form that other programs take on."""
        session, alphabet = judged.session, self._bundle.alphabet
        at, odd = self._shown(judged)
        end_nats, ends = (judged.end.nats, 1) if judged.end else (0.0, 0)
        why = reason(
            judged.by,
            mean=(session.nats + end_nats) / (session.symbols + ends),
            unknown=session.unknown,
            symbols=session.symbols,
            odd=odd,
        )
        [template, *likely] = alphabet.decode([at.code, *(code for code, _ in at.expected)])
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "session": session.name,
            "verdict": "abnormal",
            "p": judged.p,
            "by": judged.by,
            "why": why,
            "open": judged.is_open,
            "symbols": session.symbols,
            "line": {
                "place": at.place or None,
                "text": at.text,
                "template": template,
                "surprise_bits": round(bits(at.nats), 2) if at.nats >= 0 else None,
            },
            "expected": [
                {"template": symbol, "probability": round(chance, 4)}
                for symbol, (_, chance) in zip(likely, at.expected, strict=True)
            ],
            "false_alarms": self._alarms.rate,
            "model": self._bundle.trial,
            "lines_read": self._lines.read,
        }

    def _shown(self, judged: Judgement) -> tuple[Place, tuple[str, int, int] | None]:
        """The symbol that shows what a session is oddest by, and a count that is."""
        session, by = judged.session, judged.by
        last = Place(session.symbols, session.last_code, session.last_text, -1.0, ())
        if by == "mean" and judged.end:
            return max(session.worst, judged.end, key=lambda one: one.nats), None
        if by == "unknown" and session.first_unknown:
            return session.first_unknown, None
        if by == "counts":
            code, has, usual = self._calibration.normal.odd_count(session.count)
            [symbol] = self._bundle.alphabet.decode([code])
            odd = str(symbol), has, usual
            if has > usual:
                some = next((one for one in (session.worst, last) if one.code == code), None)
                return some or Place(0, code, "", -1.0, ()), odd
            return judged.end or last, odd
        if by in ("end", "length"):
            return judged.end or last, None
        return session.worst, None

    def collect(self) -> Iterator[Any]:
        """Figures, as a collector of Prometheus gives them; none before lines are read."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        if not hasattr(self, "_lines"):
            return
        lines, counts = self._lines, self._lines.counts
        for name, about, label, values in (
            ("sessions", "Sessions by their verdict", "verdict", self.verdicts),
            ("closed_sessions", "Sessions that were closed", "why", self.closed),
            ("records", "Records of logs", "matched", {
                "yes": counts.records - lines.unmatched, "no": lines.unmatched,
            }),
            ("left_out_lines", "Lines that are in no session", "why", {
                "no session": counts.no_session, "no symbol": counts.no_symbol + counts.no_ids,
                "goes on with none": counts.headless, "took too long": lines.too_long,
            }),
        ):  # fmt: skip
            family = CounterMetricFamily(f"lstm_sweep_{name}", about, labels=[label])
            for value, count in [*values.items()]:  # another thread goes on counting
                family.add_metric([value], count)
            yield family
        yield CounterMetricFamily("lstm_sweep_lines", "Lines that were read", lines.read)
        open_now = len(self._open.open)
        yield GaugeMetricFamily("lstm_sweep_open_sessions", "Sessions that may go on", open_now)
        drifts = float(bool(self.drift))
        yield GaugeMetricFamily("lstm_sweep_drift", "1 if the promise seems to be void", drifts)
        rising = np.cumsum(self._p).tolist()
        buckets = [*zip(map(str, BOUNDS), rising, strict=True), ("+Inf", rising[-1])]
        yield HistogramMetricFamily(
            "lstm_sweep_p_values", "P-values of closed sessions, even if all is as it was",
            buckets=buckets, sum_value=self._p_sum,
        )  # fmt: skip

    def _serve(self, where: str) -> None:
        from prometheus_client import CollectorRegistry, start_http_server

        address, _, port = where.rpartition(":")
        registry = CollectorRegistry()
        registry.register(self)
        with refusing(f"--metrics {where}", "expected a free port"):
            start_http_server(int(port), addr=address or "127.0.0.1", registry=registry)

    def _summary(self) -> str:
        lines, abnormal = self._lines, self.verdicts["abnormal"]
        said = [
            f"{lines.read:,} lines, {sum(self.closed.values()):,} sessions closed, {abnormal:,} "
            f"abnormal, {len(self._open.open):,} still open"
        ]
        if lines.unmatched:
            what = "records match no template" if self._bundle.alphabet.lines else "ids are unknown"
            said.append(f"{lines.unmatched:,} {what}")
        if lines.too_long:
            said.append(f"{lines.too_long:,} lines are left out, whose expressions take too long")
        return "; ".join([*said, *filter(None, [str(lines.counts)])])

    def _save(self, state: str) -> None:
        """Write what was read, at once: a kill leaves this state or the one before."""
        saved = State.model_construct(
            None,
            **self._mine,
            position=self._input.position(),
            numbered=self._lines.sessions,
            **dict(self._open.saved(time.monotonic())),
        )
        try:
            replace_text(Path(state), saved.model_dump_json(), lasting=True)
        except (OSError, ValueError) as error:
            text = f"times --state {cut(state)} could not be written: {why_not(error)}"
            self._tell("state", 1, text)

    def _restored(self) -> dict[str, Any] | None:
        """Open the sessions of a state again, if there is one; where to go on, if it is known."""
        if self._how.state is None:
            return None
        path = Path(self._how.state)
        try:
            if not path.exists() and path.parent.is_dir():
                return None
            if not path.is_file():
                raise ValueError("it is no file" if path.exists() else "no such folder")
            with path.open(encoding="utf-8") as file:
                text = file.read(MOST_STATE)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--state {shown(str(path))}: {cut(str(error))}, expected a file of `detect`"
            ) from None
        try:
            saved = State.model_validate_json(text, context=len(self._bundle.alphabet))
            for name, mine in self._mine.items():
                if (its := getattr(saved, name)) != mine:
                    raise ValueError(f"{name} is {its!r:.80}, not {mine!r:.80}")
            self._open.restore(saved, time.monotonic())
        except ValueError as error:
            why = str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                why = ": ".join([".".join(map(str, first["loc"])), first["msg"]]).strip(": ")
            raise InputError(
                f"--state {shown(str(path))}: {cut(why)}, expected what `detect` has written for "
                f"this bundle, file and --open"
            ) from None
        self._numbered = saved.numbered
        self._say(f"going on with {len(saved.sessions):,} open sessions; alarms of the last "
                  f"seconds before the end may come again")  # fmt: skip
        return saved.position and dict(saved.position)


def _digest(folder: Path) -> str:
    """What a bundle is known by."""
    digest = hashlib.sha256()
    for name in (bundles.MODEL, bundles.ALPHABET, bundles.CONFIG, bundles.CALIBRATION):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _with_more(
    network: Network, calibration: Calibration, data: str, bundle: str, opened: Bundle
) -> Calibration:
    """The same with further normal sessions."""
    sessions = read_known(data, bundle, opened, ends=True)
    scores = OpenSessions(network, calibration, 0.0, ends=True, most=1_024)
    return calibration.with_more(scores.scores_of(sessions.split))
