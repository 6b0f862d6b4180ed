from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.actions import dry_run
from lstm_sweep.search.actions.dry_run import SIZE_FIELDS
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import with_settings

SETTINGS = ["layer_size=16,24,32", "layers=1,2", "epochs=4"]


@pytest.fixture
def spec(data: Path) -> SweepSpec:
    """A sweep that suits the data."""
    return read_spec(None, {"data": str(data), "trials": 20, "workers": 2}, SETTINGS)


def test_it_says_what_a_sweep_would_do_and_creates_nothing(spec: SweepSpec, tmp_path: Path) -> None:
    found = Local(load(tmp_path, {})).dry_run(spec)
    assert not list(tmp_path.iterdir())
    assert (found.slots, found.budget.trials) == (2, 20)
    assert found.spec["targets"] != "auto" and found.spec["rounds_per_epoch"] != "auto"
    assert found.refused is not None and 0 <= found.refused < 1
    assert (
        found.typical and found.budget.seconds and found.budget.seconds > found.typical.seconds > 0
    )
    assert found.typical.memory_bytes > 4 * found.typical.parameters
    assert any(note.startswith("size rule") for note in found.notes)
    shown = found.to_dict()
    assert shown["budget"] == {"trials": 20, "seconds": round(found.budget.seconds, 1)}


def test_less_time_buys_fewer_trials(spec: SweepSpec, tmp_path: Path) -> None:
    settings = load(tmp_path, {})
    short = Local(settings).dry_run(dataclasses.replace(spec, minutes=0.5))
    long = Local(settings).dry_run(dataclasses.replace(spec, minutes=500.0))
    assert short.budget.seconds == 30.0 and (short.budget.trials or 0) < 20
    assert long.budget.trials == 20 and (long.budget.seconds or 1e9) < 60 * 500


SIZES = ["direction=uni,bi", "layers=2,3", "layer_size=8..200", "embedding_size=0,4,300"]


def test_networks_are_counted_as_if_each_was_judged(tmp_path: Path) -> None:
    data = tmp_path / "book.txt"
    data.write_text("a fox and the lazy dog. " * 2_000, encoding="utf-8")
    spec = SweepSpec(data=str(data), space=with_settings(presets.DEFAULT, SIZES))
    found = dry_run.size(spec)
    axes = [spec.space[field].values() or [] for field in SIZE_FIELDS]
    configs = [
        TrialConfig.from_dict(dict(zip(SIZE_FIELDS, shape, strict=True)))
        for shape in itertools.product(*axes)
    ]
    judged = [spec.rule().judge(one, found.alphabet, found.training_symbols) for one in configs]
    assert found.structures == len(configs) == 2 * 2 * 193 * 3
    assert 0 < found.admitted == sum(one.admitted for one in judged) < found.structures
    sizes = [one.parameters for one in judged]
    assert [one.parameters for one in found.networks] == [min(sizes), max(sizes)]
