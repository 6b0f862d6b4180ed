"""The search for an LSTM on a corpus: what is known of such networks before one is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from lstm_sweep.models.config import (
    NORMALIZING,
    OPTIMIZERS,
    Config,
    TrialConfig,
    as_lstm_config,
)
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import CostModel, DataSize, steps_per_round
from lstm_sweep.search.policy.ladder_length import ladder_length
from lstm_sweep.search.policy.problem import Admits, LargeNetwork, SearchProblem, admits_all
from lstm_sweep.spaces.by_corpus import SMALL_CORPUS
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.space import Space

#: steps of the optimizer before which losses say little about how a trial will end
FEWEST_STEPS = 50
#: fields of which a ladder takes the first value
FIRST = (
    "dropout", "batch_size", "offset", "state", "optimizer", "weight_decay", "averaging",
    "embedding_size",
)  # fmt: skip
#: fields that a trial's need of memory grows with
MEMORY_FIELDS = ("layers", "layer_size", "sequence_length", "batch_size")


def lstm_problem(
    space: Space,
    data_size: DataSize,
    *,
    unigram_loss: float,
    admits: Admits = admits_all,
    prior: Sequence[Config] = (),
) -> SearchProblem:
    """The problem of a search of `space` on a corpus; `unigram_loss` is in nats."""
    # whatever the size rule says: it is about networks that are searched
    small = smallest(space, data_size.alphabet, admits_all)
    sizes = {name: space.largest(name) for name in ("layers", "layer_size")}
    largest = [
        small.evolve(**sizes, optimizer=optimizer)
        for optimizer in OPTIMIZERS
        if optimizer in space["optimizer"]
    ]
    middle = {name: space[name].value_at(0.5) for name in _WINDOWS}
    rounds = space.epochs * data_size.rounds_per_epoch
    steps = steps_per_round(small.evolve(**middle), data_size)
    enough = min(math.ceil(FEWEST_STEPS / steps), rounds // halving.FACTOR)
    return SearchProblem(
        space=space,
        admits=admits,
        untrained_loss=unigram_loss,
        costs=lambda: CostModel(data_size, single_rounds=rounds == 1),
        smallest=small,
        pausable=True,
        rounds_per_epoch=data_size.rounds_per_epoch,
        first_rung=max(1, enough),
        judged_from=lambda config: judged_from(as_lstm_config(config), data_size),
        ladder_length=lambda seconds, slots: ladder_length(
            small, data_size, rounds, seconds, slots
        ),
        rate_share=lambda config: rate_share(as_lstm_config(config), small),
        lowest_rate_share=min(rate_share(config, small) for config in largest),
        prior=tuple(prior),
        openings=lambda best, admits: openings(space, small, best, admits),
        large_openings=lambda best: large_openings(space, small, best, data_size),
        needs_as_much_memory=needs_as_much_memory,
    )


def judged_from(config: TrialConfig, data_size: DataSize) -> int:
    """The round by whose end a config has taken `FEWEST_STEPS`; an epoch at most."""
    rounds = math.ceil(FEWEST_STEPS / steps_per_round(config, data_size))
    return min(rounds, data_size.rounds_per_epoch)


def rate_share(config: TrialConfig, small: TrialConfig) -> float:
    """Best learning rate of a config, as a share of that of the ladder's network.

    It falls as layers grow in size and in number; batches and windows have little influence.
    """
    if config.optimizer not in NORMALIZING:
        return 1.0
    return small.layer_size * small.layers / (config.layer_size * config.layers)


_WINDOWS = ("sequence_length", "batch_size")
#: symbols of the ladder's windows, or as near to that as a space has them
SHORT_WINDOW = 20


def nearest(dimension: Dimension, wanted: float) -> int:
    """The whole number of a dimension that is nearest to another, by ratio."""
    numbers = [int(number) for number in dimension.values() or []]
    return min(numbers, key=lambda number: abs(math.log(number / wanted)))


def smallest(space: Space, alphabet: int, admits: Admits) -> TrialConfig:
    """The smallest network of a space that is admitted, or its smallest if none is.

    It has no more dropout than it must, short windows and the smallest batches, so that a step of
    the optimizer costs little: to tell rates apart takes steps. Other fields have their middle
    values.
    """
    values = {name: dimension.value_at(0.5) for name, dimension in space.items()}
    for name in FIRST:
        values[name] = space[name].value_at(0.0)
    values["sequence_length"] = nearest(space["sequence_length"], SHORT_WINDOW)
    values["direction"] = "uni" if "uni" in space["direction"] else "bi"
    values["epochs"] = space.largest("epochs")
    middle = TrialConfig.from_dict(values)
    networks = (
        middle.evolve(layers=layers, layer_size=size)
        for layers in space["layers"].values() or []
        for size in space["layer_size"].values() or []
    )
    by_layers = [list(group) for _, group in itertools.groupby(networks, lambda c: c.layers)]
    found = [next((c for c in group if admits(c)), None) for group in by_layers]
    admitted = [config for config in found if config] or [by_layers[0][0]]
    return min(admitted, key=lambda config: parameters(config, alphabet))


def nearest_size(config: TrialConfig, space: Space, admits: Admits) -> TrialConfig | None:
    """A config with the layer size of a space that is nearest to its own, of those admitted.

    None if none is.
    """
    sizes = [float(size) for size in space["layer_size"].values() or [config.layer_size]]
    sizes.sort(key=lambda size: abs(math.log(size / config.layer_size)))
    configs = (config.evolve(layer_size=int(size)) for size in sizes)
    return next((one for one in configs if admits(one)), None)


def opening(space: Space, small: TrialConfig, best: float, admits: Admits) -> TrialConfig | None:
    """The ladder's network in a middling size with the best rate: with what a search may begin.

    Its size is the one nearest to the middle of the space that is admitted; None if none is.
    """
    dimension = space["layer_size"]
    middle = int(dimension.value_at(0.5))
    return nearest_size(small.evolve(learning_rate=best, layer_size=middle), space, admits)


#: fields in which other openings differ from the first, one each, and where in the space
VARIED = {"layer_size": 0.75, "dropout": 0.25}


def openings(
    space: Space, small: TrialConfig, best: float, admits: Admits
) -> tuple[TrialConfig, ...]:
    """With what a search may begin: `opening`, and this with other values of a field or two each.

    They tell early whether the shortest windows, longer ones, larger layers or some dropout pay,
    which most spaces leave open.
    """
    first = opening(space, small, best, admits)
    if first is None:
        return ()
    windows = space["sequence_length"]
    longer = windows.between(first.sequence_length, math.inf) or windows
    others = [_with_window(first, int(windows.value_at(0.0)), space)]
    others += [first.evolve(sequence_length=longer.value_at(0.5))]
    for name, share in VARIED.items():
        others += [first.evolve(**{name: space[name].value_at(share)})]
    return tuple(dict.fromkeys([first, *filter(admits, others)]))


#: parameters by training symbol of a network that is large for its corpus, and can still be trained
LARGE = (0.4, 2.0)
#: training symbols from which on a smaller network is large, too, as none has time to read them
#: often; how many times as many another one reads before that is begun; and how many symbols it
#: reads for each of its parameters until it has shown what it is worth (Hoffmann et al., arXiv
#: 2203.15556, have as many where size and symbols use up a budget best)
LARGE_CORPUS, BEGUN_AFTER, SYMBOLS_EACH = 1_000_000, 3, 20

#: symbols of windows in which a large network ends better, and steps of the optimizer for which
#: there has to be time then: of a megabyte these are twelve epochs, in batches of 32
LONGER_WINDOW, STEPS_IN_LONGER = 50, 7_500


def large_openings(
    space: Space, small: TrialConfig, best: float, data_size: DataSize
) -> tuple[LargeNetwork, ...]:
    """The ladder's network in large sizes, with the best rate, the most promising first.

    First come those of `LARGE` sizes, which have dropout, if the space has any; then those that are
    large for the time that there is to read a `LARGE_CORPUS`, without dropout, since they do not
    learn it by heart. Of each, those in longer windows come before all others, and the largest
    first. There are none for a small corpus, of which a network that large learns by heart what is
    chance.
    """
    symbols = data_size.symbols
    if symbols < SMALL_CORPUS:
        return ()
    low, high = (share * symbols for share in LARGE)
    found = list[LargeNetwork]()
    if dropout := space["dropout"].value_at(VARIED["dropout"]):
        dropped = small.evolve(learning_rate=best, dropout=dropout)
        found += _large(dropped, space, data_size, (low, high))
    if symbols > LARGE_CORPUS and not small.dropout:
        least = LARGE[0] * LARGE_CORPUS
        a_round = symbols / data_size.rounds_per_epoch
        begun_after = math.ceil(BEGUN_AFTER * LARGE_CORPUS / a_round)
        for one in _large(small.evolve(learning_rate=best), space, data_size, (least, low)):
            needed = SYMBOLS_EACH * parameters(as_lstm_config(one.config), data_size.alphabet)
            judged_from = math.ceil(needed / a_round)
            found.append(replace(one, begun_after=begun_after, judged_from=judged_from))
    return tuple(found)


def _large(
    config: TrialConfig, space: Space, data_size: DataSize, between: tuple[float, float]
) -> list[LargeNetwork]:
    """A network in all sizes with so many parameters, in longer windows and in its own."""
    sizes = sorted(space["layer_size"].values() or [], reverse=True)
    every = (config.evolve(layer_size=size) for size in sizes)
    low, high = between
    networks = [one for one in every if low <= parameters(one, data_size.alphabet) <= high]
    longer = [_in_longer_windows(one, space, data_size) for one in networks]
    return [*filter(None, longer), *map(LargeNetwork, networks)]


def _in_longer_windows(
    config: TrialConfig, space: Space, data_size: DataSize
) -> LargeNetwork | None:
    """A network with windows of `LONGER_WINDOW`, or as near to that as a space has them.

    None if its windows are as long, or its state is carried, so that they do not say how far back
    it sees.
    """
    length = nearest(space["sequence_length"], LONGER_WINDOW)
    if config.carried or length <= config.sequence_length:
        return None
    longer = config.evolve(sequence_length=length)
    return LargeNetwork(longer, math.ceil(STEPS_IN_LONGER / steps_per_round(longer, data_size)))


def _with_window(config: TrialConfig, length: int, space: Space) -> TrialConfig:
    """A config with windows of another length.

    Batches stay halfway, by ratio, between as many windows and as many symbols: as many windows
    would make slow epochs of small steps, as many symbols too few steps of an epoch.
    """
    wanted = config.batch_size * math.sqrt(config.sequence_length / length)
    return config.evolve(sequence_length=length, batch_size=nearest(space["batch_size"], wanted))


def network(config: TrialConfig) -> TrialConfig:
    """The config with a learning rate of 1, to compare configs by all other fields."""
    return config.evolve(learning_rate=1.0)


def needs_as_much_memory(config: Config, other: Config) -> bool:
    """Whether a network is smaller than another in nothing that memory is needed for."""
    one, two = as_lstm_config(config), as_lstm_config(other)
    return one.direction == two.direction and all(
        getattr(one, field) >= getattr(two, field) for field in MEMORY_FIELDS
    )
