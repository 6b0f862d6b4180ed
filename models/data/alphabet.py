"""`Alphabet`: symbols of the training data <-> codes, and the reserved codes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.errors import InputError, shown

#: code of the padding before the first symbol of a session
START = 0
#: code of all symbols that do not occur in the training split
UNKNOWN = 1
#: code of the end of a session, of an alphabet that has it
END = 2
RESERVED = ("<start>", "<unk>")
END_NAME = "<end>"
#: the first code that is ever predicted; what is below it never comes next
PREDICTED = len(RESERVED)


@dataclass(frozen=True)
class Alphabet:
    """Symbols of the training split <-> codes; the lowest are `<start>`, `<unk>`, maybe `<end>`."""

    #: characters or event ids, ascending
    symbols: tuple[str, ...] | tuple[int, ...]
    #: whether the end of a session is a symbol, with the code `END`
    ends: bool = False

    def __len__(self) -> int:
        return len(self.reserved) + len(self.symbols)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Names of the reserved codes, which are below those of the symbols."""
        return (*RESERVED, END_NAME) if self.ends else RESERVED

    @property
    def is_text(self) -> bool:
        """Whether symbols are characters, not event ids."""
        return isinstance(self.symbols[0], str)

    @cached_property
    def _code(self) -> dict[str | int, int]:
        symbols: Sequence[str | int] = self.symbols
        return {symbol: code for code, symbol in enumerate(symbols, start=len(self.reserved))}

    def encode(self, symbols: Iterable[str | int]) -> NDArray[np.int32]:
        """Codes of `symbols`, `<int32>[n]`; `UNKNOWN` for those that the alphabet does not have."""
        return np.array([self._code.get(symbol, UNKNOWN) for symbol in symbols], np.int32)

    def decode(self, codes: Iterable[int]) -> list[str | int]:
        """Symbols of `codes`; reserved codes give their names."""
        names: Sequence[str | int] = (*self.reserved, *self.symbols)
        return [names[code] for code in codes]

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        kind = "chars" if self.is_text else "ids"
        return {"kind": kind, "reserved": list(self.reserved), "symbols": list(self.symbols)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make an alphabet from the result of `to_dict`.

        Raises:
            InputError: `values` cannot be a result of `to_dict`.
        """
        kinds: dict[object, type] = {"chars": str, "ids": int}
        kind, symbols = values.get("kind"), values.get("symbols")
        if not isinstance(kind, str) or kind not in kinds:
            raise InputError(f"alphabet: kind is {shown(kind)}, expected chars or ids")
        reserved, ends = values.get("reserved"), [*RESERVED, END_NAME]
        if reserved != list(RESERVED) and (kind == "chars" or reserved != ends):
            more = "" if kind == "chars" else f" or {ends}"
            raise InputError(
                f"alphabet: reserved is {shown(reserved)}, expected {list(RESERVED)}{more}"
            )
        if not isinstance(symbols, list) or not symbols:
            raise InputError(f"alphabet: symbols is {shown(symbols)}, expected a list of {kind}")
        for before, symbol in itertools.pairwise([None, *symbols]):
            fits = type(symbol) is kinds[kind] and (kind == "ids" or _is_character(str(symbol)))
            if not fits or (before is not None and before >= symbol):
                raise InputError(
                    f"alphabet: after {shown(before)} follows {shown(symbol)}, expected {kind} in "
                    f"rising order"
                )
        return cls(tuple(symbols), ends=reserved == ends)


def _is_character(text: str) -> bool:
    return len(text) == 1 and not "\ud800" <= text <= "\udfff"  # a surrogate is half a character
