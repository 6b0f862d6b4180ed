"""`TemplateConfig`, a value for each hyperparameter of a template, and `TemplateSpace`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from lstm_sweep.models.errors import cut
from lstm_sweep.spaces.dimension import Dimension, Value
from lstm_sweep.spaces.space import Space

#: epochs of a trial, at most; how many it trains is written in the template
EPOCHS = 100_000


@dataclass(frozen=True)
class TemplateConfig:
    """One point of a template's space: a value for each hyperparameter, by its label."""

    epochs: ClassVar[int] = EPOCHS
    planned_epochs: ClassVar[None] = None

    values: tuple[tuple[str, Value], ...]

    def to_dict(self) -> dict[str, Value]:
        """All values by their labels, in the order of the file."""
        return dict(self.values)

    def evolve(self, **changes: Value) -> Self:
        """Return a copy with some values replaced."""
        return self.from_dict({**self.to_dict(), **changes})

    def table_columns(self) -> dict[str, str]:
        """Columns for tables of trials: heading -> text."""
        return {"hyperparameters": self.describe()}

    def describe(self) -> str:
        """All values in a line for people."""
        values = (f"{shown_label(label)} {_short(value)}" for label, value in self.values)
        return ", ".join(values)

    def headline(self) -> str:
        """All values in a line for people, since nothing says which matter."""
        return self.describe()

    def label(self) -> str:
        """Nothing: the values may be many."""
        return ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Value]) -> Self:
        """Make a config from plain values."""
        return cls(tuple(values.items()))


def shown_label(label: str) -> str:
    """Format a label for people: `units:12` as `units (line 12)`, `units:12:2` with its number."""
    argument, line, *place = label.split(":")
    return f"{argument} (line {line}{', ' if place else ''}{f'no. {place[0]}' if place else ''})"


def _short(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else cut(str(value), 40)


class TemplateSpace(Space):
    """Dimensions of the hyperparameters of a template, by their labels."""

    stands_in = "template"

    def __init__(self, dimensions: Mapping[str, Dimension], rate: str | None = None) -> None:
        """`rate` is the label of the learning rate, if one is known."""
        self._dimensions = dict(dimensions)
        self.rate = rate

    def replace(self, **dimensions: Dimension) -> TemplateSpace:
        return TemplateSpace({**self._dimensions, **dimensions}, self.rate)

    def config(self, values: Mapping[str, Any]) -> TemplateConfig:
        return TemplateConfig.from_dict(values)

    @property
    def epochs(self) -> int:
        return EPOCHS
