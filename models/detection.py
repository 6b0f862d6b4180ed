"""Symbols that a network does not expect: anomalies of a log or a text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.alphabet import RESERVED
from models.bundle import Predictor
from models.config import TrialConfig
from models.corpus import Split
from models.scoring import Floats
from models.training import predictions
from models.windows import Indices

KNOWN = len(RESERVED)


def judge(
    logits: Predictor, config: TrialConfig, alphabet: int, split: Split
) -> tuple[Floats, Indices]:
    """How little a network expects each symbol of a split after those before it in its session.

    `alphabet` is its size, with the reserved codes. Returns the negative logarithm of the symbols'
    probabilities in nats, `<float64>[symbols]`, and how many symbols are likelier,
    `<int64>[symbols]`; where a symbol is unknown, that is all of them.
    """
    surprise, rank = np.empty(len(split)), np.empty(len(split), np.int64)
    done = 0
    everywhere = np.arange(len(split))
    for found, true in predictions(logits, config, alphabet, split, everywhere):
        own = found[np.arange(len(true)), true]
        likelier = (found[:, KNOWN:] > own[:, None]).sum(axis=1)
        surprise[done : done + len(true)] = -own
        rank[done : done + len(true)] = np.where(true < KNOWN, alphabet - KNOWN, likelier)
        done += len(true)
    return surprise, rank


def likeliest(
    logits: Predictor,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    places: Indices,
    count: int,
) -> tuple[NDArray[np.int64], Floats]:
    """What a network expects at some places of a split.

    Returns codes, the likeliest first, and their probabilities, both `[places, count]`, or fewer
    if the alphabet has no more.
    """
    codes, chances = [], []
    for found, _ in predictions(logits, config, alphabet, split, places):
        best = np.argsort(-found[:, KNOWN:], axis=1, kind="stable")[:, :count] + KNOWN
        codes.append(best)
        chances.append(np.exp(np.take_along_axis(found, best, axis=1)))
    nothing = np.empty((0, min(count, alphabet - KNOWN)))
    return (
        np.concatenate([nothing.astype(np.int64), *codes]),
        np.concatenate([nothing, *chances]),
    )
