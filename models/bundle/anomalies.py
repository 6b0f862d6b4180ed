"""Scores how unexpected each symbol of new data is to a network, to find anomalies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Predictor
from lstm_sweep.models.data.alphabet import PREDICTED
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import Indices
from lstm_sweep.models.network.evaluation import predictions
from lstm_sweep.models.scoring import Floats


def judge(
    predictor: Predictor, config: TrialConfig, alphabet: int, split: Split
) -> tuple[Floats, Indices]:
    """Score each symbol of a split, given those before it in its session.

    `alphabet` is the size with reserved codes.

    Returns:
        Negative log-probabilities of the symbols in nats, `<float64>[symbols]`, and the number of
        symbols that are more likely, `<int64>[symbols]`. For an unknown symbol, that is the number
        of all symbols.
    """
    surprise, rank = np.empty(len(split)), np.empty(len(split), np.int64)
    everywhere = np.arange(len(split))
    for found, true, numbers in predictions(predictor, config, alphabet, split, everywhere):
        own = found[np.arange(len(true)), true]
        likelier = (found[:, PREDICTED:] > own[:, None]).sum(axis=1)
        surprise[numbers] = -own
        rank[numbers] = np.where(true < PREDICTED, alphabet - PREDICTED, likelier)
    return surprise, rank


def likeliest(
    predictor: Predictor,
    config: TrialConfig,
    alphabet: int,
    split: Split,
    places: Indices,
    count: int,
) -> tuple[NDArray[np.int64], Floats]:
    """The `count` most likely symbols at some positions of a split.

    Returns:
        Codes, the most likely first, and their probabilities, both `[places, count]`, or with fewer
        columns if the alphabet has fewer symbols.
    """
    shape = (len(places), min(count, alphabet - PREDICTED))
    codes, chances = np.empty(shape, np.int64), np.empty(shape)
    for found, _, numbers in predictions(predictor, config, alphabet, split, places):
        best = np.argsort(-found[:, PREDICTED:], axis=1, kind="stable")[:, :count] + PREDICTED
        codes[numbers] = best
        chances[numbers] = np.exp(np.take_along_axis(found, best, axis=1))
    return codes, chances
