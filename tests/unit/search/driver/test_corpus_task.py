from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec


def task_of(folder: Path, **splits: str) -> CorpusTask:
    for name, text in splits.items():
        (folder / name).mkdir()
        (folder / name / "text").write_text(text)
    spec = SweepSpec(data=str(folder))
    return CorpusTask.of(spec, corpora.load(Source(data=str(folder))))


def test_the_share_of_unknown_symbols_stands_in_each_run_and_none_is_a_target(
    tmp_path: Path,
) -> None:
    task = task_of(tmp_path, train="ab" * 200, validation="abxb" * 100, test="ab" * 200)
    assert task.tags()[Tag.UNKNOWN_SHARE] == "0.25"
    assert task.data_size.targets == 300 == len(task.scoring.drawn(task.corpus.validation))
    text = "25.00% of the validation symbols are not in the training data, nor scored"
    assert f"corpus: {text}" in task.notes(SweepSpec(data=str(tmp_path), size_rule="off"))
    state = SweepState(name="s", spec=SweepSpec(), slots=(), unknown_share=task.unknown_share)
    assert SweepResult.of(state).to_dict()["unknown_share"] == 0.25


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_a_known_symbol_is_refused_in_one_line(tmp_path: Path, split: str) -> None:
    splits = {"train": "ab" * 200, "validation": "ab" * 200, "test": "ab" * 200} | {split: "xy" * 9}
    with pytest.raises(InputError, match=f"the {split} split has no symbol that the training data"):
        task_of(tmp_path, **splits)


def test_the_size_of_a_large_corpus_follows_from_what_is_logged_of_a_small_network() -> None:
    corpus = corpora.load(Source(data="python-docs"))
    codes = np.broadcast_to(np.uint8(2), 831_000_000)
    large = replace(corpus, train=Split(codes, np.zeros(1, np.int64)))
    task = replace(CorpusTask.of(SweepSpec(), corpus), corpus=large)
    logged = task.params(TrialConfig(layers=2, layer_size=48))
    share = logged["parameters_per_symbol"]
    assert share < 0.0001
    assert logged["parameters"] / share == pytest.approx(831_000_000, rel=1e-3)
