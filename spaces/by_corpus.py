"""`ByCorpus`: a range of the built-in spaces that is another one for a small corpus."""

from __future__ import annotations

from dataclasses import dataclass, field
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

    Until then it has the values for a large corpus.
    """

    #: the range for fewer than `SMALL_CORPUS` training symbols
    small: Range = field(kw_only=True)

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

    def settled(self, symbols: int) -> Range:
        """The range for a corpus of so many training symbols."""
        return self.small if symbols < SMALL_CORPUS else self.large


#: What `auto` stands for. Of few symbols a network learns what is chance in them, the more the
#: longer its windows are; so short windows may be the best (docs/results.md).
BY_CORPUS = {
    "sequence_length": ByCorpus(
        "sequence_length",
        20,
        160,
        step=10,
        log=True,
        small=Range("sequence_length", 2, 160, step=1, log=True),
    ),
}
