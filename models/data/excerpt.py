"""A few symbols of real data, as an example of what a trained network is asked about."""

from __future__ import annotations

import re

from lstm_sweep.models.data.alphabet import END, Alphabet
from lstm_sweep.models.data.corpus import Split

#: symbols that are looked at, and those of an excerpt of event ids
LOOKED_AT, IDS = 2_000, 5
#: words that stand in quotes of a shell and of JSON as they are: 8 to 24 characters
WORDS = re.compile(r"(?<![^\s])[^\W_][^\s'\"\\]{0,11}(?: [^\s'\"\\]{1,11})+(?![^\s])")
SHORTEST, LONGEST = 8, 24


def excerpt(split: Split, alphabet: Alphabet) -> str | list[int] | None:
    """A few words of a text, or a few event ids, that a network knows; None if there are none."""
    codes = [int(code) for code in split.codes[:LOOKED_AT]]
    lowest = len(alphabet.reserved)
    if not alphabet.is_text:
        known = list[int]()
        for code in codes:
            if code >= lowest:
                known.append(code)
            if len(known) == IDS or (known and code == END < lowest):
                break
        return [int(symbol) for symbol in alphabet.decode(known)] or None
    pieces = "".join("\n" if code < lowest else str(alphabet.decode([code])[0]) for code in codes)
    for found in WORDS.finditer(pieces):
        text = found[0]
        if len(text) > LONGEST:
            text = text[: text.rindex(" ", 0, LONGEST)] if " " in text[:LONGEST] else ""
        if len(text) >= SHORTEST and text.isprintable():
            return text
    return None
