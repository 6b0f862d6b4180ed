from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.device import Device
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep import preflight
from lstm_sweep.spaces.space import from_mapping


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
        preflight.check_precision(spec_with(precision), devices)
        return
    with pytest.raises(InputError, match=problem):
        preflight.check_precision(spec_with(precision), devices)


def test_a_network_fits_into_the_memory_of_the_device_that_trains_it() -> None:
    config = TrialConfig(layers=16, layer_size=4096)
    preflight.check_room(config, 90, Device(kind="cpu: one that says nothing"))
    preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 40))
    with pytest.raises(InputError, match="fit into the memory of this machine"):
        preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 30))
    with pytest.raises(InputError, match="fit into the memory of node b"):
        preflight.check_room(config, 90, Device(kind="gpu", memory=1 << 30, node="b"))


def test_a_state_is_carried_by_unidirectional_networks_alone() -> None:
    for fields in ({"state": "carried"}, {"state": ["reset", "carried"], "direction": "uni, bi"}):
        preflight.check_state(from_mapping(fields, "test"))
    with pytest.raises(InputError, match="state is carried and direction is bi"):
        preflight.check_state(from_mapping({"state": "carried", "direction": "bi"}, "test"))


@pytest.mark.parametrize(
    ("fields", "climbs", "others"),
    [
        ({}, "", ""),
        ({"optimizer": "sgd"}, "", ""),
        ({"optimizer": ["adam", "rmsprop"]}, "", ""),
        ({"optimizer": ["adagrad", "sgd"]}, "", ""),
        ({"optimizer": ["rmsprop", "sgd", "adam", "adagrad"]}, "rmsprop", "sgd, adagrad"),
        ({"optimizer": ["sgd", "adam"]}, "sgd", "adam"),
        ({"optimizer": ["sgd", "adam"], "learning_rate": [0.1, 0.01]}, "", ""),  # no ladder
    ],
)
def test_a_ladder_says_which_optimizers_its_rates_do_not_suit(
    fields: dict[str, object], climbs: str, others: str
) -> None:
    rates = {"learning_rate": [1.0, 0.1, 0.01, 0.001]}
    spec = SweepSpec(space=from_mapping(rates | fields, "test"))
    expected = f"ladder: climbed with {climbs}, and its rates are far from those of {others}: "
    notes = preflight.rate_notes(spec)
    assert [note.startswith(expected) for note in notes] == [True] * bool(others)
    assert preflight.rate_notes(dataclasses.replace(spec, ladder=False)) == []


def corpus_of(symbols: int) -> Corpus:
    """A corpus of so many training symbols, which take no memory."""
    codes = np.broadcast_to(np.uint8(2), symbols)
    train, other = (Split(part, np.zeros(1, np.int64)) for part in (codes, codes[:1_000]))
    return Corpus("long", Alphabet(("a", "b")), train, other, other, "0" * 32, "")


def test_the_default_space_suits_a_corpus_of_any_size() -> None:
    shares = [preflight.check_space(SweepSpec(), corpus_of(10**n)) for n in (5, 6, 7, 9, 11)]
    # to two million symbols larger networks are wanted, and then no more
    assert shares[2] > 0.2 and shares[2] == shares[3] == shares[4]


def test_a_refusal_by_the_size_rule_says_what_would_suit() -> None:
    small = SweepSpec(space=from_mapping({"layer_size": 16}, "test"))
    with pytest.raises(InputError) as refusal:
        preflight.check_space(small, corpus_of(10**9))
    assert "1,000,000,000 training symbols admit 200,000 to 10,000,000,000" in str(refusal.value)
