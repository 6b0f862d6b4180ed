"""Libraries that are really asked for more memory than there is, as a worker sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.engines import worker
from lstm_sweep.search.values.trial import Ended, Job, Message, Outcome, Slot, Trial
from tests.states import job_of

#: four terabytes
MANY = (1 << 22, 1 << 18)


def by_tensorflow() -> None:
    import tensorflow as tf

    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)  # other tests of this process need its threads
    tf.fill(tf.constant(MANY), 1.0)


def by_jax() -> None:
    import jax.numpy as jnp

    jnp.ones(MANY).sum().block_until_ready()


@pytest.mark.full
@pytest.mark.parametrize(("ask", "gpu"), [(by_tensorflow, "0"), (by_jax, None), (by_jax, "0")])
def test_what_a_library_says_of_the_hosts_memory_is_understood(
    ask: Callable[[], None], gpu: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(job: Job) -> Iterator[Message]:
        ask()
        yield Ended(Outcome.COMPLETE)

    monkeypatch.setattr(worker, "_train", train)
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=1)
    slot = Slot(0, gpu=gpu)
    job = job_of(trial, slot)
    [ended] = worker.run(job)
    assert isinstance(ended, Ended)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    if ask is by_tensorflow or gpu is None:  # JAX does not say whose memory it was
        assert ended.reason.startswith("memory of the host: ")
