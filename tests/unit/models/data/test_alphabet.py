from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.alphabet import RESERVED, START, UNKNOWN, Alphabet


def test_codes_0_and_1_are_reserved() -> None:
    alphabet = Alphabet(("a", "b"))
    assert len(alphabet) == 4
    assert alphabet.decode([START, UNKNOWN, 2, 3]) == [*RESERVED, "a", "b"]


def test_a_symbol_that_the_alphabet_lacks_is_unknown() -> None:
    assert Alphabet((5, 70)).encode([70, 6, 5]).tolist() == [3, UNKNOWN, 2]


@given(st.sets(st.characters(codec="utf-8"), min_size=1) | st.sets(st.integers(0), min_size=1))
def test_an_alphabet_decodes_what_it_encodes(symbols: set[str] | set[int]) -> None:
    alphabet = Alphabet(tuple(sorted(symbols)))  # type: ignore[arg-type]
    codes = alphabet.encode(alphabet.symbols)
    assert codes.tolist() == list(range(2, 2 + len(symbols)))
    assert alphabet.decode(codes) == list(alphabet.symbols)
    assert Alphabet.from_dict(alphabet.to_dict()) == alphabet
