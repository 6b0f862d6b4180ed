"""What contestants did and found, and the file that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lstm_sweep.models.errors import InputError

OURS = "lstm-sweep"
#: what is added to the name of a peer that does not wait for sleeping threads
CURED = ", cured"
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """What must be the same for results to be compared."""

    #: fingerprint of the corpus
    corpus: str
    minutes: float
    direction: str
    #: trials at once, for contestants that can
    workers: int
    #: whether lstm-sweep begins with what ships with it, some of which was found on these texts
    prior: bool = True


@dataclass(frozen=True)
class Event:
    """What a contestant has done by a time, in seconds since its start."""

    seconds: float
    trial: str
    #: epochs that are trained; 0: the trial begins
    epoch: float
    #: None if there is none, or if it is not a number
    val_loss: float | None
    config: dict[str, Any]
    ended: bool = False


class Improving:
    """What a run had by when; a dataclass of runs has `improvements` as a field."""

    #: pairs of seconds and a validation loss lower than all before
    improvements: list[tuple[float, float]]

    @property
    def best(self) -> float:
        """The lowest validation loss; infinite if there is none."""
        return self.improvements[-1][1] if self.improvements else math.inf

    def best_at(self, second: float) -> float:
        """The lowest validation loss by then; infinite if there is none."""
        return min((loss for time, loss in self.improvements if time <= second), default=math.inf)

    def reached(self, loss: float) -> float:
        """Seconds until there was a loss as low as this; infinite if there never was."""
        return next((time for time, found in self.improvements if found <= loss), math.inf)


@dataclass(frozen=True)
class Run(Improving):
    """What one contestant found with one seed."""

    #: its name, and `, cured` for a peer that does not wait for sleeping threads
    contestant: str
    seed: int
    setting: Setting
    #: the seconds count from the start of its process
    improvements: list[tuple[float, float]]
    best_config: dict[str, Any]
    #: trials begun and ended, as the contestant counts them
    begun: int
    ended: int
    #: different configs among them
    configs: int
    epochs: int

    @property
    def key(self) -> tuple[str, int]:
        """What identifies a run: two with the same key are the same."""
        return self.contestant, self.seed

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Run:
        """Read a line of `runs.jsonl`."""
        pairs = [(seconds, loss) for seconds, loss in values["improvements"]]
        setting = Setting(**values["setting"])
        return cls(**{**values, "setting": setting, "improvements": pairs})


def read_runs(file: Path) -> list[Run]:
    """The runs of `runs.jsonl`; none if there is no such file."""
    return read_lines(file, Run.from_dict)


def read_lines(file: Path, of: Callable[[dict[str, Any]], T]) -> list[T]:
    """The runs that a file has, one a line of JSON; none if there is no such file.

    `of` makes a run of what a line has.

    Raises:
        InputError: a line is no run.
    """
    if not file.exists():
        return []
    runs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            runs.append(of(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{file}:{number}: {reason}; expected a run, as JSON") from None
    return runs


def condensed(label: str, seed: int, setting: Setting, events: Iterable[Event]) -> Run:
    """Keep what improved the best loss in time, and count the rest."""
    best, best_config, improvements = math.inf, {}, []
    begun, ended, configs, epochs = set(), set(), set(), 0
    for event in sorted(events, key=lambda event: event.seconds):
        if event.seconds > 60 * setting.minutes:
            break
        begun.add(event.trial)
        configs.add(json.dumps(event.config, sort_keys=True))
        if event.ended:
            ended.add(event.trial)
            continue
        epochs += event.epoch > 0 and event.epoch == int(event.epoch)
        if event.val_loss is not None and event.val_loss < best:
            best, best_config = event.val_loss, event.config
            improvements.append((round(event.seconds, 3), event.val_loss))
    return Run(
        label, seed, setting, improvements, best_config, len(begun), len(ended), len(configs),
        epochs,
    )  # fmt: skip
