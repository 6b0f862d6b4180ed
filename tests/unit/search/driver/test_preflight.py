from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest

from lstm_sweep.models import baselines
from lstm_sweep.models.baselines import ORDERS
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver import preflight
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import from_mapping, with_settings


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
    preflight.check_room(config, 90, Device(kind="cpu: one that says nothing"))
    preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 40))
    with pytest.raises(InputError, match="fit into the memory of this machine"):
        preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 30))
    with pytest.raises(InputError, match="fit into the memory of node b"):
        preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 30, node="b"))


def test_a_state_is_carried_by_unidirectional_networks_alone() -> None:
    for direction in ("uni", "bi"):
        fields = {"state": ["reset", "carried"], "direction": direction, "sequence_length": 8}
        spec = SweepSpec(space=from_mapping(fields, "test"), size_rule="off")
        refused = pytest.raises(InputError, match="state is carried and direction is bi")
        with refused if direction == "bi" else contextlib.nullcontext():
            preflight.check_space(spec, corpus_of(10_000))


def corpus_of(symbols: int) -> Corpus:
    """A corpus of so many training symbols, which take no memory."""
    codes = np.broadcast_to(np.uint8(2), symbols)
    train, other = (Split(part, np.zeros(1, np.int64)) for part in (codes, codes[:1_000]))
    return Corpus("long", Alphabet(("a", "b")), train, other, other, "0" * 32, "")


def test_a_refusal_by_the_size_rule_says_what_would_suit() -> None:
    small = SweepSpec(space=from_mapping({"layer_size": 16}, "test"))
    with pytest.raises(InputError) as refusal:
        preflight.check_space(small, corpus_of(10**9))
    assert "1,000,000,000 training symbols admit 200,000 to 10,000,000,000" in str(refusal.value)


def test_a_settled_spec_has_the_windows_that_suit_its_corpus_and_keeps_those_of_the_user() -> None:
    corpus = corpora.load(Source(data="python-docs"))
    small = replace(corpus, train=corpus.train.part(0, 50_000))
    windows = {
        len(one.train): CorpusTask.of(SweepSpec(), one)
        .settled(SweepSpec())
        .space["sequence_length"]
        for one in (corpus, small)
    }
    lowest = {symbols: (dimension.values() or [])[0] for symbols, dimension in windows.items()}
    assert lowest == {len(corpus.train): 20, 50_000: baselines.best_order(small)}
    assert lowest[50_000] in ORDERS
    named = SweepSpec(space=with_settings(presets.DEFAULT, ["sequence_length=30,40"]))
    kept = CorpusTask.of(named, small).settled(named).space
    assert kept["sequence_length"].values() == [30, 40]


@pytest.mark.parametrize(
    ("targets", "adjacent"), [("auto", 128), (20_000, 128), (3_200, 100), (20, 1)]
)
def test_targets_are_in_long_groups_if_all_networks_carry_their_state(
    targets: int | str, adjacent: int
) -> None:
    carried = with_settings(presets.DEFAULT, ["direction=uni", "state=carried"])
    spec = SweepSpec(data="workflow-log", space=carried, targets=targets)
    assert CorpusTask.open(spec).settled(spec).adjacent_targets == adjacent


@pytest.mark.parametrize(
    ("given", "settled"), [("auto", True), ("on", True), (True, True), ("off", False)]
)
def test_a_settled_spec_says_whether_its_corpus_has_ends(given: bool | str, settled: bool) -> None:
    spec = SweepSpec(data="workflow-log", ends=given)
    task = CorpusTask.open(spec)
    assert task.settled(spec).adjacent_targets == 1, "a log of short sessions"
    assert task.settled(replace(spec, adjacent_targets=8)).adjacent_targets == 8
    assert task.settled(spec).ends is task.corpus.alphabet.ends is task.origin.ends is settled
    written = json.loads(task.tags()["sweep.data"])
    about = {"data": "workflow-log", "symbols": "auto", "split": [0.8, 0.1, 0.1], "ends": settled}
    assert about.items() <= written.items()
