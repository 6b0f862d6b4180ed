"""Networks whose state is carried, as tests use them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import Alphabet

CARRIED = TrialConfig(
    state="carried", layers=2, layer_size=7, sequence_length=6, batch_size=4, optimizer="sgd",
    learning_rate=0.1,
)  # fmt: skip
LETTERS = Alphabet(tuple("abcdefgh"))


def networks_of(config: TrialConfig, seed: int = 2) -> Any:
    """Networks for ten codes, ready to be trained, with weights as large as if they were."""
    from lstm_sweep.models.network import lstm

    networks = lstm.build(config, 10)
    rng = np.random.default_rng(seed)
    for weight in networks.trained.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=0.4))
    networks.copy_weights()
    lstm.compile_for_training(networks.trained, config)
    return networks
