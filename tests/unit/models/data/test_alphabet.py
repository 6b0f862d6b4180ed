from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.alphabet import END, UNKNOWN, Alphabet
from lstm_sweep.models.errors import InputError


def test_the_end_of_a_session_has_the_code_after_those_that_never_come_next() -> None:
    alphabet = Alphabet((5, 70), ends=True)
    assert len(alphabet) == 5
    assert alphabet.encode([70, 5, 6]).tolist() == [4, 3, UNKNOWN]
    assert alphabet.decode([END, 3, 4]) == ["<end>", 5, 70]
    written = alphabet.to_dict()
    assert written["reserved"] == ["<start>", "<unk>", "<end>"]
    assert Alphabet.from_dict(written) == alphabet


@pytest.mark.parametrize(
    ("kind", "reserved", "expected"),
    [
        ("chars", ["<start>", "<unk>", "<end>"], "expected ['<start>', '<unk>']"),
        ("ids", ["<start>"], "expected ['<start>', '<unk>'] or ['<start>', '<unk>', '<end>']"),
        ("ids", None, "expected ['<start>', '<unk>'] or ['<start>', '<unk>', '<end>']"),
    ],
)
def test_other_reserved_codes_are_refused(kind: str, reserved: object, expected: str) -> None:
    symbols = ["a"] if kind == "chars" else [1]
    with pytest.raises(InputError, match=f"{re.escape(expected)}$"):
        Alphabet.from_dict({"kind": kind, "reserved": reserved, "symbols": symbols})


@given(st.sets(st.characters(codec="utf-8"), min_size=1) | st.sets(st.integers(0), min_size=1))
def test_an_alphabet_decodes_what_it_encodes(symbols: set[str] | set[int]) -> None:
    alphabet = Alphabet(tuple(sorted(symbols)))  # type: ignore[arg-type]
    codes = alphabet.encode(alphabet.symbols)
    assert codes.tolist() == list(range(2, 2 + len(symbols)))
    assert alphabet.decode(codes) == list(alphabet.symbols)
    assert Alphabet.from_dict(alphabet.to_dict()) == alphabet
