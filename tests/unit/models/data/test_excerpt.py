"""Examples of real data: readable in a command, known to the network, none if there are none."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from lstm_sweep.models.data.alphabet import END, Alphabet
from lstm_sweep.models.data.corpus import LONGEST, SHORTEST, Split, excerpt


def split_of(alphabet: Alphabet, symbols: str | list[int]) -> Split:
    return Split(alphabet.encode(symbols).astype(np.uint16), np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the river and the stone and the sea", "the river and the stone"),
        ('ld and it\'s "here" where the river ends', "where the river ends"),
        ("дом и река, где дом", "дом и река, где дом"),
        ("\tif a:\n\t\treturn what there is\n", "return what there is"),
    ],
)
def test_the_example_of_a_text_is_its_first_plain_words(text: str, expected: str) -> None:
    alphabet = Alphabet(tuple(sorted(set(text))))
    found = excerpt(split_of(alphabet, text), alphabet)
    assert found == expected
    assert SHORTEST <= len(expected) <= LONGEST
    body = json.dumps({"text": found}, ensure_ascii=False)
    assert shlex.quote(body) == f"'{body}'"  # nothing in it has to be escaped


def test_symbols_that_are_unknown_are_not_in_it() -> None:
    alphabet = Alphabet(tuple(sorted(set("the river and "))))
    found = excerpt(split_of(alphabet, "the Xriver X and the river XX"), alphabet)
    assert found == "and the river"


@pytest.mark.parametrize("text", ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a'b'a'b a'b", "ab"])
def test_a_text_without_plain_words_has_none(text: str) -> None:
    alphabet = Alphabet(tuple(sorted(set(text))))
    assert excerpt(split_of(alphabet, text), alphabet) is None


def test_the_example_of_events_is_the_first_that_are_known() -> None:
    alphabet = Alphabet((1, 5, 7))
    assert excerpt(split_of(alphabet, [9, 7, 5, 5, 9, 1, 7, 7, 1]), alphabet) == [7, 5, 5, 1, 7]
    assert excerpt(split_of(alphabet, [9, 9]), alphabet) is None


def test_it_ends_with_its_session() -> None:
    alphabet = Alphabet((1, 5, 7), ends=True)
    codes = np.array([*alphabet.encode([9]), END, *alphabet.encode([9, 1, 7]), END, 5], np.uint16)
    assert excerpt(Split(codes, np.array([0, 2, 6])), alphabet) == [1, 7]
    assert excerpt(Split(np.array([END, END], np.uint16), np.array([0, 1])), alphabet) is None
