from __future__ import annotations

from dataclasses import replace

from lstm_sweep.search.actions.detect import Finding
from lstm_sweep.search.cli.models import finding_line

FINDING = Finding(
    session="a.txt",
    place=1_234,
    symbol="x",
    known=True,
    probability=0.00123,
    likelier=7,
    expected=(("e", 0.5), (" ", 0.25)),
    before=("t", "h"),
)


def test_characters_are_quoted() -> None:
    line = finding_line(FINDING, is_text=True)
    assert line == "a.txt, symbol 1,234: 'x' (0.0012) after 'th'; expected 'e' (0.5), ' ' (0.25)"


def test_event_ids_are_separated() -> None:
    finding = replace(FINDING, symbol=9, known=False, expected=((5, 1.0),), before=(1, 22))
    assert finding_line(finding, is_text=False) == (
        "a.txt, symbol 1,234: 9 (not in the training data) after 1 22; expected 5 (1)"
    )
