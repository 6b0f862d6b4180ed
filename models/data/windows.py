"""Training windows and scoring windows of a corpus, and batches of whole sequences with classes.

A *window* is `sequence_length` symbols; the symbol after it is its *target*. Places of a window
before the first symbol of its session hold `<start>`, so no window has symbols of another session.

Windows are copied from the codes of a split when they are needed. No array is as large as the split
except for the order of an epoch's windows, so processes that map one corpus share its memory.

A network that starts from a state of zero is in the same state after the same symbols, so what
windows share at their beginning is computed once (`stages_of`). Among a few thousand windows of an
event log that is most: sessions begin in few ways, and places before their head hold `<start>`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.data.alphabet import START, UNKNOWN
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.spool import Codes

if TYPE_CHECKING:
    from lstm_sweep.models.data.labelled import LabelledSplit

Indices = NDArray[np.int64]
#: targets side by side, at most, if all networks carry their state: at equal time of scoring,
#: longer and shorter groups say less of two texts; and groups that there are, at least
LONG_GROUP, FEWEST_GROUPS = 128, 32
#: targets side by side if networks read windows
SHORT_GROUP = 24
#: symbols of the shortest window of event ids that has several targets
SHORTEST_SHARED_OF_IDS = 15


class Batch(NamedTuple):
    """Windows of one training step, as arguments of a Keras model."""

    #: `<int32>[batch, time]`; if the state is carried, with two more inputs (`CarriedSteps`)
    inputs: Any
    #: `<int32>[batch, time]` for uni, `<int32>[batch]` for bi
    targets: NDArray[np.int32]
    #: 1 for targets that count, else 0; `<float32>`, of the shape of `targets`
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class StepWindows:
    """Windows of several training steps; the last symbol of each is its target."""

    #: `<int32>[steps, batch, time + 1]`
    codes: NDArray[np.int32]
    #: index of the first of a window's `time` steps whose target counts, or `time` if none counts,
    #: `<int32>[steps, batch]`
    first: NDArray[np.int32]

    def batches(self, *, every_step: bool) -> Iterator[Batch]:
        """Yield each training step; with `every_step`, each step of a window has a target."""
        length = self.codes.shape[-1] - 1
        for codes, first in zip(self.codes, self.first, strict=True):
            counts = (np.arange(length) >= first[:, None]).astype(np.float32)
            if every_step:
                yield Batch(codes[:, :-1], codes[:, 1:], counts)
            else:
                yield Batch(codes[:, :-1], codes[:, -1], counts[:, -1])


def past(split: Split, positions: Indices, lags: Indices) -> NDArray[np.int32]:
    """Codes that precede each position of a split by each lag, `<int32>[positions, lags]`.

    They are `<start>` before the first symbol of a session. A lag of 0 gives the symbol itself.
    """
    return _past(split, positions, split.heads(positions), lags)


def _past(split: Split, positions: Indices, heads: Indices, lags: Indices) -> NDArray[np.int32]:
    places = positions[:, None] - lags
    inside = places >= heads[:, None]
    return np.where(inside, split.codes[np.where(inside, places, 0)], START).astype(np.int32)


def before(split: Split, begin: int, end: int, lag: int) -> Codes:
    """Codes that precede the positions from `begin` to `end` by `lag`, as `past` has them.

    It is several times as fast.
    """
    found = np.full(end - begin, START, split.codes.dtype)
    known = max(begin, lag)
    found[known - begin :] = split.codes[known - lag : max(end, known) - lag]
    first, last = np.searchsorted(split.starts, (begin - lag, end - 1), side="right")
    for step in range(lag):
        places = split.starts[first:last] + step - begin
        found[places[(places >= 0) & (places < len(found))]] = START
    return found


def usual_adjacent(*, sharing: bool, carried: bool = False, targets: int | None = None) -> int:
    """How many scoring targets are side by side if nobody says so.

    They are apart if their windows would share little (not `sharing`). If all networks carry their
    state (`carried`), each group has a run-up (`scoring_streams.RUN_UP`), so groups are longer; of
    few `targets`, if the user asks for a number, they are shorter, for about `FEWEST_GROUPS`.
    """
    few = SHORT_GROUP if sharing else 1
    if not carried:
        return few
    return LONG_GROUP if targets is None else max(few, min(LONG_GROUP, targets // FEWEST_GROUPS))


@dataclass(frozen=True)
class Scoring:
    """On which validation targets everything in a sweep is scored, and in which windows.

    Symbols that training data do not have are no targets: what a model gives to `<unk>`, which it
    has never seen, says how long it was trained and not how good it is.
    """

    #: how many, at most, and the seed that they are drawn by
    targets: int
    seed: int
    #: how many are drawn side by side
    adjacent: int = 1

    def drawn(self, split: Split, *, at_least: int = 0) -> Indices:
        """The targets in a split, `<int64>[targets]`, ascending.

        They are more than a sweep has if `at_least` so many are asked for.
        """
        count = max(self.targets, at_least)
        return scoring_targets(split, count, self.seed, self.adjacent)

    @property
    def share_windows(self) -> bool:
        return self.adjacent > 1


def scoring_targets(split: Split, count: int, seed: int, adjacent: int = 1) -> Indices:
    """Draw at most `count` positions of a split, `<int64>[targets]`, ascending.

    Only symbols that training data have are drawn, in groups of `adjacent` ones that follow each
    other, which networks score in less time (`shared_windows`). All trials and baselines of a sweep
    are scored on them.
    """
    size = len(split) - len(split.unknown)
    known = _drawn(size, min(count, size), seed, adjacent)
    # how many unknown symbols come before each
    return known + np.searchsorted(split.unknown - np.arange(len(split.unknown)), known, "right")


def _drawn(size: int, count: int, seed: int, adjacent: int) -> Indices:
    """Draw `count` of so many known symbols, ascending."""
    rng = np.random.default_rng([seed, 0x7A9])
    adjacent = min(adjacent, max(1, count))
    if adjacent == 1:
        return np.sort(rng.choice(size, count, replace=False)).astype(np.int64)
    groups, places = -(-count // adjacent), size // adjacent
    if groups > places:  # almost all of them
        return np.arange(count) + rng.integers(size - count + 1)
    heads = adjacent * rng.choice(places, groups, replace=False)
    heads += rng.integers(size - adjacent * places + 1)
    drawn: Indices = (heads[:, None] + np.arange(adjacent)).reshape(-1)[:count]
    return np.sort(drawn)


def steps_with_target(length: int, *, text: bool = True) -> int:
    """Steps at the end of a scoring window of `length` symbols that may have a target each.

    So a network has seen nine tenths of its window at least. In an event log one of the last few
    symbols may say where a job stands, so short windows of event ids (no `text`) have one target.
    """
    return length // 10 + 1 if text or length >= SHORTEST_SHARED_OF_IDS else 1


class SharedWindows(NamedTuple):
    """Which windows predict some targets, and after which of their steps."""

    #: the last target of each window, which is predicted after all of it, `<int64>[windows]`
    ends: Indices
    #: of each target its window, ascending, `<int64>[targets]`
    window_of: Indices
    #: and how many steps before the end of that it is predicted, `<int64>[targets]`
    steps_before: Indices


def shared_windows(split: Split, targets: Indices, most: int, length: int) -> SharedWindows:
    """Divide targets into as few windows of `length` symbols as possible, of `most` targets each.

    Targets of a window follow each other in one session, more than `length` symbols after its
    head: a window that shows where a session begins has a single target, since with a symbol less
    it might not. The windows of a stretch of such targets have as many of them each, or one more.
    `targets` ascend, or may be in any order if `most` is 1.
    """
    if most == 1:
        none_before = np.broadcast_to(np.int64(0), len(targets))
        return SharedWindows(targets, np.arange(len(targets)), none_before)
    # also the first one after those that are alone
    near_head = targets - split.heads(targets) <= length + 1
    apart = (np.diff(targets, prepend=-2) != 1) | near_head
    heads = np.flatnonzero(apart)
    counts = np.diff(heads, append=len(targets))
    of_row = np.cumsum(apart) - 1
    place = np.arange(len(targets)) - heads[of_row]
    windows = -(-counts // most)
    # the first ones of a row have one more than the others
    fewer, longer = counts // windows, counts % windows
    in_longer = (longer * (fewer + 1))[of_row]
    number = np.where(
        place < in_longer,
        place // (fewer + 1)[of_row],
        longer[of_row] + (place - in_longer) // fewer[of_row],
    )
    window_of = (np.cumsum(windows) - windows)[of_row] + number
    ends = targets[np.flatnonzero(np.diff(window_of, append=-1))]
    return SharedWindows(ends, window_of, ends[window_of] - targets)


def scoring_windows(
    split: Split, targets: Indices, length: int, rows: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield windows `<int32>[rows, length]` and true codes `<int32>[rows]` of `targets`, in order.

    The last block has fewer rows if `rows` does not divide the number of targets.
    """
    lags = np.arange(length, -1, -1)
    for begin in range(0, len(targets), rows):
        block = past(split, targets[begin : begin + rows], lags)
        yield block[:, :-1], block[:, -1]


class Epoch(ABC):
    """The windows of one epoch in the order of its training steps."""

    #: number of training steps
    steps: int
    #: whether each step of a window has a target
    every_step = True

    @abstractmethod
    def select(self, begin: int, end: int) -> StepWindows:
        """Windows of the steps from `begin` up to and without `end`."""

    def batches(self) -> Iterator[Batch]:
        """Yield all steps, one at a time."""
        for step in range(self.steps):
            yield from self.select(step, step + 1).batches(every_step=self.every_step)


class _EpochWindows(Epoch):
    """Windows in a random order, each of which begins with a state of zero."""

    def __init__(
        self, split: Split, config: TrialConfig, count: int, rng: np.random.Generator
    ) -> None:
        self._split, self._batch_size = split, config.batch_size
        self._lags = np.arange(config.sequence_length, -1, -1)
        self._order = np.arange(count, dtype=np.int32 if count < 1 << 31 else np.int64)
        rng.shuffle(self._order)
        self.steps = -(-count // config.batch_size)

    @override
    def select(self, begin: int, end: int) -> StepWindows:
        # the last step of an epoch is padded with windows whose targets do not count
        rows = np.arange(begin * self._batch_size, end * self._batch_size)
        chosen = self._order[rows % len(self._order)].astype(np.int64)
        targets, heads, first = self._windows(chosen)
        length = len(self._lags) - 1
        first = np.where(rows < len(self._order), first, length)
        shape = (end - begin, self._batch_size)
        codes = _past(self._split, targets, heads, self._lags)
        return StepWindows(codes.reshape(*shape, length + 1), first.reshape(shape).astype(np.int32))

    @abstractmethod
    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        """Positions of targets, first positions of their sessions, and first steps that count.

        All are `<int64>[windows]`, for the windows with the numbers `chosen`.
        """


class ManyToOne(_EpochWindows):
    """Each window has one target; targets are `stride` apart in the split."""

    every_step = False

    def __init__(self, split: Split, config: TrialConfig, rng: np.random.Generator) -> None:
        self._stride = config.window_stride
        offset = int(rng.integers(self._stride)) if config.offset == "random" else 0
        self._offset = min(offset, len(split) - 1)
        super().__init__(split, config, -(-(len(split) - self._offset) // self._stride), rng)

    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        targets = self._offset + chosen * self._stride
        return targets, self._split.heads(targets), np.full(len(chosen), len(self._lags) - 2)


class ManyToMany(_EpochWindows):
    """Each step of a window has a target.

    In a session the last targets of windows are `stride` apart, and the first of them is below
    `stride`. One more window ends at the session's end; of its targets, only those count that are
    in no earlier window. So with a stride of `sequence_length` each symbol counts once.

    The first last target is drawn for each session separately, also for short sessions, so that
    their first symbols are trained after any number of `<start>`, as they are scored.
    """

    def __init__(self, split: Split, config: TrialConfig, rng: np.random.Generator) -> None:
        length, sizes = config.sequence_length, split.session_lengths
        self._stride, self._sizes = config.window_stride, sizes
        if config.offset == "random":
            self._first = np.minimum(rng.integers(self._stride, size=len(sizes)), sizes - 1)
        else:  # a session that fits into a window is one window
            self._first = np.where(sizes <= length, sizes - 1, 0)
        counts = 1 + -(-(sizes - 1 - self._first) // self._stride)
        self._ends = np.cumsum(counts)
        self._begins = self._ends - counts
        super().__init__(split, config, int(self._ends[-1]), rng)

    def _windows(self, chosen: Indices) -> tuple[Indices, Indices, Indices]:
        length = len(self._lags) - 1
        session = np.searchsorted(self._ends, chosen, side="right")
        regular = self._first[session] + (chosen - self._begins[session]) * self._stride
        last = np.minimum(regular, self._sizes[session] - 1)
        counted_from = np.maximum(last - length + 1, 0)
        clipped = regular > last
        counted_from[clipped] = np.maximum(counted_from, regular - self._stride + 1)[clipped]
        heads = self._split.starts[session]
        return heads + last, heads, counted_from - (last - length + 1)


#: what it costs to begin a stage, in steps; fewer rows than these take as long as these
STAGE_STEPS, FEWEST_ROWS = 1, 32
#: more stages than one are worth their while if they cost at most this share of it
WORTH = 0.9
#: places that are looked at for the end of a stage, at most
MOST_PLACES = 128


class Stage(NamedTuple):
    """The next steps of all different beginnings, up to where they end."""

    #: symbols that are read, `<int32>[rows, steps]`
    codes: NDArray[np.int32]
    #: the rows of the stage before from whose states these rows go on, `<int64>[rows]`; of the
    #: first stage, which goes on from none, zeros
    goes_on_from: Indices


class Stages(NamedTuple):
    """All windows of a block, in stages."""

    stages: list[Stage]
    #: the row of the last stage that a window is in, `<int64>[windows]`
    row_of: Indices


def stages_of(windows: NDArray[np.int32], *, most: int, last_steps: int = 1) -> Stages:
    """Divide windows, `<int32>[windows, time]`, into at most `most` stages of about least cost.

    The last of them has the last `last_steps` steps at least, in which there are targets. With one
    stage, windows that are the same in full are read once.
    """
    count, length = windows.shape
    windows = np.ascontiguousarray(windows)
    # as bytes: not in the order of codes, but windows that begin alike are side by side
    as_bytes = windows.view(np.dtype((np.void, length * windows.itemsize)))
    order = np.argsort(as_bytes.ravel(), kind="stable")
    ordered = windows[order]
    differs = ordered[1:] != ordered[:-1]
    # the first step in which a window differs from the one before it; -1: there is none before
    first = np.full(count, -1)
    first[1:] = np.where(differs.any(axis=1), differs.argmax(axis=1), length)
    beginnings = np.cumsum(np.bincount(first + 1, minlength=length + 2))[:-1]
    stages, begin, row = [], 0, np.zeros(count, np.int64)
    for end in _ends(beginnings, most, length - last_steps):
        heads = np.flatnonzero(first < end)
        stages.append(Stage(ordered[heads, begin:end], row[heads]))
        row, begin = np.cumsum(first < end) - 1, end
    row_of = np.empty(count, np.int64)
    row_of[order] = row
    return Stages(stages, row_of)


def _ends(beginnings: Indices, most: int, before: int) -> list[int]:
    """Where the stages end, in steps; `beginnings[n]`: how many different ones have `n` symbols.

    All but the last end where the next step has more rows, after `before` steps at the latest.
    """
    length, rows = len(beginnings) - 1, np.maximum(beginnings, FEWEST_ROWS)
    if most == 1:
        return [length]
    grows = 1 + np.flatnonzero(rows[2 : before + 2] > rows[1 : before + 1])
    if len(grows) > MOST_PLACES:
        # those after which most is added, and some of all
        added = rows[grows + 1] - rows[grows]
        most_added = np.argsort(-added, kind="stable")[: MOST_PLACES // 2]
        some = np.linspace(0, len(grows) - 1, MOST_PLACES // 2).astype(np.int64)
        grows = grows[np.union1d(most_added, some)]
    places = np.array([0, *grows, length])
    steps = places - places[:, None]
    of_stage = np.where(steps > 0, (steps + STAGE_STEPS) * rows[places], np.inf)
    # of 1, 2, ... stages up to each place: the least cost, and where the last of them begins
    costs, begins = [of_stage[0]], [np.zeros(len(places), np.int64)]
    for _ in range(most - 1):
        of_one_more = costs[-1][:, None] + of_stage
        begins.append(of_one_more.argmin(axis=0))
        costs.append(of_one_more.min(axis=0))
    count = int(np.argmin([cost[-1] for cost in costs]))
    if costs[count][-1] > WORTH * costs[0][-1]:
        count = 0
    ends = [len(places) - 1]
    for begin in reversed(begins[1 : count + 1]):
        ends.append(int(begin[ends[-1]]))
    return [int(places[end]) for end in reversed(ends)]


# Batches of whole sequences, of about equal lengths, for networks that predict classes


#: batches of sequences that were drawn together, which are made of these by their lengths
DRAWN_BATCHES = 64
#: sequences are padded to a multiple of this, and of an eighth to a sixteenth of their length
FEWEST_PADDED = 2


@dataclass(frozen=True)
class ClassSteps:
    """Sequences of several training steps, with their classes."""

    #: padded on the right, `<int32>[steps, batch, time]`
    codes: NDArray[np.int32]
    #: `<int32>[steps, batch]`
    lengths: NDArray[np.int32]
    #: how much of the axis of time a step reads, `<int32>[steps]`
    times: NDArray[np.int32]
    #: classes, `<int32>[steps, batch]`
    labels: NDArray[np.int32]
    #: of each sequence in the loss, 0 if it only fills the batch; `<float32>[steps, batch]`
    weights: NDArray[np.float32]

    def batches(self) -> Iterator[Batch]:
        for codes, lengths, time, labels, weights in zip(*vars(self).values(), strict=True):
            yield Batch([codes[:, :time], lengths], labels, weights)


def read_lengths(split: Split, config: ClassConfig) -> Indices:
    """Symbols of each sequence that are read, `<int64>[sequences]`."""
    return np.minimum(split.session_lengths, config.sequence_length)


def padded_time(lengths: Indices) -> Indices:
    """Steps in time of batches whose longest sequences have so many symbols: few numbers, even."""
    grain = np.maximum(FEWEST_PADDED, 1 << np.maximum(np.frexp(lengths)[1] - 4, 0))
    padded: Indices = -(-lengths // grain) * grain
    return padded


def read_codes(split: Split, config: ClassConfig, chosen: Indices, time: int) -> NDArray[np.int32]:
    """What is read of some sequences, padded on the right, `<int32>[*chosen.shape, time]`."""
    sizes = split.session_lengths[chosen][..., None]
    read = np.minimum(sizes, config.sequence_length)
    place = np.arange(time)
    skipped = sizes - read
    if config.keep == "head":
        skipped = np.zeros_like(skipped)
    elif config.keep == "both":
        skipped = np.where(place < -(-read // 2), 0, skipped)
    inside = place < read
    places = np.where(inside, split.starts[chosen][..., None] + place + skipped, 0)
    return np.where(inside, split.codes[places], START).astype(np.int32)


def class_shares(
    labels: NDArray[np.int32], classes: int, config: ClassConfig
) -> NDArray[np.float32]:
    """Weight of each class in the training loss, `<float32>[classes]`."""
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[config.class_weights]
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return ((len(labels) / (classes * counts)) ** power).astype(np.float32)


#: occurrences of a symbol at which it is read as unknown half of the time, and the share of the
#: time that each is at least
RARE, DROPPED = 1.0, 0.1


def with_unknown(split: Split, rng: np.random.Generator) -> Split:
    """The same sequences, in which some symbols, mostly rare ones, are unknown.

    So a network learns what to do with a symbol that training data do not have, and to rely less on
    single rare ones (Kiperwasser and Goldberg, arXiv 1603.04351, with `RARE` as their alpha), or on
    any single one (word dropout of Iyyer et al., ACL 2015).
    """
    codes = np.asarray(split.codes)
    shares = np.maximum(RARE / (RARE + np.bincount(codes)), DROPPED).astype(np.float32)
    unknown = rng.random(len(codes), np.float32) < shares[codes]
    return Split(np.where(unknown, UNKNOWN, codes).astype(codes.dtype), split.starts)


class ClassEpoch:
    """All sequences of a split once, in an order that a generator draws."""

    def __init__(
        self, split: LabelledSplit, classes: int, config: ClassConfig, rng: np.random.Generator
    ) -> None:
        self._config, self._labels = config, np.asarray(split.labels)
        self._shares = class_shares(split.labels, classes, config)
        self._sequences = with_unknown(split.sequences, rng)
        self._lengths = read_lengths(split.sequences, config)
        count, batch = len(split), config.batch_size
        drawn = rng.permutation(count)
        together = np.arange(count) // (batch * DRAWN_BATCHES)
        drawn = drawn[np.lexsort((self._lengths[drawn], together))]
        #: number of training steps
        self.steps = -(-count // batch)
        # the last batch is filled with some that do not count
        rows = np.pad(drawn, (0, self.steps * batch - count), "edge").reshape(-1, batch)
        counts = np.arange(self.steps * batch).reshape(-1, batch) < count
        order = rng.permutation(self.steps)
        self._rows, self._counts = rows[order], counts[order]
        self._times = padded_time(self._lengths[self._rows].max(axis=1))

    def select(self, begin: int, end: int) -> ClassSteps:
        rows, times = self._rows[begin:end], self._times[begin:end]
        labels = self._labels[rows]
        return ClassSteps(
            read_codes(self._sequences, self._config, rows, int(times.max())),
            self._lengths[rows].astype(np.int32),
            times.astype(np.int32),
            labels.astype(np.int32),
            self._shares[labels] * self._counts[begin:end],
        )
