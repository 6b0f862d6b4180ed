"""Events of a sweep as a pure function of what is known of it, and of what a client has.

The ID of an event says all that a client has once it has received it. It is computed from numbers
of trials and rounds alone, so a client can go on after any break, also of the service: whatever is
in the store and not in the ID is sent.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from lstm_sweep.models.errors import InputError, shown

#: characters of the longest ID: headers of a request have 16 KiB
LONGEST_ID = 14_000
#: trials that an ID names one by one; it is packed if there are more
MOST_NAMED = 200
#: bytes of what a packed ID is unpacked to, and trials that ranges of another one name
MOST_UNPACKED, MOST_IN_RANGES = 1_000_000, 1_000_000
#: states of a trial, and how an ID writes them
STATES = {"running": "", "paused": "p", "ended": "e"}
LETTERS = {letter: state for state, letter in STATES.items()}
RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")
HAD = re.compile(r"(?:\.([0-9]{1,7}))?:([0-9]{1,9})([pe]?)")
ENTRY = re.compile(rf"([0-9]{{1,7}}){HAD.pattern}")
VERSION, PACKED = "1", "2"
#: third part of the ID of an event that says that the sweep has ended
END = "end"
#: what a packed ID says of a trial that a client has completely
ALL_OF_IT = "e"
#: in place of the last round of a trial that a client has completely
ALL = 10**9


class Had(NamedTuple):
    """What a client has of a trial."""

    attempt: int
    #: last round
    round: int
    state: str


@dataclass(frozen=True)
class TrialView:
    """A trial as the store has it."""

    number: int
    attempt: int
    #: `running`, `paused` or `ended`
    state: str
    #: validation loss after each round, by its number; None for one without
    losses: Mapping[int, float | None]
    #: what `trials --json` prints of it
    row: Mapping[str, Any]
    #: epochs that a round is
    epochs_per_round: float
    #: whether it cannot go on in any way
    is_final: bool


@dataclass(frozen=True)
class SweepView:
    """A sweep as the store has it."""

    trials: Mapping[int, TrialView]
    #: what `status --json` prints
    status: Mapping[str, Any]
    is_under_way: bool


class Event(NamedTuple):
    """Something that a client does not have yet."""

    name: str
    data: Mapping[str, Any]
    #: what it has afterwards
    id: str


@dataclass
class Cursor:
    """What a client has: all of the trials that `ended` names, and parts of others.

    Only first attempts that are final are in `ended`, which is written as a few ranges. With many
    `others` what it has of each trial is packed.
    """

    ended: set[int] = field(default_factory=set)
    others: dict[int, Had] = field(default_factory=dict)
    #: whether the client has been told that the sweep has ended
    knows_end: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """The cursor that an ID is.

        Raises:
            InputError: it is none.
        """
        version, *parts = text.split(";")
        knows_end = parts[-1:] == [END]
        count = {VERSION: 2, PACKED: 1}.get(version)
        if len(text) > LONGEST_ID or count is None or len(parts) != count + knows_end:
            raise _bad(text)
        cursor = cls(knows_end=knows_end)
        if version == PACKED:
            cursor._unpack(parts[0], text)
            return cursor
        before, left = -1, MOST_IN_RANGES
        for part in filter(None, parts[0].split(",")):
            found = RANGE.fullmatch(part)
            low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
            left -= high + 1 - low
            if not before < low <= high or left < 0:
                raise _bad(text)
            cursor.ended.update(range(low, high + 1))
            before = high
        for part in filter(None, parts[1].split(",")):
            if not (found := ENTRY.fullmatch(part)):
                raise _bad(text)
            cursor.others[int(found[1])] = _had(*found.groups()[1:])
        return cursor

    def copy(self) -> Self:
        """Another one that says the same."""
        return type(self)(set(self.ended), dict(self.others), self.knows_end)

    @classmethod
    def of(cls, view: SweepView) -> Self:
        """The cursor of a client that has all of a view."""
        cursor = cls()
        for trial in view.trials.values():
            cursor.note(trial, max(trial.losses, default=0), trial.state)
        return cursor

    def had(self, number: int) -> Had | None:
        """What the client has of a trial; None if nothing."""
        if number in self.others:
            return self.others[number]
        return Had(1, ALL, "ended") if number in self.ended else None

    def note(self, trial: TrialView, round: int, state: str) -> None:
        """Note what the client has of a trial."""
        if state == "ended" and trial.attempt == 1 and trial.is_final:
            self.others.pop(trial.number, None)
            self.ended.add(trial.number)
        else:
            self.ended.discard(trial.number)
            self.others[trial.number] = Had(trial.attempt, round, state)

    def __str__(self) -> str:
        if len(self.others) > MOST_NAMED:
            packed = self._packed()
            fits = len(packed) <= LONGEST_ID - len(f"{PACKED};;{END}")
            parts = [PACKED, packed] if fits else [VERSION, "", ""]  # all is told again
        else:
            entries = (f"{number}{_word(had)}" for number, had in sorted(self.others.items()))
            parts = [VERSION, ",".join(_ranges(self.ended)), ",".join(entries)]
        return ";".join([*parts, END] if self.knows_end else parts)

    def _packed(self) -> str:
        """A word for each trial, from the first one on: nothing for one that the client lacks."""
        words = [""] * (1 + max([*self.ended, *self.others], default=-1))
        for number in self.ended:
            words[number] = ALL_OF_IT
        for number, had in self.others.items():
            words[number] = _word(had)
        return base64.urlsafe_b64encode(zlib.compress(",".join(words).encode())).decode()

    def _unpack(self, packed: str, text: str) -> None:
        """Take up what `_packed` says; `text` is the whole ID."""
        try:
            unpacking = zlib.decompressobj()
            content = base64.b64decode(packed, b"-_", validate=True)
            words = unpacking.decompress(content, MOST_UNPACKED).decode("ascii").split(",")
        except (ValueError, zlib.error):
            raise _bad(text) from None
        if not unpacking.eof:
            raise _bad(text)
        for number, word in enumerate(words):
            if word == ALL_OF_IT:
                self.ended.add(number)
            elif found := HAD.fullmatch(word):
                self.others[number] = _had(*found.groups())
            elif word:
                raise _bad(text)


def _had(attempt: str | None, round: str, letter: str) -> Had:
    """What a client has of a trial, by the groups of `HAD`."""
    return Had(int(attempt or 1), int(round), LETTERS[letter])


def _word(had: Had) -> str:
    attempt = "" if had.attempt == 1 else f".{had.attempt}"
    return f"{attempt}:{had.round}{STATES[had.state]}"


def _bad(text: str) -> InputError:
    return InputError(
        f"Last-Event-ID is {shown(text)}: expected the ID of an event of this sweep, or none"
    )


def _ranges(numbers: set[int]) -> Iterator[str]:
    """Numbers as `1-3` and `5`."""
    first = last = None
    for number in sorted(numbers):
        if first is None or last is None or number != last + 1:
            if first is not None:
                yield f"{first}" if first == last else f"{first}-{last}"
            first = number
        last = number
    if first is not None:
        yield f"{first}" if first == last else f"{first}-{last}"


def events_after(cursor: Cursor, view: SweepView) -> Iterator[Event]:
    """What a client does not have of a view, by trial; `cursor` is kept up to date.

    A trial that has ended is told after its rounds, others before: so one that is told as ended is
    told completely. A sweep that is under way may end once more.
    """
    if view.is_under_way:
        cursor.knows_end = False
    for number in sorted(view.trials):
        trial = view.trials[number]
        had = cursor.had(number)
        if had is None or had.attempt != trial.attempt:
            had = Had(trial.attempt, 0, "")
        has_ended, is_new = trial.state == "ended", had.state != trial.state
        if is_new and not has_ended:
            cursor.note(trial, 0 if had.round == ALL else had.round, trial.state)
            yield Event("trial", _trial_data(trial), str(cursor))
        rounds = sorted(one for one in trial.losses if one > had.round)
        for round in rounds:
            cursor.note(trial, round, "running" if has_ended else trial.state)
            yield Event("round", _round_data(trial, round), str(cursor))
        if has_ended and (is_new or rounds):
            cursor.note(trial, max(trial.losses, default=0), "ended")
            yield Event("trial", _trial_data(trial), str(cursor))


def _trial_data(trial: TrialView) -> dict[str, Any]:
    return {"number": trial.number, "state": trial.state, **trial.row}


def _round_data(trial: TrialView, round: int) -> dict[str, Any]:
    return {
        "trial": trial.row["trial"],
        "number": trial.number,
        "attempt": trial.attempt,
        "round": round,
        "epoch": round * trial.epochs_per_round,
        "val_loss": trial.losses[round],
    }
