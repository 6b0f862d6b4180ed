"""How well symbols were predicted: the same arithmetic for networks and baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_softmax(logits: NDArray[np.floating]) -> Floats:
    """Natural logarithms of the softmax over the last axis, in double precision."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def softmax(logits: NDArray[np.floating]) -> Floats:
    return np.asarray(np.exp(log_softmax(logits)))


def score(blocks: Iterable[tuple[Floats, NDArray[np.integer]]]) -> dict[str, float]:
    """Score predictions given as blocks of log-probabilities and true symbols.

    Each block is `<float64>[targets, alphabet]` and `<integer>[targets]`. Returns the mean negative
    log-likelihood in nats (`loss`), the share of targets whose symbol was the likeliest
    (`accuracy`), and the share whose symbol was among the five likeliest (`top5_accuracy`).
    A tie counts for the prediction.
    """
    losses, ranks = [], []
    for log_probabilities, symbols in blocks:
        true = np.take_along_axis(log_probabilities, symbols[:, None].astype(np.int64), axis=1)
        losses.append(-true[:, 0])
        ranks.append((log_probabilities > true).sum(axis=1))
    loss, rank = np.concatenate(losses), np.concatenate(ranks)
    return {
        "loss": float(loss.mean()),
        "accuracy": float((rank < 1).mean()),
        "top5_accuracy": float((rank < 5).mean()),
    }


def unknown_text(share: float, split: str = "validation") -> str:
    """What is said of the share of a split that training data do not have; empty if it is 0."""
    if not share:
        return ""
    percent = f"{share:.2%}" if share >= 5e-5 else "less than 0.01%"
    return f"{percent} of the {split} symbols are not in the training data, nor scored"


def bits(nats: float) -> float:
    return nats / math.log(2)
