"""`Alphabet`: symbols of the training data <-> codes, and the reserved codes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.log_lines import LineFormat
from lstm_sweep.models.errors import InputError, shown

#: code of the padding before the first symbol of a session
START = 0
#: code of all symbols that do not occur in the training split
UNKNOWN = 1
#: code of the end of a session, of an alphabet that has it
END = 2
RESERVED = ("<start>", "<unk>")
END_NAME = "<end>"
#: characters of a symbol of lines, at most
LONGEST_SYMBOL = 1 << 16
#: the first code that is ever predicted; what is below it never comes next
PREDICTED = len(RESERVED)


@dataclass(frozen=True)
class Alphabet:
    """Symbols of the training split <-> codes; the lowest are `<start>`, `<unk>`, maybe `<end>`."""

    #: characters or event ids, ascending, or the symbols of lines
    symbols: tuple[str, ...] | tuple[int, ...]
    #: whether the end of a session is a symbol, with the code `END`
    ends: bool = False
    #: how symbols are found in the lines of a log; None: they are characters or event ids
    lines: LineFormat | None = None

    def __len__(self) -> int:
        return len(self.reserved) + len(self.symbols)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Names of the reserved codes, which are below those of the symbols."""
        return (*RESERVED, END_NAME) if self.ends else RESERVED

    @property
    def kind(self) -> str:
        """What symbols are: `chars`, `ids` or `lines`."""
        return "lines" if self.lines else "chars" if isinstance(self.symbols[0], str) else "ids"

    @property
    def is_text(self) -> bool:
        """Whether symbols are characters."""
        return self.kind == "chars"

    @cached_property
    def _code(self) -> dict[str | int, int]:
        symbols: Sequence[str | int] = self.symbols
        return {symbol: code for code, symbol in enumerate(symbols, start=len(self.reserved))}

    @property
    def between(self) -> str:
        """What stands between two symbols in a text."""
        return {"chars": "", "ids": " ", "lines": "\n"}[self.kind]

    def encode(self, symbols: Iterable[str | int]) -> NDArray[np.int32]:
        """Codes of `symbols`, `<int32>[n]`; `UNKNOWN` for those that the alphabet does not have."""
        return np.array([self._code.get(symbol, UNKNOWN) for symbol in symbols], np.int32)

    def decode(self, codes: Iterable[int]) -> list[str | int]:
        """Symbols of `codes`; reserved codes give their names."""
        names: Sequence[str | int] = (*self.reserved, *self.symbols)
        return [names[code] for code in codes]

    def to_dict(self) -> dict[str, Any]:
        """All that `from_dict` needs, as plain values."""
        lines = {"lines": self.lines.to_dict()} if self.lines else {}
        written = {"kind": self.kind, "reserved": [*self.reserved], "symbols": [*self.symbols]}
        return written | lines

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make an alphabet from the result of `to_dict`.

        Raises:
            InputError: `values` cannot be a result of `to_dict`.
        """
        kinds: dict[object, type] = {"chars": str, "ids": int, "lines": str}
        kind, symbols = values.get("kind"), values.get("symbols")
        if not isinstance(kind, str) or kind not in kinds:
            raise InputError(f"alphabet: kind is {shown(kind)}, expected chars, ids or lines")
        reserved, ends = values.get("reserved"), [*RESERVED, END_NAME]
        if reserved != list(RESERVED) and (kind == "chars" or reserved != ends):
            more = "" if kind == "chars" else f" or {ends}"
            raise InputError(
                f"alphabet: reserved is {shown(reserved)}, expected {list(RESERVED)}{more}"
            )
        if not isinstance(symbols, list) or not symbols:
            raise InputError(f"alphabet: symbols is {shown(symbols)}, expected a list of {kind}")
        if kind == "lines":
            lines = _checked_lines(values.get("lines"), symbols)
            return cls(tuple(symbols), ends=reserved == ends, lines=lines)
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


def _checked_lines(given: object, symbols: list[object]) -> LineFormat:
    """The format of lines that have these symbols; both are checked."""
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol or len(symbol) > LONGEST_SYMBOL:
            raise InputError(f"alphabet: found {shown(symbol)}, expected the text of lines")
    if len(set(symbols)) < len(symbols):
        raise InputError("alphabet: a symbol occurs twice, expected each once")
    try:
        return LineFormat.from_dict(given)
    except InputError as error:
        raise InputError(f"alphabet: {error}") from None
