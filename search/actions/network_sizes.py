"""Sizes of the networks of a space, compared with the size rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.size import SizeRule, parameters_of
from lstm_sweep.search.driver.preflight import check_space
from lstm_sweep.search.values.documents import SAID, Document
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.spaces.dimension import Value
from lstm_sweep.spaces.space import LISTABLE

#: indices, one of each row
Places = NDArray[np.int64]
#: structures that are listed one by one, at most
LISTED = 12
SIZE_FIELDS = ("direction", "layers", "layer_size", "embedding_size")


@dataclass(frozen=True)
class NetworkSize(Document):
    """A network, compared with the size rule."""

    direction: str
    layers: int
    layer_size: int
    embedding_size: int
    parameters: int
    per_symbol: float | None
    admitted: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class SizeReport(Document):
    """Sizes of the networks of a space, compared with the size rule."""

    #: what was found out about the corpus, for people
    corpus: str = field(metadata=SAID)
    training_symbols: int
    alphabet: int
    #: share of the validation symbols that training data do not have, which are not scored
    unknown_share: float
    #: parameters for each training symbol that the rule admits; for `low` at most two million count
    low: float
    high: float
    #: parameters that it admits in all
    fewest: float
    most: float
    #: networks that differ in size, and how many of them pass
    structures: int
    admitted: int
    #: all of them by size, or the smallest and the largest if they are too many
    networks: tuple[NetworkSize, ...]
    #: why a sweep would refuse this space; empty if it would not
    refused: str = field(default="", metadata=SAID)


def size(spec: SweepSpec) -> SizeReport:
    """What the size rule says of the networks of a spec's space, on its data.

    Raises:
        InputError: the data cannot be read.
    """
    corpus = corpora.load(spec.source())
    rule, symbols, alphabet = spec.rule(), len(corpus.train), len(corpus.alphabet)

    def judged(config: TrialConfig) -> NetworkSize:
        found = rule.judge(config, alphabet, symbols)
        sizes = config.direction, config.layers, config.layer_size, config.embedding_size
        return NetworkSize(*sizes, found.parameters, found.ratio, found.admitted, found.reason)

    axes = [sorted(spec.space[field].values() or []) for field in SIZE_FIELDS]
    structures = math.prod(map(len, axes))
    if structures <= LISTABLE:
        networks = list(map(judged, _structures(axes)))
        admitted = sum(network.admitted for network in networks)
    else:
        networks = list(map(judged, _corners(axes)))
        admitted = _admitted(axes, rule, alphabet, symbols)
    fewest, most = rule.bounds(symbols)
    networks.sort(key=lambda network: network.parameters)
    return SizeReport(
        corpus=corpus.decided,
        training_symbols=symbols,
        alphabet=alphabet,
        unknown_share=corpus.unknown_share(corpus.validation),
        low=rule.low,
        high=rule.high,
        fewest=fewest,
        most=most,
        structures=structures,
        admitted=admitted,
        networks=tuple(networks if structures <= LISTED else (networks[0], networks[-1])),
        refused=_refusal(spec, corpus),
    )


def _structures(axes: Sequence[Sequence[Value]]) -> Iterator[TrialConfig]:
    """The networks of which each has one value of each axis, in the order of `SIZE_FIELDS`."""
    for values in itertools.product(*axes):
        yield TrialConfig.from_dict(dict(zip(SIZE_FIELDS, values, strict=True)))


def _corners(axes: Sequence[Sequence[Value]]) -> Iterator[TrialConfig]:
    """Networks with the ends of each axis, among which are the smallest and the largest.

    Without an embedding, of size 0, symbols are vectors as long as the alphabet: so the smallest
    embedding that there is counts as an end as well.
    """
    ends = [[axis[0], axis[-1]] for axis in axes]
    embedding = SIZE_FIELDS.index("embedding_size")
    ends[embedding] += axes[embedding][:2]
    return _structures([list(dict.fromkeys(values)) for values in ends])


def _admitted(axes: Sequence[Sequence[Any]], rule: SizeRule, alphabet: int, symbols: int) -> int:
    """How many networks the rule admits: the larger the layers, the more parameters they have."""
    directions, layers, *sizes = axes
    units, embeddings = (np.array(axis, np.int64) for axis in sizes)

    def admitted_of(direction: str, count: int) -> int:
        def parameters(place: Places) -> Any:
            return parameters_of(direction, count, units[place], embeddings, alphabet)

        def large_enough(place: Places) -> Any:
            return ~rule.is_too_small(parameters(place), symbols)

        def too_large(place: Places) -> Any:
            return rule.is_too_large(parameters(place), symbols)

        size = len(units), len(embeddings)
        return int((_first_place(too_large, *size) - _first_place(large_enough, *size)).sum())

    return sum(itertools.starmap(admitted_of, itertools.product(directions, layers)))


def _first_place(is_reached: Callable[[Places], Any], size: int, count: int) -> Places:
    """The first of `size` places where something is reached, for each of `count` rows, or `size`.

    Once it is reached it is so at all places after that.
    """
    low, high = np.zeros(count, np.int64), np.full(count, size)
    while (low < high).any():
        middle = np.minimum((low + high) // 2, size - 1)
        there = (low < high) & is_reached(middle)
        high = np.where(there, middle, high)
        low = np.where((low < high) & ~there, middle + 1, low)
    return low


def _refusal(spec: SweepSpec, corpus: Corpus) -> str:
    """Why a sweep would refuse a space; empty if it would not."""
    try:
        check_space(spec, corpus)
    except InputError as error:
        return str(error)
    return ""
