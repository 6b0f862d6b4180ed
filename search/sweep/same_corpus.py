"""The corpus of a trial, loaded again and compared with what it was."""

from __future__ import annotations

from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.trial_record import TrialRecord


def load_same_corpus(source: Source, record: TrialRecord) -> Corpus:
    """Load the data of a trial again.

    Raises:
        InputError: they are gone, or are not what they were.
    """
    corpus = corpora.load(source)
    expected = record.tags.text(Tag.CORPUS_DIGEST)
    if corpus.digest == expected:
        return corpus
    raise InputError(
        f"data '{source.data}' have changed since trial {record.trial.id}: found digest "
        f"{corpus.digest}, expected {expected}"
    )
