from __future__ import annotations

import argparse

import pytest

from lstm_sweep.search.cli.parsers import size


@pytest.mark.parametrize(
    "text, value",
    [("0", 0), ("7", 7), ("1K", 1024), ("1.5G", 3 << 29), ("500M", 500 << 20), ("2T", 2 << 40)],
)
def test_a_size_is_a_number_with_a_unit(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "G", "-1G", "1 G", "1g", "1GB", "inf", "1e9", "١"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number and K, M, G or T"):
        size(text)
