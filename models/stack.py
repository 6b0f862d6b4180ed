"""From symbols to logits on TensorFlow, with the weights of a network of Keras."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models import fast_lstm
from models.config import TrialConfig
from models.fast_lstm import Cell, Layout, Symbols, sum_of_rows

#: from the gradient of logits to those of all weights
Gradients = Callable[[Any], list[Any]]
#: from the gradient of a layer's outputs to those of its inputs, None if they are symbols, and of
#: its weights
LayerBackward = Callable[[Any], tuple[Any, list[Any]]]

#: layers of at most so many units are faster with TensorFlow's own backward kernel
FUSED_UNITS = 48
#: units of a layer of symbols up to which it is faster so too, in spite of the products with its
#: kernel, if no more symbols come to each unit
SYMBOLS_FUSED_UNITS, ALPHABET_PER_UNIT = 32, 4
#: time steps in one turn of a loop: the first of these that divides their number
TURNS = (2, 1)
#: so many numbers may be drawn for a feature, of which a share as large as the rate drops it
DRAWS = 1 << 16


class Form(NamedTuple):
    """All of a network that its graph depends on: networks of one form differ in numbers alone."""

    direction: str
    layers: int
    embedding: bool
    #: of `Layout`
    turns: int
    #: the following matter in training alone: whether there is dropout
    dropout: bool = False
    #: `Layout.fused` of a layer of symbols
    symbols_fused: bool = False
    #: `Layout.fused` of other layers
    fused: bool = False
    #: of `Layout`
    reduced: bool = False

    @classmethod
    def of(cls, config: TrialConfig, alphabet_size: int) -> Form:
        """The form of a network."""
        units, embedding = config.layer_size, bool(config.embedding_size)
        full = config.precision == "float32"
        few = units <= SYMBOLS_FUSED_UNITS and alphabet_size <= ALPHABET_PER_UNIT * units
        return cls(
            direction=config.direction,
            layers=config.layers,
            embedding=embedding,
            turns=next(turns for turns in TURNS if config.sequence_length % turns == 0),
            dropout=bool(config.dropout),
            symbols_fused=full and few and not embedding,
            fused=full and units <= FUSED_UNITS,
            reduced=not full,
        )

    @property
    def scored(self) -> Form:
        """The same without what matters in training alone."""
        return Form(self.direction, self.layers, self.embedding, self.turns)

    @property
    def every_step(self) -> bool:
        """Whether the symbol after each step of a window is predicted, and not only the last."""
        return self.direction == "uni"

    @property
    def ways(self) -> int:
        """Cells of a layer."""
        return 1 if self.direction == "uni" else 2

    @property
    def axes(self) -> list[int]:
        """Number of axes of each weight, in Keras's order."""
        cells = [2, 2, 1] * self.ways * self.layers
        return [2] * self.embedding + cells + [2, 1]


class Dropout(NamedTuple):
    """What is dropped in a step."""

    #: share of features that are set to 0, a number
    rate: Any
    #: two numbers `<int64>` for the first layer; the first of them plus 1, 2 ... for the others
    seed: Any


class Stack:
    """A network's layers; `models/fast_lstm.py` has the arithmetic of one."""

    def __init__(self, form: Form, weights: Sequence[Any]) -> None:
        """`weights` are tensors, in Keras's order and packed (`models/packed.py`)."""
        self._form, given = form, iter(weights)
        self._embedding = next(given) if form.embedding else None
        self._layers = [
            [Cell(*itertools.islice(given, len(Cell._fields))) for _ in range(form.ways)]
            for _ in range(form.layers)
        ]
        self._kernel, self._bias = given

    def trained(self, symbols: Any, dropout: Dropout | None) -> tuple[Any, Gradients]:
        """Logits of all predictions, step by step, `[predictions, alphabet]`, and the way back.

        `symbols` is `<int32>[time, batch]`.
        """
        given = Symbols(symbols, tf.shape(self._bias)[0])
        features = self._represented(given)
        backwards: list[LayerBackward] = []
        for number, (cells, layout) in enumerate(self._laid_out(symbols), start=1):
            features, backward = _layer(features, cells, layout)
            backwards.append(backward)
            if dropout:
                features, backward = _dropped(features, dropout, number)
                backwards.append(backward)
        flat = tf.reshape(features, (-1, tf.shape(self._kernel)[0]))

        def gradients(of_logits: Any) -> list[Any]:
            found = [tf.matmul(flat, of_logits, transpose_a=True), sum_of_rows(of_logits)]
            of_features = tf.matmul(of_logits, self._kernel, transpose_b=True)
            of_features = tf.reshape(of_features, tf.shape(features))
            for backward in reversed(backwards):
                of_features, of_weights = backward(of_features)
                found = [*of_weights, *found]
            if self._embedding is None:
                return found
            rows = tf.reshape(of_features, (-1, tf.shape(self._embedding)[1]))
            return [given.sums(rows), *found]

        return tf.matmul(flat, self._kernel) + self._bias, gradients

    def scored(self, windows: Any) -> Any:
        """Logits of the symbols after windows `<int32>[batch, time]`, `[batch, alphabet]`."""
        symbols = tf.transpose(windows)
        features = self._represented(Symbols(symbols, tf.shape(self._bias)[0]))
        for cells, layout in self._laid_out(symbols, last_alone=True):
            ways = _ways(cells, layout)
            features = _joined([fast_lstm.outputs(features, *way) for way in ways])
        return tf.matmul(features, self._kernel) + self._bias

    def _represented(self, given: Symbols) -> Any:
        return given if self._embedding is None else tf.gather(self._embedding, given.codes)

    def _laid_out(
        self, symbols: Any, *, last_alone: bool = False
    ) -> Iterator[tuple[list[Cell], Layout]]:
        """The cells of each layer, and how they are computed.

        Of the last layer of uni, too, all but the last step is left out with `last_alone`.
        """
        form = self._form
        steps, batch = tf.unstack(tf.shape(symbols))
        units = tf.shape(self._layers[0][0].recurrent_kernel)[0]
        layout = Layout(steps, batch, units, form.turns, reduced=form.reduced)
        for number, cells in enumerate(self._layers, start=1):
            of_symbols = number == 1 and not form.embedding
            last = number == len(self._layers) and (last_alone or not form.every_step)
            fused = form.symbols_fused if of_symbols else form.fused
            yield cells, layout._replace(fused=fused, last=last)


def _layer(features: Any, cells: list[Cell], layout: Layout) -> tuple[Any, LayerBackward]:
    outputs, backwards = zip(
        *(fast_lstm.lstm(features, *way) for way in _ways(cells, layout)), strict=True
    )

    def back(gradient: Any) -> tuple[Any, list[Any]]:
        parts = tf.split(gradient, len(cells), -1) if len(cells) > 1 else [gradient]
        found = [backward(part) for backward, part in zip(backwards, parts, strict=True)]
        of_features = [one for one, _ in found if one is not None]
        return (
            tf.add_n(of_features) if of_features else None,
            [weight for _, of_cell in found for weight in of_cell],
        )

    return _joined(outputs), back


def _ways(cells: list[Cell], layout: Layout) -> Iterator[tuple[Cell, Layout]]:
    """The cells of a layer, the second of which reads from the end."""
    for way, cell in enumerate(cells):
        yield cell, layout._replace(reverse=bool(way))


def _joined(outputs: Sequence[Any]) -> Any:
    return tf.concat(outputs, -1) if len(outputs) > 1 else outputs[0]


def _dropped(features: Any, dropout: Dropout, number: int) -> tuple[Any, LayerBackward]:
    """As Keras's `Dropout`, drawn from a seed of this layer, and the way back.

    The rate is rounded to a share of `DRAWS`.
    """
    seed = dropout.seed + tf.constant([number, 0], tf.int64)
    least = tf.round(dropout.rate * DRAWS)
    left = _drawn(tf.shape(features), seed) >= tf.cast(tf.cast(least, tf.int32), tf.uint16)
    factors = tf.cast(left, tf.float32) * (DRAWS / (DRAWS - least))
    return features * factors, lambda gradient: (gradient * factors, [])


def _drawn(shape: Any, seed: Any) -> Any:
    """Numbers from 0 to `DRAWS`, without it: two of them from each that TensorFlow draws."""
    count = tf.reduce_prod(tf.cast(shape, tf.int64))
    drawn = tf.raw_ops.StatelessRandomUniformFullInt(
        shape=[(count + 1) // 2], seed=seed, dtype=tf.uint32
    )
    return tf.reshape(tf.reshape(tf.bitcast(drawn, tf.uint16), (-1,))[:count], shape)


def losses(logits: Any, targets: Any) -> tuple[Any, Any]:
    """Cross-entropy in nats of `<int32>[predictions]` by logits `[predictions, alphabet]`.

    Also its gradients by the logits, for each prediction alone. TensorFlow's own function, asked
    for determinism, gathers what it needs one by one.
    """
    found = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=targets)
    return found.loss, found.backprop
