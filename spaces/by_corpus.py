"""`ByCorpus`: ranges of the built-in spaces that are settled once the corpus is known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from lstm_sweep.spaces.dimension import Dimension, Range

#: what stands for such a range in a space file
AUTO = "auto"
#: training symbols below which a corpus is small
SMALL_CORPUS = 100_000


@dataclass(frozen=True)
class CorpusFacts:
    """What a range may depend on; the functions are asked only if it does."""

    #: training symbols
    symbols: int
    #: by how many symbols before it an n-gram model predicts the next one best
    order: Callable[[], int]
    #: whether layers of so many units suit the corpus and the time of the sweep
    has_room: Callable[[int], bool] = lambda units: False


@dataclass(frozen=True)
class ByCorpus(Range):
    """A range that may become another one once the corpus is known; until then it is the usual."""

    @property
    def usual(self) -> Range:
        """The usual range."""
        return Range(self.field, self.low, self.high, self.step, self.log)

    @override
    def describe(self) -> Any:
        return AUTO

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        return self.usual.between(low, high)

    @abstractmethod
    def settled(self, facts: CorpusFacts) -> Range:
        """The range for a corpus."""

    @abstractmethod
    def may_be(self, other: Dimension | None) -> bool:
        """Whether it is `other`, or may have become that."""


@dataclass(frozen=True)
class Windows(ByCorpus):
    """Windows, which may be short in a corpus of fewer than `SMALL_CORPUS` training symbols.

    There the range goes by ones, from as many symbols on as an n-gram model needs. Of few symbols a
    network learns what is chance in them, the more the longer its windows are
    (docs/results.md).
    """

    @override
    def settled(self, facts: CorpusFacts) -> Range:
        return self._from(facts.order()) if facts.symbols < SMALL_CORPUS else self.usual

    def _from(self, low: float) -> Range:
        return Range(self.field, min(low, self.low), self.high, 1, self.log)

    @override
    def may_be(self, other: Dimension | None) -> bool:
        if isinstance(other, Range) and other.low < self.low:
            return other == self._from(other.low)
        return other in (self, self.usual)


@dataclass(frozen=True)
class LayerSizes(ByCorpus):
    """Sizes of layers, up to `most` units where there is room for so many."""

    most: int = 0

    @property
    def wide(self) -> Range:
        """The range where there is room."""
        return Range(self.field, self.low, self.most, self.step, self.log)

    @override
    def settled(self, facts: CorpusFacts) -> Range:
        return self.wide if facts.has_room(self.most) else self.usual

    @override
    def may_be(self, other: Dimension | None) -> bool:
        return other in (self, self.usual, self.wide)


#: what `auto` stands for, by field
BY_CORPUS: dict[str, ByCorpus] = {
    "layer_size": LayerSizes("layer_size", 32, 512, step=16, log=True, most=1024),
    "sequence_length": Windows("sequence_length", 20, 160, step=10, log=True),
}
