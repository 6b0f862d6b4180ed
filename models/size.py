"""How large a network is, in closed form, and whether that suits the data.

The size rule follows Karpathy's advice for character models (char-rnn, "Tips and Tricks"): the
number of parameters and the number of training symbols should be of the same order of magnitude.
Of a large corpus only `ENOUGH_SYMBOLS` ask for parameters: more data do a small network no harm,
and whether a larger one pays is a matter of time, which the search finds out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.errors import InputError

#: training symbols that ask for parameters, at most
ENOUGH_SYMBOLS = 2_000_000
#: with so many symbols or more, the softmax of a training step on a CPU is over so many drawn ones
#: and the true one, if each step of a window is predicted
SAMPLED_FROM, SAMPLED = 8_192, 1_024


def parameters(config: TrialConfig, alphabet_size: int, classes: int | None = None) -> int:
    """Parameters of the network that `config` describes; equals Keras's `count_params()`.

    `alphabet_size` counts the reserved symbols too, as `len(alphabet)` does. `classes` is the
    number of those that are predicted, None if symbols are.
    """
    sizes = config.layer_size, config.embedding_size, alphabet_size
    attention = isinstance(config, ClassConfig) and config.pooling == "attention"
    return int(parameters_of(config.direction, config.layers, *sizes, classes, attention=attention))


def parameters_of(
    direction: str,
    layers: int,
    layer_size: Any,
    embedding_size: Any,
    alphabet_size: int,
    classes: int | None = None,
    *,
    attention: Any = False,
) -> Any:
    """Parameters of networks by their shape; sizes may be arrays of integers, for many at once.

    So may be `attention`: whether classes are predicted from a mean whose weights are learned.
    """
    directions = 2 if direction == "bi" else 1
    width = embedding_size + (embedding_size == 0) * alphabet_size
    total = embedding_size * alphabet_size
    for _ in range(layers):
        # 4 gates, each of H(C + H) weights and H biases
        gates = 4 * (layer_size * (width + layer_size) + layer_size)
        total = total + directions * gates
        width = directions * layer_size
    outputs = alphabet_size if classes is None else classes
    return total + attention * width + (width + 1) * outputs


def step_numbers(config: TrialConfig, alphabet_size: int, classes: int | None = None) -> int:
    """About how many numbers a training step keeps in memory.

    Weights with their gradients, their averages and what the optimizer knows of them, gates of all
    time steps, and logits with their gradients: of each time step, or one of a row if the network
    is bidirectional or predicts `classes`.
    """
    both = config.direction == "bi"
    steps = config.batch_size * config.sequence_length
    gates = 8 * config.layers * config.layer_size * (2 if both else 1) * steps
    if classes is not None:
        logits = 3 * classes * config.batch_size
    else:
        logits = 3 * alphabet_size * (config.batch_size if both else steps)
    kept = 4 + (config.averaging != "off")
    return kept * parameters(config, alphabet_size, classes) + gates + logits


@dataclass(frozen=True)
class Verdict:
    """What the size rule says of one network."""

    parameters: int
    symbols: int
    admitted: bool
    reason: str

    @property
    def ratio(self) -> float:
        return self.parameters / self.symbols


@dataclass(frozen=True)
class SizeRule:
    """Admits networks with `low <= parameters / training symbols <= high`.

    For `low` no more than `ENOUGH_SYMBOLS` of the training symbols count.
    """

    low: float = 0.1
    high: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise InputError(
                f"size rule from {self.low:g} to {self.high:g}: expected 0 <= low <= high"
            )

    def bounds(self, symbols: int) -> tuple[float, float]:
        """The least and the most parameters that suit so many training symbols."""
        return self.low * min(symbols, ENOUGH_SYMBOLS), self.high * symbols

    def is_too_small(self, count: Any, symbols: int) -> Any:
        """Whether so many parameters are too few; of an array, for each."""
        return count / min(symbols, ENOUGH_SYMBOLS) < self.low

    def is_too_large(self, count: Any, symbols: int) -> Any:
        """Whether so many parameters are too many; of an array, for each."""
        return count / symbols > self.high

    def judge(
        self, config: TrialConfig, alphabet_size: int, symbols: int, classes: int | None = None
    ) -> Verdict:
        """Say whether `config` suits a corpus of `symbols` training symbols."""
        count = parameters(config, alphabet_size, classes)
        ratio, enough = count / symbols, min(symbols, ENOUGH_SYMBOLS)
        least = f"{self.low:g}" + (
            f" for each of {enough:,}" if enough < symbols and self.low else ""
        )
        if self.is_too_small(count, symbols):
            word, admitted = f"too small: below {least}", False
        elif self.is_too_large(count, symbols):
            word, admitted = f"too large: above {self.high:g}", False
        else:
            word, admitted = f"fits: from {least} to {self.high:g}", True
        reason = f"{count:,} parameters for {symbols:,} training symbols, {ratio:.3g} each ({word})"
        return Verdict(count, symbols, admitted, reason)
