"""From symbols to logits on TensorFlow, with the weights of a network of Keras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models import fast_lstm
from models.config import TrialConfig
from models.fast_lstm import Cell, Layout

#: layers of at most so many units are faster with TensorFlow's own backward kernel
FUSED_UNITS = 48
#: units of a layer of symbols up to which it is faster so too, in spite of the products with its
#: kernel, if no more symbols come to each unit
SYMBOLS_FUSED_UNITS, ALPHABET_PER_UNIT = 32, 4
#: time steps in one turn of a loop: the first of these that divides their number
TURNS = (2, 1)
#: units without weights that are added to a layer of so many units or more if their number is such
#: a multiple: rows a power of two apart share a few lines of the cache, and the matrix products of
#: TensorFlow, which read them where they lie, then take up to twice as long
IDLE_UNITS, CROWDED_FROM, CROWDED_MULTIPLE = 4, 128, 64


class Form(NamedTuple):
    """All of a network that its graph depends on: networks of one form differ in numbers alone."""

    direction: str
    layers: int
    embedding: bool
    #: of `Layout`
    turns: int
    #: units without weights in each layer, see `IDLE_UNITS`
    idle: int
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
            idle=IDLE_UNITS * (units >= CROWDED_FROM and units % CROWDED_MULTIPLE == 0),
            dropout=bool(config.dropout),
            symbols_fused=full and few and not embedding,
            fused=full and units <= FUSED_UNITS,
            reduced=not full,
        )

    @property
    def scored(self) -> Form:
        """The same without what matters in training alone."""
        return Form(self.direction, self.layers, self.embedding, self.turns, self.idle)

    @property
    def every_step(self) -> bool:
        """Whether the symbol after each step of a window is predicted, and not only the last."""
        return self.direction == "uni"

    @property
    def ways(self) -> int:
        """Cells of a layer."""
        return 1 if self.direction == "uni" else 2

    @property
    def weights(self) -> list[int]:
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
        """`weights` are tensors, in the order of Keras's network."""
        self._form, given = form, iter(weights)
        self._embedding = next(given) if form.embedding else None
        first = Cell(*(next(given) for _ in Cell._fields))
        #: units of a layer, without and with those that are idle
        self._own = tf.shape(first.recurrent_kernel)[0]
        self._units = self._own + form.idle
        self._layers = [
            [self._cell(cell, number) for cell in layer]
            for number, layer in enumerate(self._grouped(first, given))
        ]
        kernel, self._bias = given
        self._kernel = self._widened(kernel, rows=form.ways)

    def trained(self, symbols: Any, dropout: Dropout | None) -> Any:
        """Logits of all predictions, step by step, `[predictions, alphabet]`.

        `symbols` is `<int32>[time, batch]`.
        """
        features = self._features(symbols, dropout, training=True)
        return self._dense(features if self._form.every_step else features[-1])

    def scored(self, windows: Any) -> Any:
        """Logits of the symbols after windows `<int32>[batch, time]`, `[batch, alphabet]`."""
        return self._dense(self._features(tf.transpose(windows), None, training=False)[-1])

    def _grouped(self, first: Cell, given: Iterator[Any]) -> Iterator[list[Cell]]:
        """The cells of each layer; `given` stands after the first."""
        ways = self._form.ways
        cells = [first]
        for _ in range(1, ways * self._form.layers):
            cells.append(Cell(*(next(given) for _ in Cell._fields)))
        return (cells[at : at + ways] for at in range(0, len(cells), ways))

    def _cell(self, cell: Cell, number: int) -> Cell:
        return Cell(
            self._widened(cell.kernel, rows=self._form.ways if number else 0, columns=4),
            self._widened(cell.recurrent_kernel, rows=1, columns=4),
            tf.reshape(self._widened(cell.bias[None], columns=4), (-1,)),
        )

    def _widened(self, matrix: Any, *, rows: int = 0, columns: int = 0) -> Any:
        """Weights with zeros for the idle units: so many times in a row or a column come units.

        A unit whose weights are all 0 has an output of 0, and no other takes notice of it.
        """
        idle = self._form.idle
        if not idle:
            return matrix
        blocks = (
            *((rows, self._own) if rows else (1, -1)),
            *((columns, self._own) if columns else (1, -1)),
        )
        ends = ((0, 0), (0, idle if rows else 0), (0, 0), (0, idle if columns else 0))
        widened = tf.pad(tf.reshape(matrix, blocks), ends)
        shape = (rows * self._units if rows else -1, columns * self._units if columns else -1)
        return tf.reshape(widened, shape)

    def _features(self, symbols: Any, dropout: Dropout | None, *, training: bool) -> Any:
        """What the last LSTM layer gives, `[time, batch, features]`; of bi only the last step.

        Idle units have features, too. What is not for training is without gradients, and uni gives
        its last step alone as well.
        """
        form = self._form
        steps, batch = tf.unstack(tf.shape(symbols))
        layout = Layout(steps, batch, self._units, form.turns, form.fused, form.reduced)
        of_symbols = layout._replace(fused=form.symbols_fused)
        features = symbols if self._embedding is None else tf.gather(self._embedding, symbols)
        for number, layer in enumerate(self._layers, start=1):
            last = number == len(self._layers)
            now = of_symbols if features.dtype == tf.int32 else layout
            features = _layer(features, layer, now, training=training, last=last)
            if dropout:
                features = _dropped(features, dropout, number)
        return features

    def _dense(self, features: Any) -> Any:
        flat = tf.reshape(features, (-1, tf.shape(self._kernel)[0]))
        return tf.matmul(flat, self._kernel) + self._bias


def _layer(features: Any, cells: list[Cell], layout: Layout, *, training: bool, last: bool) -> Any:
    def one_way(features: Any, cell: Cell) -> Any:
        if not training:
            return fast_lstm.outputs(features, cell, layout, every_step=not last)
        layer = fast_lstm.lstm_of_symbols if features.dtype == tf.int32 else fast_lstm.lstm
        return layer(features, cell, layout)

    forward = one_way(features, cells[0])
    if len(cells) == 1:
        return forward
    backward = one_way(tf.reverse(features, [0]), cells[1])
    if last:  # each half has read the whole window
        return _joined(forward[-1:], backward[-1:])
    return _joined(forward, tf.reverse(backward, [0]))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _joined(left: Any, right: Any) -> Any:
    """As `tf.concat` on the last axis, whose own gradient is ten times slower."""
    return tf.concat([left, right], -1), lambda gradient: tf.split(gradient, 2, -1)


def _dropped(features: Any, dropout: Dropout, number: int) -> Any:
    """As Keras's `Dropout`, drawn from a seed of this layer."""
    seed = dropout.seed + tf.constant([number, 0], tf.int64)
    drawn = tf.raw_ops.StatelessRandomUniform(shape=tf.shape(features), seed=seed, dtype=tf.float32)
    left = tf.cast(drawn >= dropout.rate, tf.float32)
    return features * (left / (1 - dropout.rate))


def losses(logits: Any, targets: Any) -> Any:
    """Cross-entropy in nats of `<int32>[predictions]` by logits `[predictions, alphabet]`.

    TensorFlow's own function, asked for determinism, gathers what it needs one by one.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def of(logits: Any) -> Any:
        found = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=targets)
        return found.loss, lambda gradient: found.backprop * gradient[:, None]

    return of(logits)
