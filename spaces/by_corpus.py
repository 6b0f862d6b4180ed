"""`ByCorpus`: a range of the built-in spaces that is another one for a small corpus."""

from __future__ import annotations

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
class ByCorpus(Range):
    """The range for a corpus of unknown size, which becomes that for a known one.

    Until then it has the values for a large corpus. For fewer than `SMALL_CORPUS` training symbols
    it goes by ones, from as many symbols on as an n-gram model needs.
    """

    @property
    def large(self) -> Range:
        """The range for a large corpus."""
        return Range(self.field, self.low, self.high, self.step, self.log)

    @override
    def describe(self) -> Any:
        return AUTO

    @override
    def between(self, low: float, high: float) -> Dimension | None:
        return self.large.between(low, high)

    def settled(self, symbols: int, order: Callable[[], int]) -> Range:
        """The range for a corpus of so many training symbols.

        `order` says by how many symbols before it an n-gram model predicts the next one best.
        """
        return self._from(order()) if symbols < SMALL_CORPUS else self.large

    def _from(self, low: float) -> Range:
        return Range(self.field, min(low, self.low), self.high, 1, self.log)

    def may_be(self, other: Dimension | None) -> bool:
        """Whether it is `other`, or may have become that."""
        if isinstance(other, Range) and other.low < self.low:
            return other == self._from(other.low)
        return other in (self, self.large)


#: What `auto` stands for. Of few symbols a network learns what is chance in them, the more the
#: longer its windows are; so windows as short as those of an n-gram model may be the best
#: (docs/results.md).
BY_CORPUS = {
    "sequence_length": ByCorpus("sequence_length", 20, 160, step=10, log=True),
}
