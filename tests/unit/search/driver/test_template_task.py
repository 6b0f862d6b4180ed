"""A search over a template: its spec, what decides, which file is run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lstm_sweep.models import baselines
from lstm_sweep.models.baselines import ORDERS
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.actions.sweeps import SweepResult
from lstm_sweep.search.driver import lstm_task
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.task import (
    TemplateTask,
    read_template,
    remember_template,
    template_path,
)
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.search.values.trial import Device, Ended, Outcome, Paused, Slot, Trial
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import from_mapping, with_settings
from lstm_sweep.spaces.template.template import Template
from tests.sweeps import TEMPLATE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(TEMPLATE, encoding="utf-8")
    return tmp_path / "mine.py"


@pytest.fixture
def spec(file: Path) -> SweepSpec:
    given = {"template": str(file), "learning_rate_field": "rate", "trials": 9}
    return read_spec(None, given, [])


def begun(policy: Policy) -> Trial:
    trial = policy.next()
    assert trial
    progress = trial.with_slot(Slot(0), 0.0)
    policy.put(progress)
    return progress


def test_a_spec_comes_back_from_its_own_words(spec: SweepSpec, file: Path) -> None:
    written = json.loads(json.dumps(spec.to_dict()))
    assert written["template_digest"] == Template.read(str(file)).digest
    assert "data" not in written and "size_rule" not in written
    again = yaml.safe_load(yaml.safe_dump(spec.file_content()))
    assert SweepSpec.from_mapping(again, "test") == spec


def test_epochs_are_compared_with_epochs_and_returned_losses_are_learned(spec: SweepSpec) -> None:
    plan = replace(spec.plan(), confirm_configs=0)
    policy = Policy(plan, TemplateTask.open(spec).problem(spec, {}), sweep="s", slots=2)
    for loss in (0.9, 0.2, 0.4):  # the ladder, of which 0.1 is best
        policy.end(begun(policy).with_end(Ended(Outcome.COMPLETE, loss=loss), 0.0))
    verdicts = []
    for loss in (0.5, 0.4, 0.6, 0.7):
        progress = begun(policy).with_round(RoundDone(1, {"val_loss": loss}))
        verdict = policy.judge(progress)
        assert not isinstance(verdict, Paused)
        verdicts.append(verdict and verdict.outcome)
        policy.end(progress.with_end(verdict or Ended(Outcome.COMPLETE, loss=-loss), 0.0))
    assert verdicts == [None, None, Outcome.PRUNED, Outcome.PRUNED]
    assert [one.ranked_loss for one in policy.known.values()][3:] == [-0.5, -0.4, None, None]


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user who has run nothing keeps which templates that were."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize(
    "written",
    ["", "{", "[]", '"a"', "{}", '{"digest": 1}', '{"digest": "../../../etc/hosts"}',
     '{"digest": "0123456789ABCDEF"}', "[" * 99_999],
)  # fmt: skip
def test_a_digest_that_is_none_names_no_file(written: str, file: Path) -> None:
    with pytest.raises(BadRunError, match=r"^run r: tag sweep.template is "):
        read_template(Tags.of("r", {"sweep.template": written}), None)


def test_a_note_in_a_folder_that_others_may_write_is_not_believed(
    file: Path, own_state: Path
) -> None:
    template = Template.read(str(file))
    remember_template(template)
    assert template_path(template.digest) == file.resolve()
    [folder] = own_state.rglob("templates")
    folder.chmod(0o777)
    assert template_path(template.digest) is None


def task_of(folder: Path, **splits: str) -> CorpusTask:
    for name, text in splits.items():
        (folder / name).mkdir()
        (folder / name / "text").write_text(text)
    return CorpusTask.open(SweepSpec(data=str(folder)))


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


def spec_with(precision: object) -> SweepSpec:
    return SweepSpec(space=from_mapping({"precision": precision}, "test"))


def cpu(*flags: str, node: str | None = None) -> Device:
    return Device(kind="cpu: a new one", cpu_flags=frozenset(flags), node=node)


GPU = Device(kind="gpu", gpu=True)


@pytest.mark.parametrize(
    ("precision", "devices", "problem"),
    [
        ("float32", [cpu("avx2")], None),
        ("bfloat16", [cpu("avx2", "avx512_bf16")], None),
        ("bfloat16", [cpu("amx_bf16")], None),
        ("bfloat16", [cpu("avx2")], "this CPU has none of amx_bf16, avx512_bf16"),
        (["float32", "bfloat16"], [cpu("avx2")], "none of amx_bf16, avx512_bf16"),
        ("bfloat16", [cpu()], None),  # nobody knows
        ("bfloat16", [GPU], None),
        ("float16", [GPU], None),
        ("float16", [cpu("avx512_bf16")], "float16 needs a GPU, and there is none: expected"),
        # each device of a cluster may be given any trial
        ("float16", [GPU, cpu(node="b")], "float16 needs a GPU, and there is none on node b"),
        ("bfloat16", [cpu("amx_bf16", node="a"), cpu("avx2", node="b")], "the CPU on node b has"),
    ],
)
def test_a_precision_needs_the_instructions_for_it(
    precision: object, devices: list[Device], problem: str | None
) -> None:
    if problem is None:
        CorpusTask.check_devices(spec_with(precision), devices)
        return
    with pytest.raises(InputError, match=problem):
        CorpusTask.check_devices(spec_with(precision), devices)


def test_a_network_fits_into_the_memory_of_the_device_that_trains_it() -> None:
    config = TrialConfig(layers=16, layer_size=4096)
    lstm_task.check_room(config, 90, Device(kind="cpu: one that says nothing"))
    lstm_task.check_room(config, 90, Device(kind="gpu", memory=1 << 40))
    with pytest.raises(InputError, match="fit into the memory of this machine"):
        lstm_task.check_room(config, 90, Device(kind="gpu", memory=1 << 30))
    with pytest.raises(InputError, match="fit into the memory of node b"):
        lstm_task.check_room(config, 90, Device(kind="gpu", memory=1 << 30, node="b"))


def test_a_state_is_carried_by_unidirectional_networks_alone() -> None:
    for direction in ("uni", "bi"):
        fields = {"state": ["reset", "carried"], "direction": direction, "sequence_length": 8}
        spec = SweepSpec(space=from_mapping(fields, "test"), size_rule="off")
        refused = pytest.raises(InputError, match="state is carried and direction is bi")
        with refused if direction == "bi" else contextlib.nullcontext():
            lstm_task.check_space(spec, corpus_of(10_000))


def corpus_of(symbols: int) -> Corpus:
    """A corpus of so many training symbols, which take no memory."""
    codes = np.broadcast_to(np.uint8(2), symbols)
    train, other = (Split(part, np.zeros(1, np.int64)) for part in (codes, codes[:1_000]))
    return Corpus("long", Alphabet(("a", "b")), train, other, other, "0" * 32, "")


def test_a_refusal_by_the_size_rule_says_what_would_suit() -> None:
    small = SweepSpec(space=from_mapping({"layer_size": 16}, "test"))
    with pytest.raises(InputError) as refusal:
        lstm_task.check_space(small, corpus_of(10**9))
    assert "1,000,000,000 training symbols admit 200,000 to 10,000,000,000" in str(refusal.value)


def test_a_settled_spec_has_the_windows_that_suit_its_corpus_and_keeps_those_of_the_user() -> None:
    corpus = corpora.load(Source(data="python-docs"))
    small = replace(corpus, train=corpus.train.part(0, 50_000))

    def windows(spec: SweepSpec, corpus: Corpus) -> list[Any]:
        return CorpusTask.of(spec, corpus).settled(spec).space["sequence_length"].values() or []

    assert windows(SweepSpec(), corpus)[0] == 20
    assert windows(SweepSpec(), small)[0] == baselines.best_order(small) in ORDERS
    named = SweepSpec(space=with_settings(presets.DEFAULT, ["sequence_length=30,40"]))
    assert windows(named, small) == [30, 40]


def test_targets_are_in_long_groups_if_all_networks_carry_their_state() -> None:
    carried = with_settings(presets.DEFAULT, ["direction=uni", "state=carried"])
    spec = SweepSpec(data="workflow-log", space=carried)
    task = CorpusTask.open(spec)
    assert task.settled(spec).adjacent_targets == 128
    assert task.settled(replace(spec, targets=3_200)).adjacent_targets == 100


@pytest.mark.parametrize(("given", "settled"), [("auto", True), ("off", False)])
def test_a_settled_spec_says_whether_its_corpus_has_ends(given: bool | str, settled: bool) -> None:
    spec = SweepSpec(data="workflow-log", ends=given)
    task = CorpusTask.open(spec)
    assert task.settled(spec).adjacent_targets == 1, "a log of short sessions"
    assert task.settled(replace(spec, adjacent_targets=8)).adjacent_targets == 8
    assert task.settled(spec).ends is task.corpus.alphabet.ends is task.origin.ends is settled
    written = json.loads(task.tags()["sweep.data"])
    about = {"data": "workflow-log", "symbols": "auto", "split": [0.8, 0.1, 0.1], "ends": settled}
    assert about.items() <= written.items()
