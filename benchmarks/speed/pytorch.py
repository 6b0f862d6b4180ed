"""`torch.nn.LSTM`, one thread on one core."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.speed.common import (
    ALPHABET,
    CLIP_NORM,
    LAYERS,
    LEARNING_RATE,
    Answer,
    Task,
    answer,
    pin,
    rate,
)

pin()


def measure(task: Task) -> Answer:
    """Train the same network on random symbols."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    begin = time.perf_counter()
    both = task.direction == "bi"
    lstm = torch.nn.LSTM(ALPHABET, task.layer_size, LAYERS, bidirectional=both)
    dense = torch.nn.Linear(task.layer_size * (2 if both else 1), ALPHABET)
    weights = [*lstm.parameters(), *dense.parameters()]
    optimizer = torch.optim.RMSprop(weights, LEARNING_RATE, alpha=0.9)
    symbols = torch.randint(0, ALPHABET, (task.sequence_length, task.batch_size))

    def step() -> None:
        outputs, (last, _) = lstm(functional.one_hot(symbols, ALPHABET).float())
        features: Any = torch.cat([last[-2], last[-1]], 1) if both else outputs
        logits = dense(features).reshape(-1, ALPHABET)
        loss = functional.cross_entropy(logits, symbols[0] if both else symbols.reshape(-1))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM)
        optimizer.step()

    def steps(count: int) -> None:
        for _ in range(count):
            step()

    steps(1)
    first = time.perf_counter() - begin
    return Answer(rate(steps, task), first)


if __name__ == "__main__":
    answer(measure)
