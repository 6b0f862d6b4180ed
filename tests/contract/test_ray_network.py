"""A node that is cut off from the network, while all that runs on it goes on, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from lstm_sweep.search.engines.base import SlotAdded, SlotLost
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.values.trial import Ended, Outcome, RoundDone
from tests import ray_hosts
from tests.contract.engine_jobs import CONFIG, job, losses, saved_corpus
from tests.contract.ray_nodes import hear, is_lost, left_of, slot_of
from tests.ray_hosts import Hosts

pytestmark = pytest.mark.full

#: rounds that are over within the seconds for which the node is cut off
ROUNDS = 30


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ray_hosts.running() as hosts, mock.patch.dict("os.environ", hosts.login):
        yield hosts


def test_a_trial_that_ends_while_its_node_is_cut_off_does_not_end_twice(
    hosts: Hosts, tmp_path: Path
) -> None:
    corpus, config = saved_corpus(tmp_path), CONFIG.evolve(epochs=ROUNDS)
    with RayEngine() as engine:
        far = slot_of(engine, "far")
        begun = job(corpus, tmp_path / "trial", far, config)
        engine.start(begun)
        hear(engine, lambda slot, event: isinstance(event, RoundDone))
        processes = hosts.agents()
        assert len(processes) > 2
        hosts.cut()
        began = time.monotonic()
        heard = hear(engine, is_lost)
        print(f"a node that is cut off is lost after {time.monotonic() - began:.1f} s")
        assert [where for where, event in heard if isinstance(event, SlotLost)] == [far]
        again = slot_of(engine, "near")
        engine.start(replace(begun, slot=again))
        hear(engine, lambda slot, event: isinstance(event, RoundDone))
        hosts.mend()
        heard = hear(engine, lambda slot, event: isinstance(event, Ended))
        ends = [(where, event) for where, event in heard if isinstance(event, Ended)]
        assert ends == [(again, Ended(Outcome.COMPLETE))]
        assert len(losses([one for _, one in heard if isinstance(one, RoundDone)])) < ROUNDS
        assert left_of(processes) == set()
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert all(isinstance(event, SlotAdded) for _, event in engine.wait(0.2))
