"""`TrialConfig`: one point of a space, all that is needed to build and train one model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

from typing_extensions import override

from lstm_sweep.models.errors import InputError, one_of, shown


@dataclass(frozen=True)
class Limit:
    """Allowed values of a field: numbers from `low` to `high`, or one of `choices`."""

    kind: type[int] | type[float] | type[str]
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    #: whether the natural scale of this field is logarithmic
    ratio: bool = False
    #: whether `low` itself is allowed
    low_included: bool = True

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = "an integer" if self.kind is int else "a number"
        bound = f"from {self.low:g}" if self.low_included else f"above {self.low:g}"
        upto = "up to" if not self.low_included else "to"
        return f"{noun} {bound} {upto} {self.high:g}"

    def check(self, name: str, value: object) -> int | float | str:
        """Convert `value` to the type of this field."""
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{name} is {shown(value)}: expected {self}")
            return str(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{name} is {shown(value)}: expected {self}")
        inside = self.low <= value <= self.high and (self.low_included or value > self.low)
        if not inside or (self.kind is int and value != int(value)):
            raise InputError(f"{name} is {shown(value)}: expected {self}")
        return self.kind(value)


DIRECTIONS = ("uni", "bi")
STATES = ("reset", "carried")
PRECISIONS = ("float32", "bfloat16", "float16")
#: each also needs an entry in `OPTIMIZER_CLASSES` of `models/network/lstm.py` and in `KERNELS` of
#: `models/cpu/optimizer.py`
OPTIMIZERS = ("rmsprop", "adam", "sgd", "adagrad")
#: those whose steps do not grow with the gradient: their best rate falls as layers grow
NORMALIZING = ("rmsprop", "adam")
AVERAGINGS = ("polynomial", "off")
POOLINGS = ("last", "mean", "max", "attention")
#: which part of a sequence is read that is longer than `sequence_length`
KEEPS = ("head", "tail", "both")
CLASS_WEIGHTS = ("none", "balanced", "sqrt")

LIMITS: Mapping[str, Limit] = {
    "direction": Limit(str, choices=DIRECTIONS),
    "learning_rate": Limit(float, 0, 1000, ratio=True, low_included=False),
    "dropout": Limit(float, 0, 0.99),
    "layers": Limit(int, 1, 16),
    "layer_size": Limit(int, 1, 16384, ratio=True),
    "sequence_length": Limit(int, 1, 10000, ratio=True),
    "batch_size": Limit(int, 1, 65536, ratio=True),
    "stride": Limit(int, 0, 10000),
    "offset": Limit(str, choices=("random", "fixed")),
    "state": Limit(str, choices=STATES),
    "optimizer": Limit(str, choices=OPTIMIZERS),
    "weight_decay": Limit(float, 0, 100),
    "averaging": Limit(str, choices=AVERAGINGS),
    "embedding_size": Limit(int, 0, 16384),
    "precision": Limit(str, choices=PRECISIONS),
    "epochs": Limit(int, 1, 100000),
}
#: of the fields of a network that predicts classes, which has no windows
CLASS_LIMITS: Mapping[str, Limit] = {
    **{name: one for name, one in LIMITS.items() if name not in ("stride", "offset", "state")},
    "layers": Limit(int, 1, 3),
    "pooling": Limit(str, choices=POOLINGS),
    "keep": Limit(str, choices=KEEPS),
    "class_weights": Limit(str, choices=CLASS_WEIGHTS),
}


class Config(Hashable, Protocol):
    """One point of a space, of our networks or of a template; immutable."""

    @property
    def epochs(self) -> int:
        """Largest number of epochs of a trial."""

    @property
    def planned_epochs(self) -> int | None:
        """Epochs of a trial that is not cut short; None if the config does not say."""

    def to_dict(self) -> dict[str, int | float | str]: ...

    def evolve(self, **changes: Any) -> Self: ...

    def table_columns(self) -> dict[str, str]: ...

    def describe(self) -> str: ...

    def headline(self) -> str: ...

    def label(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One network and how it is trained; all fields are checked in the constructor."""

    #: allowed values of each field that it has
    limits: ClassVar[Mapping[str, Limit]] = LIMITS

    #: `uni` reads the symbols before a target forwards; `bi` reads the same symbols in both
    #: directions
    direction: str = "uni"
    #: learning rate of the optimizer
    learning_rate: float = 0.01
    #: share of the outputs of each LSTM layer that is dropped in training
    dropout: float = 0.0
    #: number of stacked LSTM layers
    layers: int = 2
    #: units of an LSTM layer (of each direction in a bidirectional one)
    layer_size: int = 128
    #: symbols in a window
    sequence_length: int = 40
    #: windows in a training step
    batch_size: int = 64
    #: symbols from one training window to the next; 0: see `window_stride`
    stride: int = 0
    #: start of the first window: `random` below the stride in each epoch, or `fixed` at 0
    offset: str = "random"
    #: state before a window: zero (`reset`), or that after the window before it in its session
    #: (`carried`), without a gradient; `bi` is always `reset`
    state: str = "reset"
    #: name of the optimizer
    optimizer: str = "rmsprop"
    #: decoupled weight decay: each step takes this share, times the learning rate, off all weights
    #: but biases
    weight_decay: float = 0.0
    #: which weights are scored and kept: a `polynomial` decay average over the steps, or, if `off`,
    #: those of the last step
    averaging: str = "polynomial"
    #: width of a learned embedding of the symbols; 0: one-hot input
    embedding_size: int = 0
    #: precision of matrix products in training; scoring is in float32
    precision: str = "float32"
    #: passes over the training symbols
    epochs: int = 27

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))

    @property
    def window_stride(self) -> int:
        """Symbols from one training window to the next.

        The default is `sequence_length`, or an eighth of it for `bi`, since a unidirectional window
        has a target at each step and a bidirectional one has a single target. If the state is
        carried, each window begins where the one before it ends.
        """
        if self.carried:
            return self.sequence_length
        if self.stride:
            return self.stride
        return (
            self.sequence_length if self.direction == "uni" else max(1, self.sequence_length // 8)
        )

    @property
    def carried(self) -> bool:
        """Whether the state is carried from window to window, in training, scoring and use."""
        return self.state == "carried" and self.direction == "uni"

    def evolve(self, **changes: Any) -> Self:
        return self.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, int | float | str]:
        return asdict(self)

    def table_columns(self) -> dict[str, str]:
        return {
            "dir": self.direction,
            "size": f"{self.layers}x{self.layer_size}",
            "rate": f"{self.learning_rate:g}",
            "drop": f"{self.dropout:g}",
            "length": str(self.sequence_length),
            "batch": str(self.batch_size),
        }

    def describe(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.to_dict().items())

    def headline(self) -> str:
        return (
            f"{self.direction}, {self.layers} layer{'s' * (self.layers > 1)} of {self.layer_size}, "
            f"{'carried state, ' if self.carried else ''}learning rate {self.learning_rate:g}"
        )

    def label(self) -> str:
        kind = f"{self.direction} carried" if self.carried else self.direction
        return f"{kind} {self.layers}x{self.layer_size}, lr {self.learning_rate:g}"

    @property
    def planned_epochs(self) -> int:
        return self.epochs

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        for name in values:
            check_field(name, cls.limits)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ClassConfig(TrialConfig):
    """One network that predicts the class of a sequence, and how it is trained.

    `sequence_length` is how many symbols of a sequence are read, at most, and `batch_size` a number
    of sequences. `stride`, `offset` and `state` have no effect, and are not among its fields.
    """

    limits: ClassVar[Mapping[str, Limit]] = CLASS_LIMITS

    #: what the last layer's outputs become: the `last` of each direction, their `mean`, their
    #: `max`, or a mean with weights that are learned (`attention`)
    pooling: str = "mean"
    #: which part of a longer sequence is read: `head`, `tail`, or half of it from `both`
    keep: str = "head"
    #: weight of a class in the training loss: `balanced` is one over its number of sequences,
    #: `sqrt` the root of that
    class_weights: str = "none"

    @property
    def reading(self) -> tuple[int, str]:
        """What of a sequence it reads, which networks that are averaged have in common."""
        return self.sequence_length, self.keep

    @override
    def to_dict(self) -> dict[str, int | float | str]:
        return {name: getattr(self, name) for name in self.limits}

    @override
    def table_columns(self) -> dict[str, str]:
        return super().table_columns() | {"pool": self.pooling}


def as_lstm_config(config: Config) -> TrialConfig:
    """Narrow the type of a config that is known to be a `TrialConfig`."""
    assert isinstance(config, TrialConfig)
    return config


FIELDS = tuple(field.name for field in fields(TrialConfig))


def check_field(name: object, limits: Mapping[str, Limit] = LIMITS) -> None:
    """Refuse a name that is not a field of a config with these `limits`."""
    if name not in limits:
        given = shown(name if isinstance(name, str) else shown(name))
        raise InputError(f"{given} is no field of a config: {one_of(name, tuple(limits))}")


def values_text(described: Any) -> str:
    """The values of a dimension for people, as a space describes it: `32, 64` or `0.001 to 0.1`."""
    if isinstance(described, dict) and described.keys() >= {"low", "high"}:
        steps = f" by {described['step']:g}" if "step" in described else ""
        return f"{described['low']:g} to {described['high']:g}{steps}"
    listed = described if isinstance(described, list) else [described]
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in listed)
