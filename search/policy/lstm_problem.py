"""The search for an LSTM on a corpus: what is known of such networks before one is trained."""

from __future__ import annotations

import itertools
import math

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import CostModel, DataSize, steps_per_round
from lstm_sweep.search.policy.problem import Admits, SearchProblem, admits_all
from lstm_sweep.spaces.space import Space

#: steps of the optimizer before which losses say little about how a trial will end, and steps by
#: which the rates of a ladder have parted
FEWEST_STEPS = 50
LADDER_STEPS = 300
#: fields of which a ladder takes the first value
FIRST = ("dropout", "sequence_length", "batch_size", "offset", "optimizer", "embedding_size")
#: fields that a trial's need of memory grows with
MEMORY_FIELDS = ("layers", "layer_size", "sequence_length", "batch_size")


def lstm_problem(
    space: Space, data_size: DataSize, *, unigram_loss: float, admits: Admits = admits_all
) -> SearchProblem:
    """The problem of a search of `space` on a corpus; `unigram_loss` is in nats."""
    small = smallest(space, data_size.alphabet, admits)
    middle = {name: space[name].decode(space[name].at(0.5)) for name in _WINDOWS}
    rounds = space.epochs * data_size.rounds_per_epoch
    steps = steps_per_round(small.evolve(**middle), data_size)
    enough = min(math.ceil(FEWEST_STEPS / steps), rounds // halving.FACTOR)
    parted = math.ceil(LADDER_STEPS / steps_per_round(small, data_size))
    return SearchProblem(
        space=space,
        admits=admits,
        untrained_loss=unigram_loss,
        costs=lambda: CostModel(data_size),
        smallest=small,
        rounds_per_epoch=data_size.rounds_per_epoch,
        first_rung=max(1, enough),
        judged_from=lambda config: judged_from(as_lstm_config(config), data_size),
        ladder_rounds=min(parted, rounds),
        opening=lambda best, admits: opening(space, small, best, admits),
        needs_as_much_memory=needs_as_much_memory,
    )


def judged_from(config: TrialConfig, data_size: DataSize) -> int:
    """The round by whose end a config has taken `FEWEST_STEPS`; an epoch at most."""
    rounds = math.ceil(FEWEST_STEPS / steps_per_round(config, data_size))
    return min(rounds, data_size.rounds_per_epoch)


_WINDOWS = ("sequence_length", "batch_size")


def smallest(space: Space, alphabet: int, admits: Admits) -> TrialConfig:
    """The smallest network of a space that is admitted, or its smallest if none is.

    It has no more dropout than it must, and the shortest windows and smallest batches, so that a
    step of the optimizer costs little: to tell rates apart takes steps. Other fields have their
    middle values.
    """
    values = {name: dimension.decode(dimension.at(0.5)) for name, dimension in space.items()}
    for name in FIRST:
        values[name] = space[name].decode(space[name].at(0.0))
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


def opening(space: Space, small: TrialConfig, best: float, admits: Admits) -> TrialConfig | None:
    """The ladder's network in a middling size with the best rate: with what a search may begin.

    Its size is the one nearest to the middle of the space that is admitted; None if none is.
    """
    dimension = space["layer_size"]
    middle = float(dimension.decode(dimension.at(0.5)))
    sizes = [float(size) for size in dimension.values() or []]
    by_distance = sorted(sizes, key=lambda size: abs(math.log(size / middle)))
    configs = (small.evolve(learning_rate=best, layer_size=int(size)) for size in by_distance)
    return next((config for config in configs if admits(config)), None)


def needs_as_much_memory(config: Config, other: Config) -> bool:
    """Whether a network is smaller than another in nothing that memory is needed for."""
    one, two = as_lstm_config(config), as_lstm_config(other)
    return one.direction == two.direction and all(
        getattr(one, field) >= getattr(two, field) for field in MEMORY_FIELDS
    )
