"""Builds the Keras models of a `TrialConfig`: a stack of LSTM layers on symbols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
from keras import layers, ops
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.cpu.program_types import Networks


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


#: all gradients are scaled down by one factor to this norm (Pascanu et al., arXiv 1211.5063)
CLIP_NORM = 5.0
#: class of each name in `models.config.OPTIMIZERS`
OPTIMIZER_CLASSES = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "adagrad": keras.optimizers.Adagrad,
}


def build(config: TrialConfig, alphabet_size: int, *, mixed: bool = False) -> Networks:
    """Build the network of `config` for an alphabet of `alphabet_size` codes; `mixed` as below."""
    return scored_apart(config, lambda dtype: _build(config, alphabet_size, dtype), mixed=mixed)


def scored_apart(config: TrialConfig, make: Callable[[str], Networks], *, mixed: bool) -> Networks:
    """Networks that `make` builds for a dtype, with a model of its own to be scored if need be.

    With `mixed`, the model that is trained computes in the config's precision by Keras's mixed
    policy. The model that is scored and saved always computes in float32.
    """
    reduced, averaged = mixed and config.precision != "float32", config.averaging != "off"
    first = make(f"mixed_{config.precision}" if reduced else "float32")
    if not (reduced or averaged):
        return first
    networks = replace(
        make("float32"),
        trained=first.trained,
        scored_weights="averages" if averaged else "copies",
    )
    networks.copy_weights()
    return networks


def _build(config: TrialConfig, alphabet_size: int, dtype: str) -> Networks:
    """Build models with shared weights; `dtype` is a dtype or a mixed policy of the layers.

    Dropout is applied to the output of each LSTM layer and not on the way to the next time step, as
    in Zaremba et al. (arXiv 1409.2329). A unidirectional network predicts the next symbol at each
    step of its window. A bidirectional one predicts only the symbol after its window, since the
    backward half has already read the symbols inside it.
    """
    if config.carried:
        return networks(config, alphabet_size, dtype, embedded(config, alphabet_size))
    many_to_many = config.direction == "uni"
    symbols = keras.Input((config.sequence_length,), dtype="int32", name="symbols")
    features = embedded(config, alphabet_size)(symbols)
    for number in range(1, config.layers + 1):
        steps_follow = number < config.layers or many_to_many
        layer = layers.LSTM(
            config.layer_size, return_sequences=steps_follow, dtype=dtype, name=f"lstm_{number}"
        )
        if config.direction == "bi":
            layer = layers.Bidirectional(layer, dtype=dtype, name=f"bidirectional_{number}")
        dropped = layers.Dropout(config.dropout, dtype=dtype, name=f"dropout_{number}")
        features = dropped(layer(features))
    logits = layers.Dense(alphabet_size, dtype="float32", name="logits")
    model = keras.Model(symbols, logits(features), name="trained")
    if not many_to_many:
        return Networks(model, model)
    last = keras.Model(symbols, logits(features[:, -1]), name="next_symbol")
    return Networks(model, last, every_step=model)


def embedded(config: TrialConfig, alphabet_size: int) -> Callable[[Any], Any]:
    """What maps symbols to their embedding or one-hot vectors, `[batch, time, features]`."""
    if config.embedding_size:
        embedding: Callable[[Any], Any] = layers.Embedding(
            alphabet_size, config.embedding_size, name="embedding"
        )
        return embedding
    return lambda symbols: ops.one_hot(symbols, alphabet_size)


def compile_for_training(model: Any, config: TrialConfig) -> None:
    """Attach loss and optimizer; the loss is the mean over targets whose weight is 1."""
    options = {"global_clipnorm": CLIP_NORM}
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    optimizer = OPTIMIZER_CLASSES[config.optimizer](config.learning_rate, **options)
    biases = [one for one in model.trainable_variables if len(one.shape) == 1]
    optimizer.exclude_from_weight_decay(biases)
    if config.precision == "float16":  # without it, small gradients underflow to 0
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
    )
