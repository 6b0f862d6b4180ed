"""How a text is divided for a benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks.curves import divided
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source


def test_the_last_share_of_a_text_is_validation_data_and_all_before_it_training(
    tmp_path: Path,
) -> None:
    file = tmp_path / "text.txt"
    text = "".join(chr(97 + number % 7) for number in range(1_115))
    file.write_text(text, encoding="utf-8")
    corpus = load(Source(data=divided(file, 0.1, tmp_path)))
    # as nanoGPT has it: the first int(0.9 * characters)
    assert (len(corpus.train), len(corpus.validation)) == (1_003, 112)
    assert (corpus.validation.codes == corpus.alphabet.encode(text[1_003:])).all()
