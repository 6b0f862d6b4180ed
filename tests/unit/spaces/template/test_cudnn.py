from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lstm_sweep.spaces.template.cudnn import unsupported
from lstm_sweep.spaces.template.template import Template

TEMPLATES = Path(__file__).parents[3] / "templates"


@pytest.mark.parametrize(
    "layer",
    [
        "LSTM(64)",
        "keras.layers.LSTM({{choice([32, 64])}}, dropout=0.5, return_sequences=True)",
        "LSTM(8, activation='tanh', recurrent_activation='sigmoid', recurrent_dropout=0.0)",
        "LSTM(8, 'tanh', use_bias=True, unroll=False, use_cudnn='auto')",
        "GRU(8, reset_after=True)",
        "LSTM(8, activation={{pchoice([(0.5, 'tanh'), (0.5, 'tanh')])}})",
        "LSTM(8, reset_after=False)",
        "LSTM(units, activation=chosen, unroll={{choice([False])}})",
        "Dense(8, activation='relu')",
    ],
)
def test_what_cudnn_has_gets_no_word(layer: str) -> None:
    assert list(unsupported(ast.parse(layer))) == []


@pytest.mark.parametrize(
    ("layer", "written", "needed"),
    [
        ("LSTM(8, activation='relu')", "activation='relu'", "activation='tanh'"),
        ("LSTM(8, 'relu')", "activation='relu'", "activation='tanh'"),
        ("layers.GRU(8, activation=None)", "activation=None", "activation='tanh'"),
        ("LSTM(8, recurrent_activation='hard_sigmoid')", "recurrent_activation='hard_sigmoid'",
         "recurrent_activation='sigmoid'"),
        ("LSTM(8, recurrent_dropout=0.2)", "recurrent_dropout=0.2", "recurrent_dropout=0"),
        ("LSTM(8, recurrent_dropout={{uniform(0, 1)}})", "recurrent_dropout={{uniform(0, 1)}}",
         "recurrent_dropout=0"),
        ("LSTM(8, activation={{choice(['tanh', 'relu'])}})",
         "activation={{choice(['tanh', 'relu'])}}", "activation='tanh'"),
        ("LSTM(8, activation={{pchoice([(0.5, 'tanh'), (0.5, 'relu')])}})",
         "activation={{pchoice([(0.5, 'tanh'), (0.5, 'relu')])}}", "activation='tanh'"),
        ("LSTM(8, unroll=True)", "unroll=True", "unroll=False"),
        ("LSTM(8, use_bias=False)", "use_bias=False", "use_bias=True"),
        ("LSTM(8, use_cudnn=False)", "use_cudnn=False", "use_cudnn='auto'"),
        ("GRU(8, reset_after=False)", "reset_after=False", "reset_after=True"),
    ],
)  # fmt: skip
def test_what_it_has_not_is_named(layer: str, written: str, needed: str) -> None:
    [(line, name, found, expected)] = unsupported(ast.parse(f"\nx = {layer}"))
    assert line == 2 and name in layer
    assert (found, expected) == (written, needed)


def test_a_template_says_it_of_its_own_lines(tmp_path: Path) -> None:
    source = (TEMPLATES / "sequences.py").read_text(encoding="utf-8")
    assert Template.read(str(TEMPLATES / "sequences.py")).gpu_notes == ()
    slow = source.replace("LSTM(", "LSTM(recurrent_dropout=0.1, units=", 1)
    (tmp_path / "slow.py").write_text(slow, encoding="utf-8")
    [note] = Template.read(str(tmp_path / "slow.py")).gpu_notes
    line = 1 + slow[: slow.index("recurrent_dropout")].count("\n")
    assert note == (
        f"line {line}: LSTM with recurrent_dropout=0.1 does without cuDNN, "
        f"expected recurrent_dropout=0"
    )
