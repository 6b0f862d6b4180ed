"""`Source`, which names the data of a corpus, and the files that belong to each split."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import re
import signal
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeAlias

from lstm_sweep.models.data import service_log
from lstm_sweep.models.errors import (
    InputError,
    check_switch,
    cut,
    nearest,
    one_of,
    refusing,
    resolved,
    shown,
    why_not,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: variable with the folders below which data are opened, separated by `os.pathsep`; unset: anywhere
VARIABLE = "LSTM_SWEEP_DATA_BELOW"
#: a pipe that nobody writes to would be waited for
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: folders may be passed through without being read
FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


def open_only_below(
    folders: Iterable[Path], environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let this process, and those that it starts, open data below these folders alone.

    What it keeps of data itself lies in the first of them.
    """
    environment[VARIABLE] = os.pathsep.join(str(folder.resolve()) for folder in folders)


def is_confined() -> bool:
    """Whether data are read for others, who may learn nothing of what is in a file by an error."""
    return VARIABLE in os.environ


def own_folder() -> Path | None:
    """Where a process keeps data that opens those below some folders alone; else None."""
    return Path(os.environ[VARIABLE].partition(os.pathsep)[0]) if is_confined() else None


def told(value: object) -> str:
    """What was found in a file, for a message; not what it is if that is read for others."""
    return "something else" if is_confined() else shown(value)


def open_data(path: Path) -> BinaryIO:
    """Open a file of data.

    Raises:
        InputError: it leads out of the folders below which this process opens data.
        OSError: it cannot be opened.
    """
    if not is_confined():
        return path.open("rb")
    real = Path(os.path.realpath(path))
    for folder in os.environ[VARIABLE].split(os.pathsep):
        if folder and real.is_relative_to(folder):
            return os.fdopen(_opened_below(Path(folder), real, path), "rb")
    raise _leads_out(path)


def read_small(path: Path, most: int) -> str:
    """The text of a file that is said beside the data, of so many bytes at most."""
    with refusing(str(path), "expected a file to read"), open_data(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"{path}: is over {most:,} bytes, expected fewer")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are no text, expected UTF-8") from None


def _opened_below(folder: Path, real: Path, path: Path) -> int:
    """A descriptor of a file below a folder; `real` is its path without links."""
    *folders, name = real.relative_to(folder).parts or ("",)
    place = os.open(folder, FOLDER)
    try:
        for part in folders:
            inner = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        descriptor = os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=place)
    except OSError as error:
        if real.is_symlink() or os.path.realpath(path) != str(real):
            raise _leads_out(path) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: found no file, expected one")
    return descriptor


def _leads_out(path: Path) -> InputError:
    return InputError(
        f"data {shown(path.name)}: it leads out of the folders of this service, expected a file "
        f"below one of them (--data-root)"
    )


Session: TypeAlias = "str | NDArray[np.int64]"


@dataclass(frozen=True)
class Sample:
    """A built-in corpus and its description."""

    about: str
    #: `chars`, `ids` or `lines`
    symbols: str
    #: sessions, or lines
    sessions: Callable[[], Iterator[Session]]

    def text(self) -> bytes:
        return "".join(f"{line}\n" for line in self.sessions()).encode()


def python_docs() -> Iterator[str]:
    """Yield the help topics of this Python, sorted by name; each is a session."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


@dataclass(frozen=True)
class Workflow:
    """A random process that generates an event log with long-range dependencies.

    Each session is one job. Its first event is its kind (uniform over `kinds`), then follow
    `rounds` rounds, and its last event is determined by its kind. A round begins with an action
    (drawn from `action_probabilities`). Then, until the round ends, each decision draws one of
    three: a heartbeat (probability `heartbeat`), an error followed by a retry (`error`), or the
    acknowledgement of the action, which ends the round. So each event is either drawn by itself or
    determined by earlier events of its session, and each draw is visible in the next event.

    Events: kind k opens with k and closes with 90 + k; action a is 10 + a, acknowledged by 30 + a;
    heartbeat 50; error 60, retry 61.
    """

    kinds: int = 8
    rounds: int = 4
    action_probabilities: tuple[float, ...] = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)
    heartbeat: float = 0.40
    error: float = 0.06

    HEARTBEAT = 50
    ERROR = 60
    RETRY = 61

    def session(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw one session, `<int64>[events]`."""
        import numpy as np

        kind = int(rng.integers(self.kinds))
        events = [kind]
        for _ in range(self.rounds):
            action = int(rng.choice(len(self.action_probabilities), p=self.action_probabilities))
            events.append(10 + action)
            while (draw := rng.random()) < self.heartbeat + self.error:
                events += [self.HEARTBEAT] if draw < self.heartbeat else [self.ERROR, self.RETRY]
            events.append(30 + action)
        return np.array([*events, 90 + kind])

    def sessions(self, events: int, seed: int) -> Iterator[NDArray[np.int64]]:
        """Draw sessions until they hold at least `events` events."""
        import numpy as np

        rng = np.random.default_rng(seed)
        while events > 0:
            session = self.session(rng)
            events -= len(session)
            yield session

    def entropy(self, *, ends: bool) -> float:
        """Conditional entropy of a symbol given its session's past, in nats per symbol.

        That is the entropy of a session divided by its expected length; with `ends`, the end of a
        session is one more symbol, which its last event determines, so it adds none. A round takes
        D = 1 / (1 - heartbeat - error) decisions on average, each an independent draw from
        (heartbeat, error, acknowledgement); it has 1 action, D - 1 interruptions (an error counts
        two events) and 1 acknowledgement.
        """
        acknowledge = 1 - self.heartbeat - self.error
        decisions = 1 / acknowledge
        per_decision = _entropy((self.heartbeat, self.error, acknowledge))
        nats = math.log(self.kinds) + self.rounds * (
            _entropy(self.action_probabilities) + decisions * per_decision
        )
        symbols = 2 + ends + self.rounds * (2 + decisions * (self.heartbeat + 2 * self.error))
        return nats / symbols


def _entropy(probabilities: tuple[float, ...]) -> float:
    return -sum(p * math.log(p) for p in probabilities)


WORKFLOW = Workflow()
WORKFLOW_EVENTS = 100_000
WORKFLOW_SEED = 2026

SAMPLES = {
    "python-docs": Sample(
        "the help topics of this Python, characters, a topic is a session", "chars", python_docs
    ),
    "workflow-log": Sample(
        f"{WORKFLOW_EVENTS:,} generated events of jobs, ids, a job is a session; on average no "
        f"model can score below {WORKFLOW.entropy(ends=True):.4f} nats per symbol, ends of jobs "
        f"included ({WORKFLOW.entropy(ends=False):.4f} per event without them)",
        "ids",
        lambda: WORKFLOW.sessions(WORKFLOW_EVENTS, WORKFLOW_SEED),
    ),
    "service-log": Sample(
        f"raw lines of a shop's services, generated, of {service_log.REQUESTS:,} requests",
        "lines",
        service_log.service_log,
    ),
    "faulty-service-log": Sample(
        f"a later log of the same services, of {service_log.JUDGED:,} requests, "
        f"{service_log.FAULTY:.0%} of them with a fault",
        "lines",
        partial(
            service_log.service_log, service_log.JUDGED, service_log.SEED + 1, service_log.FAULTY
        ),
    ),
}


SPLITS = ("train", "validation", "test")
SYMBOLS = ("auto", "chars", "words", "ids", "lines")
#: what a field of JSON lines is named by, as the symbol or as the name of the session
FIELD = "field="
#: fields of a source that lines alone have, those that labelled sequences alone have, and those
#: that name files beside the data
OF_LINES = ("session_by", "header", "templates", "template_settings")
OF_LABELLED = ("label", "text", "group", "labels", "pretrained")
FILES_BESIDE = ("templates", "template_settings", "labels", "pretrained")
#: words that are symbols, if it is not said how many
VOCABULARY = 20_000
#: characters of these, at most: an expression takes time to be read
LONGEST_OPTION = 4_096
#: names in a folder that are compared with one that is not there, at most
MOST_BESIDE = 1_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """What data a corpus is loaded from, and how."""

    #: name of a sample, or path of a file or folder
    data: str
    #: what a symbol is: `chars`, `words`, `ids`, the template of a log line (`lines`), a field of
    #: JSON lines (`field=NAME`), or `auto` to detect it; not lines
    symbols: str = "auto"
    #: shares of training, validation and test data, for data without folders of these names
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    #: whether the end of a session is a symbol, where several end in the training data; not of
    #: characters
    ends: bool = True
    #: of lines: a regular expression of their session, or `field=NAME`; None: a file is one
    session_by: str | None = None
    #: a regular expression of what stands in front of each line, such as a time stamp
    header: str | None = None
    #: a file of templates, one in a line; None: they are mined
    templates: str | None = None
    #: a YAML file of masks, and of how templates are mined
    template_settings: str | None = None
    #: of a table: columns with the class, the text, and what keeps rows in one split; each a name,
    #: or the number of a column from 0
    label: str | None = None
    text: str | None = None
    group: str | None = None
    #: a file with the class of each session
    labels: str | None = None
    #: of words: how many are symbols, the most frequent (None: `VOCABULARY`), and whether they are
    #: taken in lower case
    vocabulary: int | None = None
    lower_case: bool = False
    #: seed of splits that are drawn, as those of labelled sequences are
    seed: int = 0
    #: folder of a network by whose alphabet labelled sequences are read
    pretrained: str | None = None

    def __post_init__(self) -> None:
        if self.symbols not in SYMBOLS and not is_field(self.symbols):
            raise InputError(f"symbols is {shown(self.symbols)}: {one_of(self.symbols, SYMBOLS)}")
        self._check_lines()
        self._check_labelled()
        check_switch("ends", self.ends)
        shares = self.split
        if len(shares) != 3 or not all(0 < share < 1 for share in shares) or not near_one(shares):
            raise InputError(
                f"split is {shown(list(shares))}: expected three shares above 0, 1 in all"
            )

    def _check_lines(self) -> None:
        for name in [name for name in OF_LINES if getattr(self, name) is not None]:
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {shown(getattr(self, name))}: expected a text")
            if not self.has_lines or (self.symbols != "lines" and name != "session_by"):
                raise InputError(
                    f"{name} is given with symbols {self.symbols}: expected symbols lines"
                )
            if len(getattr(self, name)) > LONGEST_OPTION:
                text = f"{name} has {len(getattr(self, name)):,} characters: expected fewer"
                raise InputError(f"{text} than {LONGEST_OPTION:,}")
            if name in ("session_by", "header"):
                regex(name, getattr(self, name))

    def _check_labelled(self) -> None:
        for name in OF_LABELLED:
            given = getattr(self, name)
            if given is not None and not (
                isinstance(given, str) and 0 < len(given) <= LONGEST_OPTION
            ):
                raise InputError(f"{name} is {shown(given)}: expected a text")
        if self.labels is not None and self.label is not None:
            raise InputError(
                f"labels is given with label {shown(self.label)}: expected one of them"
            )
        if self.symbols not in ("auto", "words"):
            for name in ("vocabulary", "lower_case"):
                if getattr(self, name):
                    text = f"{name} is given with symbols {self.symbols}: expected symbols words"
                    raise InputError(text)

    @property
    def has_lines(self) -> bool:
        return self.symbols == "lines" or is_field(self.symbols)

    @property
    def has_words(self) -> bool:
        """Whether symbols are words, or something is said that words alone have."""
        return self.symbols == "words" or self.lower_case or self.vocabulary is not None

    def resolve(self) -> Self:
        """Return a copy whose path holds from any working directory."""
        if self.data in SAMPLES:
            return self
        return dataclasses.replace(self, data=str(_path(self.data).resolve()))


def is_field(symbols: object) -> bool:
    return isinstance(symbols, str) and symbols.startswith(FIELD) and symbols != FIELD


def regex(place: str, pattern: object) -> re.Pattern[str]:
    try:
        return re.compile(pattern)  # type: ignore[call-overload, no-any-return]
    except (re.error, RecursionError, OverflowError, TypeError) as error:
        raise InputError(
            f"{place} is {shown(pattern)}: expected a regular expression ({cut(str(error))})"
        ) from None


class TooLongError(Exception):
    """Expressions took longer than they may."""


@contextlib.contextmanager
def timer() -> Iterator[Callable[[float], float]]:
    """Stop expressions that take for ever with a `TooLongError`.

    What is yielded sets the seconds of this process that are left, 0 for no limit, and returns
    those that were. Python looks for signals while it matches, but only in the main thread, so
    there is no limit in others.
    """

    def stop(number: int, frame: object) -> None:
        raise TooLongError

    if threading.current_thread() is not threading.main_thread():
        yield lambda seconds: 0.0
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_VIRTUAL, seconds)[0]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def near_one(shares: Iterable[float]) -> bool:
    """Whether shares add up to 1, up to rounding."""
    return abs(sum(shares) - 1) <= 1e-9


def _path(data: str) -> Path:
    try:
        resolved(data)
        return Path(data).expanduser()
    except (OSError, RuntimeError, ValueError) as error:
        text = f"data {shown(data)}: {why_not(error)}; expected a file or folder"
        raise InputError(text) from None


def _beside(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in itertools.islice(path.parent.iterdir(), MOST_BESIDE))
    except OSError:
        return []


def existing(data: str, field: str = "data") -> Path:
    path = _path(data)
    if not path.exists():
        samples = [*SAMPLES] if field == "data" else []
        hint = nearest(path.name, [*samples, *_beside(path)])
        none = f", and no sample ({', '.join(samples)})" if samples else ""
        raise InputError(
            f"{field} {shown(data)}: no such file or folder{none}{f'; {hint}' if hint else ''}"
        )
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{field} {shown(data)}: found a device or pipe, expected a file or folder"
        )
    return path


def all_files(path: Path, *, empty: bool = False) -> list[Path]:
    """The file, or all files in the folder and below it, those of splits and beside them; some."""
    files = _files(path) if path.is_dir() else [path]
    return files if empty and files else _with_content(path, files)


def file_groups(path: Path) -> dict[str, list[Path]]:
    """Files of each split by its name, or all files as `all`; no list is empty."""
    if not path.is_dir():
        return {"all": all_files(path)}
    given = [name for name in SPLITS if (path / name).is_dir()]
    if not given:
        return {"all": all_files(path)}
    if len(given) < len(SPLITS):
        missing = ", ".join(f"{name}/" for name in SPLITS if name not in given)
        raise InputError(f"{path}: found {given[0]}/ but not {missing}, expected all three or none")
    return {name: _with_content(path / name, _files(path / name)) for name in SPLITS}


def _files(folder: Path) -> list[Path]:
    """All files in a folder and its sub-folders, sorted by path, without hidden ones.

    Links are followed. A file or folder that is reached twice is taken once.
    """
    home = folder.resolve()
    files, reached = [], set()
    own, links = [folder], list[Path]()
    try:
        while own or links:
            path = own.pop() if own else links.pop(0)  # real names before links
            if path.is_symlink() and not path.exists():
                raise InputError(f"{path}: found a link to nothing, expected a file or folder")
            real = path.resolve()
            if real in reached:
                continue
            reached.add(real)
            if path.is_file():
                files.append(path)
            elif path.is_dir():
                if home != real and home.is_relative_to(real):
                    raise InputError(
                        f"{path}: found a link to {real}, which holds {folder} itself, "
                        f"expected one that leads elsewhere"
                    )
                inside = sorted(part for part in path.iterdir() if part.name[0] != ".")
                links += [part for part in inside if part.is_symlink()]
                own += [part for part in inside if not part.is_symlink()]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, expected to read it") from None
    return sorted(files)


def _with_content(place: Path, files: list[Path]) -> list[Path]:
    try:
        full = [file for file in files if file.stat().st_size and _readable(file)]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}, expected a readable file") from None
    if not full:
        found = "no files" if not files else "an empty file" if len(files) == 1 else "empty files"
        raise InputError(f"{place}: found {found}, expected symbols")
    return full


def _readable(file: Path) -> bool:
    with open_data(file):
        return True
