"""A dimension of every kind."""

from __future__ import annotations

from lstm_sweep.spaces.dimension import Dimension, Listed, Range

DRAWS = 2_000
DECADES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: every kind of dimension that can be listed
LISTABLE: list[Dimension] = [
    Listed("learning_rate", DECADES),
    Listed("layers", (2, 3)),
    Listed("layers", (5,)),
    Listed("direction", ("uni", "bi")),
    Listed("optimizer", ("sgd", "adam", "rmsprop")),
    Range("dropout", 0.0, 0.8, step=0.1),
    Range("dropout", 0.05, 0.5, step=0.15),
    Range("layers", 1, 4, step=1),
    Range("layer_size", 32, 512, step=16, log=True),
    Range("layer_size", 32, 512, step=480, log=True),
    Range("sequence_length", 20, 160, step=10, log=True),
    Range("batch_size", 1, 8, step=1, log=True),
]
CONTINUOUS = [
    Range("dropout", 0.0, 0.8),
    Range("dropout", 0.1234, 0.1236),
    Range("learning_rate", 1e-5, 1.0, log=True),
    Range("learning_rate", 0.012345, 0.98765, log=True),
    Range("learning_rate", 1e-5, 1.0),
]
