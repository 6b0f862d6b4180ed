"""The forward and backward pass of a whole network on a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.cpu import lstm_kernels
from lstm_sweep.models.cpu.lstm_kernels import Cell, LayerOptions, State, Symbols, sum_of_rows
from lstm_sweep.models.size import SAMPLED, SAMPLED_FROM

#: number of equally likely values of a dropout draw
DRAWS = 1 << 16
#: by how much the seeds of two trials differ, at least; more than a config may have layers
SEED_STRIDE = 64


class Dropout(NamedTuple):
    """Dropout of one training step."""

    #: share of features that are set to 0, a scalar
    rate: Any
    #: seed `<int64>[2]`; each layer adds its number, from 1, to the first of the two
    seed: Any


def dropped(
    features: Any, dropout: Dropout, number: int
) -> tuple[Any, Callable[[Any], tuple[Any, list[Any]]]]:
    """Apply dropout as Keras does, for layer `number`; return the backward pass, too.

    The rate is rounded to a multiple of `1 / DRAWS`.
    """
    dropped_draws = tf.round(dropout.rate * DRAWS)
    shape = tf.shape(features)
    count = tf.reduce_prod(tf.cast(shape, tf.int64))
    words = tf.raw_ops.StatelessRandomUniformFullInt(  # each of 32 bits gives two draws
        shape=[(count + 1) // 2],
        seed=dropout.seed + tf.constant([number, 0], tf.int64),
        dtype=tf.uint32,
    )
    draws = tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), (-1,))[:count], shape)
    kept = draws >= tf.cast(tf.cast(dropped_draws, tf.int32), tf.uint16)
    factors = tf.cast(kept, tf.float32) * (DRAWS / (DRAWS - dropped_draws))
    return features * factors, lambda gradient: (gradient * factors, [])


#: gradient of the logits -> gradients of all weights
Gradients = Callable[[Any], list[Any]]
#: gradient of a layer's outputs -> gradients of its inputs, None for `Symbols`, and of its weights
LayerBackward = Callable[[Any], tuple[Any, list[Any]]]


class Sample(NamedTuple):
    """By what the symbols of the softmax of a training step are drawn."""

    #: `<int32>[predictions]`
    targets: Any
    #: `<int64>[2]`
    seed: Any


#: gradient of logits -> gradients of the features that they were made of, and of kernel and bias
Head = Callable[[Any], tuple[Any, list[Any]]]

#: up to so many units, a layer is faster with TensorFlow's own backward kernel
FUSED_UNITS = 48
#: limits of the same for a layer of symbols: units, and alphabet size per unit. That kernel takes
#: one-hot vectors
SYMBOLS_FUSED_UNITS, ALPHABET_PER_UNIT = 32, 4
#: time steps in one iteration of a loop: the first of these that divides the number of steps
UNROLL = (2, 1)


class Form(NamedTuple):
    """What the graph of a network is traced for; sizes and rates are inputs of the graph.

    A field of the config that is neither here nor an input cannot change what is computed.
    """

    direction: str
    layers: int
    embedding: bool
    #: as in `LayerOptions`
    unroll: int
    #: whether there is dropout; this and all that follows matters in training only
    dropout: bool = False
    #: `LayerOptions.fused` of a first layer whose inputs are symbols
    symbols_fused: bool = False
    #: `LayerOptions.fused` of the other layers
    fused: bool = False
    #: as in `LayerOptions`
    reduced: bool = False
    #: whether the state is carried from window to window
    carried: bool = False
    #: whether the softmax of a training step is over drawn symbols
    sampled: bool = False
    #: `ClassConfig.pooling` of a network that predicts classes, which reads an even number of steps
    pooling: str = ""

    @classmethod
    def of(cls, config: TrialConfig, alphabet_size: int) -> Form:
        units, embedding = config.layer_size, bool(config.embedding_size)
        pooling = config.pooling if isinstance(config, ClassConfig) else ""
        full = config.precision == "float32"
        few = units <= SYMBOLS_FUSED_UNITS and alphabet_size <= ALPHABET_PER_UNIT * units
        return cls(
            direction=config.direction,
            layers=config.layers,
            embedding=embedding,
            unroll=next(one for one in UNROLL if pooling or config.sequence_length % one == 0),
            dropout=bool(config.dropout),
            symbols_fused=full and few and not embedding,
            fused=full and units <= FUSED_UNITS,
            reduced=not full,
            carried=config.carried,
            sampled=config.direction == "uni" and not pooling and alphabet_size >= SAMPLED_FROM,
            pooling=pooling,
        )

    @property
    def scored(self) -> Form:
        form = Form(self.direction, self.layers, self.embedding, self.unroll)
        return form._replace(pooling=self.pooling)

    @property
    def streamed(self) -> Form:
        """The form of the graph for predictions at each step, in streams of any length."""
        return self.scored._replace(unroll=1)

    @property
    def every_step(self) -> bool:
        """Whether each step of a window has a prediction, not only the last one."""
        return self.direction == "uni"

    @property
    def directions(self) -> int:
        return 1 if self.direction == "uni" else 2

    @property
    def axes(self) -> list[int]:
        """Number of axes of each weight, in Keras's order of weights."""
        cells = [2, 2, 1] * self.directions * self.layers
        return [2] * self.embedding + cells + [2] * (self.pooling == "attention") + [2, 1]


class Turned:
    """Turns sequences around, each by its own length, so that padding remains last.

    To do so twice is to do nothing, and the gradient is turned likewise.
    """

    def __init__(self, lengths: Any, steps: Any) -> None:
        place, batch = tf.range(steps)[:, None], tf.shape(lengths)[0]
        places = tf.where(place < lengths, lengths - 1 - place, place)
        self._rows = tf.reshape(places * batch + tf.range(batch), (-1,))

    def of(self, steps: Any) -> Any:
        """Steps `[time, batch, ...]`, or `Symbols`, in the other order."""
        if isinstance(steps, Symbols):
            return Symbols(self.of(steps.codes), steps.alphabet_size)
        shape = tf.shape(steps)
        rows = tf.reshape(steps, tf.concat([[-1], shape[2:]], 0))
        return tf.reshape(tf.gather(rows, self._rows), shape)

    def passed(
        self, features: Any, cell: Cell, options: LayerOptions
    ) -> tuple[Any, lstm_kernels.Backward, State]:
        """As `lstm_kernels.passed`, each sequence read from its own end."""
        options = options._replace(reverse=False)
        outputs, backward, state = lstm_kernels.passed(self.of(features), cell, options)

        def back(gradient: Any) -> tuple[Any, Cell]:
            inputs, weights = backward(self.of(gradient))
            return (None if inputs is None else self.of(inputs)), weights

        return self.of(outputs), back, state


class Stack:
    """All layers of a network; `models/cpu/lstm_kernels.py` computes one of them."""

    def __init__(self, form: Form, weights: Sequence[Any]) -> None:
        """`weights` are tensors in Keras's order, each in the layout of `WeightLayout`."""
        self._form, rest = form, iter(weights)
        self._embedding = next(rest) if form.embedding else None
        self._layers = [
            [Cell(*itertools.islice(rest, len(Cell._fields))) for _ in range(form.directions)]
            for _ in range(form.layers)
        ]
        *self._attention, self._kernel, self._bias = rest
        of_symbols = self._layers[0][0].kernel if self._embedding is None else self._embedding
        self._alphabet = tf.shape(of_symbols)[0]

    def trained(
        self,
        symbols: Any,
        dropout: Dropout | None,
        before: Sequence[State] = (),
        lengths: Any = None,
        sample: Sample | None = None,
    ) -> tuple[Any, Gradients, list[State]]:
        """Logits in training, their backward pass, and the states after the last steps.

        Logits are `[predictions, alphabet]`, ordered by time, or with a `sample`
        `[predictions, 1 + drawn]`, that of the target first, or `[batch, classes]`; `symbols` is
        `<int32>[time, batch]`. `before` has a state of each layer, or none for zeros. States are
        those after `lengths` steps of each row, as in `LayerOptions`; of classes each row is so
        long, and its states mean nothing.
        """
        read, pooled = Symbols(symbols, self._alphabet), bool(self._form.pooling)
        turned = Turned(lengths, tf.shape(symbols)[0]) if pooled else None
        features = self._features(read)
        backwards: list[LayerBackward] = []
        after: list[State] = []
        states = list[State | None](before) or [None] * len(self._layers)
        layers = zip(self._layer_options(symbols), states, strict=True)
        for number, ((cells, options), state) in enumerate(layers, start=1):
            options = options._replace(before=state, lengths=None if pooled else lengths)
            features, backward, state = _layer(features, cells, options, turned)
            backwards.append(backward)
            after.append(state)
            if pooled and number == len(self._layers):
                features, backward = self._pooled_in_training(features, lengths)
                backwards.append(backward)
            if dropout:
                features, backward = dropped(features, dropout, number)
                backwards.append(backward)
        if sample is None:
            return self._logits(features), self._gradients(read, features, backwards), after
        logits, head = self._sampled(self._flat(features), *sample)
        return logits, self._gradients(read, features, backwards, head), after

    def _sampled(self, flat: Any, targets: Any, seed: Any) -> tuple[Any, Head]:
        """Logits of targets and of drawn symbols, less the logarithm of how likely each is drawn.

        The softmax over these has about the gradient of that over all symbols (Jean et al. 2015).
        Low codes are drawn more often, which are the frequent ones of words. Of other symbols the
        gradient is noisier, and still the better one for its time (`benchmarks/softmax.py`).
        """
        scale = tf.math.log(tf.cast(self._alphabet, tf.float32) + 1.0)
        draws = tf.random.stateless_uniform((SAMPLED,), seed)
        drawn = tf.minimum(tf.cast(tf.exp(draws * scale), tf.int32), self._alphabet) - 1
        drawn, _ = tf.unique(drawn)
        codes = tf.concat([targets, drawn], 0)
        ranks = tf.cast(codes, tf.float32)
        shares = tf.math.log1p(1 / (ranks + 1)) / scale
        chances = -tf.math.expm1(SAMPLED * tf.math.log1p(-shares))
        biases = tf.gather(self._bias, codes) - tf.math.log(chances)
        kernel, count = tf.gather(tf.transpose(self._kernel), codes), tf.size(targets)
        own, others = kernel[:count], kernel[count:]
        true = tf.reduce_sum(flat * own, 1, keepdims=True) + biases[:count, None]
        false = tf.matmul(flat, others, transpose_b=True) + biases[count:]
        false = tf.where(drawn == targets[:, None], -1e9, false)

        def head(gradient: Any) -> tuple[Any, list[Any]]:
            of_true, of_false = gradient[:, :1], gradient[:, 1:]
            rows = [flat * of_true, tf.matmul(of_false, flat, transpose_a=True)]
            sums = [of_true, sum_of_rows(of_false)[:, None]]
            read = Symbols(codes, self._alphabet)
            found = read.sums(tf.concat([tf.concat(rows, 0), tf.concat(sums, 0)], 1))
            return (
                of_true * own + tf.matmul(of_false, others),
                [tf.transpose(found[:, :-1]), found[:, -1]],
            )

        return tf.concat([true, false], 1), head

    def _logits(self, features: Any) -> Any:
        return tf.matmul(self._flat(features), self._kernel) + self._bias

    def _flat(self, features: Any) -> Any:
        return tf.reshape(features, (-1, tf.shape(self._kernel)[0]))

    def _gradients(
        self,
        read: Symbols,
        features: Any,
        backwards: Sequence[LayerBackward],
        head: Head | None = None,
    ) -> Gradients:
        """The backward pass of logits that were made of `features` after these layers."""

        def whole(logit_gradient: Any) -> tuple[Any, list[Any]]:
            kernel = tf.matmul(self._flat(features), logit_gradient, transpose_a=True)
            gradient = tf.matmul(logit_gradient, self._kernel, transpose_b=True)
            return gradient, [kernel, sum_of_rows(logit_gradient)]

        def gradients(logit_gradient: Any) -> list[Any]:
            gradient, weight_gradients = (head or whole)(logit_gradient)
            gradient = tf.reshape(gradient, tf.shape(features))
            for backward in reversed(backwards):
                gradient, layer_gradients = backward(gradient)
                weight_gradients = [*layer_gradients, *weight_gradients]
            if self._embedding is None:
                return weight_gradients
            rows = tf.reshape(gradient, (-1, tf.shape(self._embedding)[1]))
            return [read.sums(rows), *weight_gradients]

        return gradients

    def scored(self, codes: Any, lengths: Any = None) -> Any:
        """Logits of `<int32>[batch, time]`; of classes each row has so many symbols."""
        symbols = tf.transpose(codes)
        turned = None if lengths is None else Turned(lengths, tf.shape(symbols)[0])
        features = self._features(Symbols(symbols, self._alphabet))
        for cells, options in self._layer_options(symbols, last_only=True):
            outputs = []
            for cell, own in _directions(cells, options):
                if turned and own.reverse:
                    found, _ = lstm_kernels.outputs(turned.of(features), cell, options)
                    outputs.append(turned.of(found))
                else:
                    outputs.append(lstm_kernels.outputs(features, cell, own)[0])
            features = _joined(outputs)
        return self._logits(features if turned is None else self._pooled(features, lengths))

    def streamed(
        self, symbols: Any, places: Any, before: Sequence[State]
    ) -> tuple[Any, list[State]]:
        """Logits `[places, alphabet]` at some steps of a unidirectional network, and its states.

        `symbols` is `<int32>[time, batch]`; `places` are indices of steps, in the order of time.
        """
        features = self._features(Symbols(symbols, self._alphabet))
        after: list[State] = []
        for ([cell], options), state in zip(self._layer_options(symbols), before, strict=True):
            options = options._replace(before=state)
            features, state = lstm_kernels.outputs(features, cell, options)
            after.append(state)
        flat = tf.reshape(features, (-1, tf.shape(self._kernel)[0]))
        return tf.matmul(tf.gather(flat, places), self._kernel) + self._bias, after

    def _features(self, symbols: Symbols) -> Any:
        if self._embedding is None:
            return symbols
        return tf.gather(self._embedding, symbols.codes)

    def _layer_options(
        self, symbols: Any, *, last_only: bool = False
    ) -> Iterator[tuple[list[Cell], LayerOptions]]:
        """The cells and options of each layer.

        With `last_only`, the last layer of a unidirectional network, too, has one output.
        """
        form = self._form
        steps, batch = tf.unstack(tf.shape(symbols))
        units = tf.shape(self._layers[0][0].recurrent_kernel)[0]
        options = LayerOptions(steps, batch, units, form.unroll, reduced=form.reduced)
        for number, cells in enumerate(self._layers, start=1):
            of_symbols = number == 1 and not form.embedding
            last = number == len(self._layers) and (last_only or not form.every_step)
            last = last and not form.pooling
            fused = form.symbols_fused if of_symbols else form.fused
            yield cells, options._replace(fused=fused, last_only=last)

    def _pooled_in_training(self, features: Any, lengths: Any) -> tuple[Any, LayerBackward]:
        pooled = self._pooled(features, lengths)

        def back(gradient: Any) -> tuple[Any, list[Any]]:
            found, *weights = tf.gradients(pooled, [features, *self._attention], gradient)
            return tf.convert_to_tensor(found), weights

        return pooled, back

    def _pooled(self, features: Any, lengths: Any) -> Any:
        """One vector of each sequence, `[batch, any]`, of `[time, batch, any]`."""
        steps, batch, _ = tf.unstack(tf.shape(features))
        if self._form.pooling == "last":
            ends = tf.stack([lengths - 1, tf.range(batch)], 1)
            first, *others = tf.split(features, self._form.directions, -1)
            return _joined([tf.gather_nd(first, ends), *(one[0] for one in others)])
        inside = (tf.range(steps)[:, None] < lengths)[:, :, None]
        if self._form.pooling == "max":
            return tf.reduce_max(tf.where(inside, features, -2.0), 0)  # outputs are above -1
        if self._form.pooling == "mean":
            shares = tf.cast(inside, tf.float32) / tf.cast(lengths, tf.float32)[:, None]
        else:
            [attention] = self._attention
            scores = tf.matmul(tf.reshape(features, (-1, tf.shape(attention)[0])), attention)
            scores = tf.where(inside, tf.reshape(scores, (steps, batch, 1)), -1e9)
            shares = tf.exp(scores - tf.reduce_max(tf.stop_gradient(scores), 0))
            shares /= tf.reduce_sum(shares, 0)
        return tf.reduce_sum(shares * features, 0)


def _layer(
    features: Any, cells: list[Cell], options: LayerOptions, turned: Turned | None = None
) -> tuple[Any, LayerBackward, State]:
    """Outputs of a layer, of both directions side by side, its backward pass, and its state.

    The state is that of the forward direction, as `lstm_kernels.passed` has it. With `turned`, the
    other direction reads each sequence from its own end.
    """
    directions = [
        (turned.passed if turned and cell_options.reverse else lstm_kernels.passed)(
            features, cell, cell_options
        )
        for cell, cell_options in _directions(cells, options)
    ]
    outputs, backwards, states = zip(*directions, strict=True)

    def back(gradient: Any) -> tuple[Any, list[Any]]:
        parts = tf.split(gradient, len(cells), -1) if len(cells) > 1 else [gradient]
        pairs = [backward(part) for backward, part in zip(backwards, parts, strict=True)]
        input_gradients = [gradient for gradient, _ in pairs if gradient is not None]
        return (
            tf.add_n(input_gradients) if input_gradients else None,
            [weight for _, cell_gradient in pairs for weight in cell_gradient],
        )

    return _joined(outputs), back, states[0]


def _directions(cells: list[Cell], options: LayerOptions) -> Iterator[tuple[Cell, LayerOptions]]:
    """The cells of a layer with their options; the second one reads time in reverse."""
    for number, cell in enumerate(cells):
        yield cell, options._replace(reverse=bool(number))


def _joined(outputs: Sequence[Any]) -> Any:
    return tf.concat(outputs, -1) if len(outputs) > 1 else outputs[0]


def losses(logits: Any, targets: Any) -> tuple[Any, Any]:
    """Cross-entropy of each prediction in nats, `[predictions]`, and its gradient by the logits.

    `logits` is `[predictions, alphabet]`, `targets` `<int32>[predictions]`. This raw operation is
    deterministic here; with determinism on, TensorFlow's public function takes a slower path.
    """
    outputs = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=targets)
    return outputs.loss, outputs.backprop
