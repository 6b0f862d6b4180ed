"""Checkpoints of running trials that are copied to the driver, and what they are for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.search.engines import ray
from lstm_sweep.search.engines.ray import RayEngine
from lstm_sweep.search.values.trial import Ended, RoundDone
from tests.contract.engine_jobs import job, listen, losses, saved_corpus
from tests.contract.ray_nodes import LONG, agent_of, another_node, hear, is_lost, slot_of
from tests.ray_cluster import RayCluster

pytestmark = pytest.mark.full


@pytest.fixture
def third(ray_cluster: RayCluster) -> Iterator[str]:
    """A node that is there before the engine, and that a test may kill."""
    with another_node(ray_cluster) as name:
        yield name


def rounds_in(checkpoint: Path) -> int:
    """Rounds after which a checkpoint was written; 0 if it is not there."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as file:
        return len(json.loads(file["about"].tobytes())["rounds"])


@pytest.mark.parametrize("killed", ["its agent", "its raylet"])
def test_a_trial_whose_node_dies_goes_on_from_a_copy_of_its_checkpoint_with_the_same_bits(
    killed: str,
    ray_cluster: RayCluster,
    third: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "COPY_EVERY_S", 0.3)
    monkeypatch.setattr(ray, "COPIES_APART_S", 0.0)
    corpus = saved_corpus(tmp_path)
    with RayEngine() as engine:
        first, doomed = slot_of(engine, "one"), slot_of(engine, third)
        engine.start(job(corpus, tmp_path / "whole", first, LONG))
        whole = losses(listen(engine)[first])
        begun = replace(job(corpus, tmp_path / "parts", doomed, LONG), checkpoint_every_s=0.0)
        engine.start(begun)
        hear(engine, lambda slot, event: rounds_in(begun.checkpoint) >= 3)
        os.kill(
            ray_cluster.raylet(third) if killed == "its raylet" else agent_of(engine, doomed),
            signal.SIGKILL,
        )
        hear(engine, is_lost)
        assert engine.collect(doomed) == begun.folder
        again = next(slot for slot in engine.slots if slot.node == "one")
        engine.start(replace(begun, slot=again))
        heard = hear(engine, lambda slot, event: isinstance(event, Ended))
        rounds = [event for _, event in heard if isinstance(event, RoundDone)]
        assert rounds[0].repeated and losses([*rounds]) == whole and len(whole) == LONG.epochs
