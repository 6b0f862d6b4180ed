from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.corpus_task import CorpusTask


def test_the_size_of_a_large_corpus_follows_from_what_is_logged_of_a_small_network() -> None:
    corpus = corpora.load(Source(data="python-docs"))
    codes = np.broadcast_to(np.uint8(2), 831_000_000)
    large = replace(corpus, train=Split(codes, np.zeros(1, np.int64)))
    task = replace(CorpusTask.of(SweepSpec(), corpus), corpus=large)
    logged = task.params(TrialConfig(layers=2, layer_size=48))
    share = logged["parameters_per_symbol"]
    assert share < 0.0001
    assert logged["parameters"] / share == pytest.approx(831_000_000, rel=1e-3)
