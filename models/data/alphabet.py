"""`Alphabet`: symbols of the training data <-> codes, and the reserved codes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.data.log_lines import LineFormat
from lstm_sweep.models.errors import InputError, check_switch, shown

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
#: scripts without spaces between words, of which each character is a word; marks that go on with a
#: word; and words, which may have apostrophes inside, or else single marks of punctuation
SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece\u0f71-\u0f84\u102b-\u103e"
    "\u17b4-\u17d3\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
)
_LETTERS = rf"[^\W{SINGLE}]+"
WORD = rf"{_LETTERS}(?:['’]{_LETTERS}|[{MARKS}]+(?:{_LETTERS})?)*|[{SINGLE}]|[^\w\s]"
#: the first code that is ever predicted; what is below it never comes next
PREDICTED = len(RESERVED)


@dataclass(frozen=True)
class Words:
    """How a text is divided into words and marks of punctuation."""

    lower_case: bool = False

    def to_dict(self) -> dict[str, Any]:
        """How texts are divided, with the expression that others need; it is not read back."""
        return {"lower_case": self.lower_case, "pattern": WORD}

    def split(self, text: str) -> list[str]:
        """The words of a text; of one with more than `LONGEST_SYMBOL` characters as many."""
        found = _find_words(text.lower() if self.lower_case else text)
        return [word[:LONGEST_SYMBOL] for word in found] if len(text) > LONGEST_SYMBOL else found


_find_words = re.compile(WORD).findall


@dataclass(frozen=True)
class Alphabet:
    """Symbols of the training split <-> codes; the lowest are `<start>`, `<unk>`, maybe `<end>`."""

    #: characters or event ids, ascending; words, the most frequent first; or the symbols of lines
    symbols: tuple[str, ...] | tuple[int, ...]
    #: whether the end of a session is a symbol, with the code `END`
    ends: bool = False
    #: how symbols are found in the lines of a log, or words in a text; without both they are
    #: characters or event ids
    lines: LineFormat | None = None
    words: Words | None = None

    def __len__(self) -> int:
        return len(self.reserved) + len(self.symbols)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Names of the reserved codes, which are below those of the symbols."""
        return (*RESERVED, END_NAME) if self.ends else RESERVED

    @property
    def kind(self) -> str:
        """What symbols are: `chars`, `words`, `ids` or `lines`."""
        if self.lines or self.words:
            return "lines" if self.lines else "words"
        return "chars" if isinstance(self.symbols[0], str) else "ids"

    @property
    def is_text(self) -> bool:
        return self.kind == "chars"

    @cached_property
    def _code(self) -> dict[str | int, int]:
        symbols: Sequence[str | int] = self.symbols
        return {symbol: code for code, symbol in enumerate(symbols, start=len(self.reserved))}

    @property
    def between(self) -> str:
        return {"chars": "", "words": " ", "ids": " ", "lines": "\n"}[self.kind]

    def encode(self, symbols: Iterable[str | int]) -> NDArray[np.int32]:
        """Codes of `symbols`, `<int32>[n]`; `UNKNOWN` for those that the alphabet does not have."""
        return np.array([self._code.get(symbol, UNKNOWN) for symbol in symbols], np.int32)

    def decode(self, codes: Iterable[int]) -> list[str | int]:
        """Symbols of `codes`; reserved codes give their names."""
        names: Sequence[str | int] = (*self.reserved, *self.symbols)
        return [names[code] for code in codes]

    def to_dict(self) -> dict[str, Any]:
        lines = {"lines": self.lines.to_dict()} if self.lines else {}
        written = {"kind": self.kind, "reserved": [*self.reserved], "symbols": [*self.symbols]}
        return written | lines | ({"words": self.words.to_dict()} if self.words else {})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        kinds: dict[object, type] = {"chars": str, "words": str, "ids": int, "lines": str}
        kind, symbols = values.get("kind"), values.get("symbols")
        if not isinstance(kind, str) or kind not in kinds:
            raise InputError(
                f"alphabet: kind is {shown(kind)}, expected chars, words, ids or lines"
            )
        reserved, ends = values.get("reserved"), [*RESERVED, END_NAME]
        endless = kind in ("chars", "words")
        if reserved != list(RESERVED) and (endless or reserved != ends):
            more = "" if endless else f" or {ends}"
            raise InputError(
                f"alphabet: reserved is {shown(reserved)}, expected {list(RESERVED)}{more}"
            )
        if not isinstance(symbols, list) or not symbols:
            raise InputError(f"alphabet: symbols is {shown(symbols)}, expected a list of {kind}")
        if kind == "words":
            return cls(_checked_texts("words", symbols), words=_checked_words(values.get("words")))
        if kind == "lines":
            texts, lines = _checked_texts(kind, symbols), _checked_lines(values.get("lines"))
            return cls(texts, ends=reserved == ends, lines=lines)
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


def _checked_texts(kind: str, symbols: list[object]) -> tuple[str, ...]:
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol or len(symbol) > LONGEST_SYMBOL:
            raise InputError(f"alphabet: found {shown(symbol)}, expected the text of {kind}")
    if len(set(symbols)) < len(symbols):
        raise InputError("alphabet: a symbol occurs twice, expected each once")
    return tuple(map(str, symbols))


def _checked_words(given: object) -> Words:
    if not isinstance(given, dict) or "lower_case" not in given:
        raise InputError(f"alphabet: words is {shown(given)}: expected lower_case")
    check_switch("alphabet: lower_case", given["lower_case"])
    return Words(given["lower_case"])


def _checked_lines(given: object) -> LineFormat:
    try:
        return LineFormat.from_dict(given)
    except InputError as error:
        raise InputError(f"alphabet: {error}") from None
