"""Keras networks whose state is carried from window to window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.fast.program_types import Networks


class CarriedLSTM(layers.Layer):  # type: ignore[misc]
    """An LSTM layer that begins each window with the state that the one before it has ended with.

    It is part of the model that is trained, never of one that is saved. Its states are variables,
    so they are in a checkpoint; no gradient leads through them.
    """

    def __init__(self, lstm: Any, rows: int) -> None:
        """`lstm` is a layer that returns its states; `rows` is the number of rows of a batch."""
        super().__init__(dtype=lstm.dtype_policy, name=f"carried_{lstm.name}")
        self.supports_masking = True  # steps that do not count have no weight in the loss either
        self.lstm = lstm
        self.kept = [
            self.add_weight(
                shape=(rows, lstm.units), initializer="zeros", trainable=False, name=name
            )
            for name in ("output", "cell")
        ]

    @override
    def call(self, features: Any, goes_on: Any, counted: Any) -> Any:
        """Outputs of each step; rows whose `goes_on` is 0 begin with a state of zero.

        The state that is kept is that after the first `counted` steps of each row, or after one if
        there are none: what follows them fills the window up.
        """
        before = [kept * goes_on[:, None] for kept in self.kept]
        read = ops.arange(features.shape[1]) < ops.maximum(counted, 1)[:, None]
        outputs, *after = self.lstm(features, initial_state=before, mask=read)
        for kept, state in zip(self.kept, after, strict=True):
            kept.assign(state)
        return outputs


def networks(
    config: TrialConfig,
    alphabet_size: int,
    dtype: str,
    features_of: Callable[[Any], Any],
) -> Networks:
    """Build the models of a config whose state is carried.

    `features_of` maps symbols to vectors. The model that is saved takes windows and begins each
    with a state of zero; its layers are those of the model that keeps the state.
    """
    symbols = keras.Input(
        (config.sequence_length,), config.batch_size, dtype="int32", name="symbols"
    )
    goes_on = keras.Input((), config.batch_size, name="goes_on")
    counted = keras.Input((), config.batch_size, dtype="int32", name="counted")
    window = keras.Input((config.sequence_length,), dtype="int32", name="symbols")
    stream = keras.Input((None,), dtype="int32", name="symbols")
    trained, scored, streamed = (features_of(one) for one in (symbols, window, stream))
    before: list[Any] = []
    after: list[Any] = []
    for number in range(1, config.layers + 1):
        lstm = layers.LSTM(
            config.layer_size,
            return_sequences=True,
            return_state=True,
            dtype=dtype,
            name=f"lstm_{number}",
        )
        dropped = layers.Dropout(config.dropout, dtype=dtype, name=f"dropout_{number}")
        keeping = CarriedLSTM(lstm, config.batch_size)
        trained = dropped(keeping(trained, goes_on, counted))
        scored = dropped(lstm(scored)[0])
        states = [
            keras.Input((config.layer_size,), name=f"{name}_{number}")
            for name in ("output", "cell")
        ]
        streamed, *new = lstm(streamed, initial_state=states)
        before += states
        after += new
    logits = layers.Dense(alphabet_size, dtype="float32", name="logits")
    return Networks(
        keras.Model([symbols, goes_on, counted], logits(trained), name="trained"),
        keras.Model(window, logits(scored[:, -1]), name="next_symbol"),
        streamed=keras.Model([stream, *before], [logits(streamed), *after], name="streamed"),
    )
