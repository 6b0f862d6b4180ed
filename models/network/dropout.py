"""Dropout of Keras networks: of symbols, of outputs of layers, and of recurrent weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers, ops
from typing_extensions import override

from lstm_sweep.models.config import TrialConfig


def dropout(config: TrialConfig, number: int, dtype: str, *, every_step: bool = True) -> Any:
    """The layer that drops outputs of LSTM layer `number`.

    Its mask is the same for all time steps if the config says so; without `every_step` the outputs
    are those of one step.
    """
    one_mask = every_step and config.dropout_mask == "window"
    return layers.Dropout(
        config.dropout,
        noise_shape=(None, 1, None) if one_mask else None,
        dtype=dtype,
        name=f"dropout_{number}",
    )


class SymbolDropout(layers.Layer):  # type: ignore[misc]
    """Drops a share of the alphabet from each window in training, others from each.

    Wherever a dropped symbol stands in the window, its features are zeros (Gal and Ghahramani,
    arXiv 1512.05287). It is part of the model that is trained, never of one that is saved.
    """

    def __init__(self, alphabet_size: int, rate: float) -> None:
        super().__init__(dtype="float32", name="symbol_dropout")
        self._alphabet_size, self._rate = alphabet_size, rate
        self.seeds = keras.random.SeedGenerator()

    @override
    def call(self, features: Any, symbols: Any, training: bool = False) -> Any:
        """Features `[batch, time, any]` of symbols `[batch, time]`, of which some are zeros."""
        if not training:
            return features
        ones = ops.ones((ops.shape(symbols)[0], self._alphabet_size))
        factors = keras.random.dropout(ones, self._rate, seed=self.seeds)
        return features * ops.take_along_axis(factors, symbols, axis=1)[..., None]


def without_symbols(config: TrialConfig, alphabet_size: int, features: Any, symbols: Any) -> Any:
    """What is trained with in place of the features of symbols."""
    if not config.input_dropout:
        return features
    return SymbolDropout(alphabet_size, config.input_dropout)(features, symbols)


class RecurrentDropout:
    """Drops recurrent weights of a layer in training, others at each call.

    The layer computes with a masked copy of them (DropConnect, as in Merity et al., arXiv
    1708.02182), so all of Keras's kernels can be used, cuDNN's too.
    """

    def __init__(self, layer: Any, rate: float) -> None:
        """`layer` is an LSTM layer, or two as one `Bidirectional`."""
        self._layer, self._rate = layer, rate
        #: None without dropout; for an attribute of a Keras layer, so that a checkpoint has it
        self.seeds = keras.random.SeedGenerator() if rate else None

    @contextmanager
    def masked(self, training: bool) -> Iterator[None]:
        """A context in which the layer has masked weights, if it is one of training."""
        if not training or self.seeds is None:
            yield
            return
        masked = {
            id(kernel): keras.random.dropout(kernel.value, self._rate, seed=self.seeds)
            for kernel in self._kernels()
        }
        # the other variables, too: on JAX their values are those of an outer scope
        values = [
            (variable, masked.get(id(variable), variable.value))
            for variable in self._layer.variables
        ]
        with keras.StatelessScope(state_mapping=values):
            yield

    def _kernels(self) -> list[Any]:
        both = isinstance(self._layer, layers.Bidirectional)
        parts = (self._layer.forward_layer, self._layer.backward_layer) if both else (self._layer,)
        return [part.cell.recurrent_kernel for part in parts]


class WeightDropped(layers.Layer):  # type: ignore[misc]
    """An LSTM layer some of whose recurrent weights are dropped at each training step.

    It is part of the model that is trained, never of one that is saved.
    """

    def __init__(self, layer: Any, rate: float) -> None:
        super().__init__(dtype="float32", name=f"weight_dropped_{layer.name}")
        self.layer, self._dropout = layer, RecurrentDropout(layer, rate)
        self.seeds = self._dropout.seeds

    @override
    def call(self, features: Any, training: bool = False) -> Any:
        """Outputs of the layer."""
        with self._dropout.masked(training):
            return self.layer(features)
