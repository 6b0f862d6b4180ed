"""What is done with sweeps of a store."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import lifecycle
from lstm_sweep.search.actions.dry_run import SIZE_FIELDS
from lstm_sweep.search.actions.lifecycle import named_changes, resumed_spec
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import DifferentSearchError
from lstm_sweep.search.actions.rerun import (
    TOLERANCE,
    Rounds,
    _check_comparable,
    _check_proposed,
    compare,
)
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Ended, Outcome, Phase
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import with_settings
from tests.fakes import ScriptedEngine
from tests.sweeps import sweep_of

SETTINGS = ["layer_size=16,24,32", "layers=1,2", "epochs=4"]


@pytest.fixture
def spec(data: Path) -> SweepSpec:
    """A sweep that suits the data."""
    return read_spec(None, {"data": str(data), "trials": 20, "workers": 2}, SETTINGS)


def test_a_dry_run_says_how_long_its_trials_take_and_creates_nothing(
    spec: SweepSpec, tmp_path: Path
) -> None:
    found = Local(load(tmp_path, {})).dry_run(replace(spec, minutes=500.0))
    assert not list(tmp_path.iterdir())
    assert (found.slots, found.budget.trials) == (2, 20)
    assert found.typical and found.budget.seconds
    assert found.typical.seconds < found.budget.seconds < 60 * 500
    assert found.to_dict()["budget"]["seconds"] == round(found.budget.seconds, 1)


ROWS = [f"{'ab'[n % 2]}\tit is {'ab'[n % 2] * 9} {n}" for n in range(60)]
FEW = "found 10 sequences, 10 symbols, that validation and test data lack, expected at least 10"
UNLABELLED: list[tuple[str, dict[str, Any], str]] = [
    ("".join(f"{row[2:]}\n" for row in ROWS), {}, "48 sequences of {}/u are learnt first; 12 are"),
    ("it is new\n" * 99, {}, "99 sequences of {}/u are learnt first"),
    ("x\n" * 10, {}, f"unlabelled {{}}/u: {FEW}"),
    ("", {}, "unlabelled {}/u: found 0 sequences"),
    ("", {"minutes": None, "trials": 5}, "unlabelled is given without minutes"),
    ("", {"pretrained": "s"}, "unlabelled is given with pretrained"),
    ("", {"symbols": "lines", "label": None, "labels": "l"}, "unlabelled is given with symbols li"),
    ("", {"unlabelled": "/none"}, "unlabelled '/none': no such file or folder"),
    ("", {"unlabelled": None}, "what follows in the 48 training sequences is learnt first, in 30%"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "fields", "told"), UNLABELLED)
def test_what_unlabelled_sequences_are_learnt_is_said_first(
    content: str, fields: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "a.tsv").write_text("\n".join(ROWS), encoding="utf-8")
    (tmp_path / "u").write_text(content, encoding="utf-8")
    given: dict[str, Any] = {
        "data": str(tmp_path / "a.tsv"),
        "label": "0",
        "symbols": "chars",
        "minutes": 10.0,
    }
    spec = SweepSpec(**given | {"unlabelled": str(tmp_path / "u"), "size_rule": "off"} | fields)
    try:
        found = Local(load(tmp_path, {})).dry_run(spec)
        off = Local(load(tmp_path, {})).dry_run(replace(spec, unlabelled="off"))
        assert "learnt first" not in str(off.notes) and off.budget.seconds == 10 * 60
    except InputError as refused:
        assert str(refused).startswith(told.format(tmp_path))
    else:
        assert told.format(tmp_path) in found.notes[0] and found.budget.seconds == 7 * 60
        assert found.notes[1].startswith("first sweep-unlabelled takes: 3 minutes at most")


def test_a_sweep_says_that_the_one_ahead_taught_it_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    (tmp_path / "a.tsv").write_text("\n".join(ROWS), encoding="utf-8")
    spec = SweepSpec(data=str(tmp_path / "a.tsv"), label="0", minutes=1.0, name="s")
    local, observer, launch = Local(load(tmp_path, {})), mock.Mock(), lifecycle.launch
    monkeypatch.setattr(lifecycle, "launch", mock.Mock(return_value=mock.Mock(goes_on=False)))
    monkeypatch.setattr(lifecycle, "task_kind", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        launch(local, spec, observer)
    assert "s-unlabelled ended without a network: trials of s begin at random" in str(
        observer.said.call_args
    )


SIZES = ["direction=uni,bi", "layers=2,3", "layer_size=8..200", "embedding_size=0,4,300"]


def test_networks_are_counted_as_if_each_was_judged(tmp_path: Path) -> None:
    data = tmp_path / "book.txt"
    data.write_text("a fox and the lazy dog. " * 2_000, encoding="utf-8")
    spec = SweepSpec(data=str(data), space=with_settings(presets.DEFAULT, SIZES))
    found = Local().size(spec)
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


@pytest.mark.parametrize("lacking", ["onnx", "onnxruntime"])
def test_without_the_extra_it_is_said_how_to_get_it(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == lacking else find(name)
    )
    settings = Settings(f"sqlite:///{tmp_path / 'mlflow.db'}", None, "test", "test")
    with pytest.raises(InputError) as refused:
        Local(settings).export("s", str(tmp_path / "best"), format="onnx")
    assert str(refused.value) == (
        f"--format onnx: it needs {lacking}, expected: pip install lstm-sweep[onnx]"
    )


TEMPLATE = Path(__file__).parents[3] / "templates" / "dense.py"


def test_a_sweep_may_go_on_with_more_but_not_with_another_search(data: Path) -> None:
    was = SweepSpec(data=str(data), name="s", minutes=3, ends=False, targets=100)
    given = replace(was, trials=70, ends="auto", targets="auto")
    changes: dict[str, Any] = {"keep": 2, "minutes": None}
    assert resumed_spec(was, "s", changes, given) == replace(was, **changes)
    with pytest.raises(InputError, match="'seed' may not change"):
        resumed_spec(was, "s", {"seed": 4}, None)


def test_what_a_file_does_not_say_stays_as_it_was(data: Path) -> None:
    own: dict[str, Any] = {
        "trials": 200,
        "minutes": 90,
        "workers": 4,
        "per_gpu": 2,
        "max_failures": 3,
        "keep": 20,
    }
    was = SweepSpec(data=str(data), name="s", on="inline", **own)
    fields = {"data": str(data), "trials": 50, "minutes": None}
    given = SweepSpec.from_mapping(fields, "test")
    assert named_changes(fields, given) == {"trials": 50, "minutes": None}
    assert resumed_spec(was, "s", {}, given) == was
    now = resumed_spec(was, "s", named_changes(fields, given), given)
    assert now == replace(was, trials=50, minutes=None)


@pytest.mark.parametrize("is_folder", [False, True])
def test_data_that_were_moved_are_the_same_if_their_content_is(
    data: Path, tmp_path: Path, is_folder: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        shutil.copy(data, folder / "a.txt")
    old, new = (old, new) if is_folder else (old / "a.txt", new / "a.txt")
    was = SweepSpec(data=str(old), name="s")
    assert resumed_spec(was, "s", {}, SweepSpec(data=str(new), trials=9)).data == str(old)
    (tmp_path / "new" / "a.txt").write_text("other", encoding="utf-8")
    with pytest.raises(DifferentSearchError, match=f"data was {old}, is {new}"):
        resumed_spec(was, "s", {}, SweepSpec(data=str(new)))
    with pytest.raises(DifferentSearchError, match="is python-docs"):
        resumed_spec(was, "s", {}, SweepSpec())


def test_a_template_that_was_moved_is_the_same_if_its_text_is(tmp_path: Path) -> None:
    specs = []
    for name, more in (("a.py", ""), ("b.py", ""), ("c.py", "# another one\n")):
        path = tmp_path / name
        path.write_text(TEMPLATE.read_text(encoding="utf-8") + more, encoding="utf-8")
        specs.append(SweepSpec.from_mapping({"template": str(path)}, "test"))
    was, same, other = specs
    assert resumed_spec(was, "s", {"trials": 9}, same) == replace(was, trials=9)
    with pytest.raises(DifferentSearchError, match="template_digest was"):
        resumed_spec(was, "s", {}, other)


@pytest.mark.parametrize("phase", [Phase.SEARCH, Phase.RERUN])
def test_no_value_beyond_its_space_gets_into_a_template(phase: Phase, tmp_path: Path) -> None:
    file, store = tmp_path / "mine.py", MemoryStore()
    file.write_text(
        "def data():\n    return 1\ndef create_model(x):\n    return {{uniform(0, 1)}}\n"
    )
    spec = SweepSpec.from_mapping({"template": str(file), "trials": 1}, "test")
    sweep_of(store, None, ScriptedEngine({0: [1.0]}), spec).run()
    [record] = reader.trials(store, "s")
    for value, refused in [(0.5, None), (1e9, "expected a value of the sweep's space")]:
        changed = json.dumps({"return:4": value})
        store.log(record.run_id, tags={Tag.CONFIG: changed, Tag.PHASE: phase})
        record = reader.read_trial(store.run(record.run_id))
        with pytest.raises(BadRunError, match=refused) if refused else contextlib.nullcontext():
            _check_proposed(store, record, str(file))


WAS: Rounds = [
    {"loss": 3.0, "val_loss": 2.0},
    {"loss": 2.0, "val_loss": 1.0},
    {"loss": 1.5, "val_loss": 0.5},
]
#: what is within tolerance of 1, and what is not
NEAR, FAR = 1.0 + TOLERANCE / 2, 1.0 - TOLERANCE * 2


def changed(epoch: int, metric: str, value: float) -> Rounds:
    """The first run with one other value."""
    return [{**one, metric: value} if n == epoch else one for n, one in enumerate(WAS, start=1)]


@given(
    epochs=st.lists(
        st.fixed_dictionaries({"loss": st.floats(0, 10), "val_loss": st.floats(0, 10)}), max_size=5
    ),
    cut_short=st.booleans(),
)
def test_any_run_is_identical_to_itself(epochs: Rounds, cut_short: bool) -> None:
    assert compare(epochs, epochs, cut_short=cut_short).verdict == "identical"


INFINITE = changed(2, "loss", math.inf)
CUT: dict[str, Any] = {"cut_short": True}


@pytest.mark.parametrize(
    ("was", "now", "more", "verdict", "difference", "first"),
    [
        (WAS, changed(2, "val_loss", NEAR), {}, "within_tolerance", NEAR - 1,
         (2, "val_loss", 1.0, NEAR)),
        (WAS, changed(2, "val_loss", FAR), {}, "different", 1 - FAR, (2, "val_loss", 1.0, FAR)),
        (WAS, changed(1, "loss", math.nan), {}, "different", None, (1, "loss", 3.0, "nan")),
        (WAS, changed(2, "loss", -math.inf), {}, "different", None, (2, "loss", 2.0, "-inf")),
        (WAS, [{"loss": 3.0}, *WAS[1:]], {}, "different", None, (1, "val_loss", 2.0, None)),
        (WAS, INFINITE, {}, "different", None, (2, "loss", 2.0, "inf")),
        (INFINITE, [WAS[0], {"val_loss": 1.0}, WAS[2]], {}, "different", None,
         (2, "loss", "inf", None)),
        (INFINITE, INFINITE, {}, "identical", 0.0, None),
        (WAS, WAS[:2], {}, "different", 0.0, (3, "epochs", 3, 2)),
        (WAS, [*WAS, WAS[0]], {}, "different", 0.0, (4, "epochs", 3, 4)),
        (WAS, WAS, {"returned": (None, 0.5)}, "different", None, (3, "loss", None, 0.5)),
        (WAS, WAS, {"returned": (0.5, None)}, "different", None, (3, "loss", 0.5, None)),
        # the first run was cut short: it is compared as far as it went
        (WAS[:2], changed(2, "loss", 7.0), CUT, "different", 5.0, (2, "loss", 2.0, 7.0)),
        (WAS[:1], changed(2, "loss", 7.0), CUT, "identical", 0.0, None),
        (WAS, WAS[:2], CUT, "different", 0.0, (3, "epochs", 3, 2)),
    ],
)  # fmt: skip
def test_the_first_difference_and_the_largest_are_told(
    was: Rounds, now: Rounds, more: dict[str, Any], verdict: str, difference: float | None,
    first: tuple[Any, ...] | None,
) -> None:  # fmt: skip
    found = compare(was, now, **more)
    assert (found.verdict, found.max_difference) == (verdict, difference)
    names = ("epoch", "metric", "was", "is")
    assert found.first_difference == (first and dict(zip(names, first, strict=True)))
    assert found.epochs_compared == min(len(was), len(now))
    json.dumps(vars(found), allow_nan=False)


def test_a_trial_without_a_round_to_compare_with_is_refused() -> None:
    tags = Tags.of("r", {})
    pruned = TrialRecord(
        sweep="s", number=2, config=TrialConfig(), seed=1, tags=tags, ended=Ended(Outcome.PRUNED)
    )
    with pytest.raises(InputError, match="trial 's/2' was pruned before its first round: expected"):
        _check_comparable(pruned, [], {})
    _check_comparable(pruned, [{"val_loss": 1.0}], {})
    _check_comparable(pruned, [], {"dropout": {"was": 0.0, "is": 0.5}})
    _check_comparable(replace(pruned, ended=Ended(Outcome.LOST)), [], {})
