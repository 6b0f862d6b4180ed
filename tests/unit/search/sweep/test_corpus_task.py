from __future__ import annotations

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.policy.cost import fitting_targets
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.spaces import presets


def test_a_settled_spec_has_targets_that_fit_its_corpus_and_keeps_a_number_that_was_given() -> None:
    corpus = corpora.load(Source(data="python-docs"))
    middle = as_lstm_config(presets.DEFAULT.middle()).evolve(direction="uni")
    task = CorpusTask.of(SweepSpec(trials=3), corpus)
    spec = task.settled(SweepSpec(trials=3))
    assert spec == SweepSpec(
        trials=3, targets=fitting_targets(middle, len(corpus.train)), rounds_per_epoch=1
    )
    assert task.settled(spec) is spec
    assert task.settled(SweepSpec(targets=7)).targets == 7
