"""The corpus of a trial, loaded again and compared with what it was."""

from __future__ import annotations

import hashlib

import numpy as np

from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.reader import Sequences, code_points, read_ids, read_text
from lstm_sweep.models.data.samples import SAMPLES
from lstm_sweep.models.data.source import Source, existing, file_groups
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store import archive
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
    if archive.schema_of(record.tags) == 0 and first_digest(source, corpus) == expected:
        return corpus
    raise InputError(
        f"data '{source.data}' have changed since trial {record.trial.id}: found digest "
        f"{corpus.digest}, expected {expected}"
    )


def first_digest(source: Source, corpus: Corpus) -> str:
    """Digest of a corpus as the first version took it: over all but what a symbol is."""
    sequences = Sequences()
    if source.data in SAMPLES:
        for session in SAMPLES[source.data].sessions():
            sequences.start_file()
            sequences.append(code_points(session) if isinstance(session, str) else session)
    else:
        read = read_text if corpus.alphabet.is_text else read_ids
        for files in file_groups(existing(source.data)).values():
            read(files, sequences)
    values = np.array(sequences.values, np.int64)
    rank = np.argsort(np.argsort(values))
    bounds = np.cumsum([0, *map(len, corpus.splits().values())])
    digest = hashlib.blake2b(digest_size=16)
    for part in (np.sort(values), bounds, sequences.session_starts()):
        digest.update(part.astype("<i8").tobytes())
    for block in sequences.blocks:
        digest.update(rank[block].astype("<u4").tobytes())
    return digest.hexdigest()
