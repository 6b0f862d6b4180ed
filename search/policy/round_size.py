"""How much a trial trains between two reports: the rounds of an epoch, and the targets of a score.

Both follow from what networks of the space cost by `cost.PRIOR`, so they are the same on every
machine, and known before anything is trained.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.cost import (
    MOST_TARGETS,
    SCORING_ROWS,
    DataSize,
    fitting_targets,
    prior_seconds,
)
from lstm_sweep.search.policy.lstm_problem import smallest
from lstm_sweep.search.policy.problem import Admits, admits_all
from lstm_sweep.spaces.space import Space

#: seconds that a round of the usual network and of the cheapest one of a space should take
USUAL_S, CHEAPEST_S = 15.0, 2.0
#: seconds of a report and a checkpoint
REPORT_S = 0.1
#: share of a round of the usual network that scoring, report and checkpoint take at most
OVERHEAD = 0.1
#: validation targets where an epoch has several rounds, at least. Where it is one round they are
#: `cost.FEWEST_TARGETS`, twice as many, at little cost. Scored after each of several rounds, as
#: many would exceed `OVERHEAD` or make rounds longer; fewer are enough, since losses are compared
#: with those of the same targets
FEWEST_ROUND_TARGETS = 2_000


@dataclass(frozen=True)
class RoundSize:
    """How many rounds an epoch has, and how many targets score each of them."""

    rounds_per_epoch: int
    #: validation targets that are scored after each round
    targets: int


def fitting_round_size(
    space: Space,
    symbols: int,
    alphabet: int,
    *,
    rounds_per_epoch: int | None = None,
    targets: int | None = None,
    validation_symbols: int | None = None,
    admits: Admits = admits_all,
) -> RoundSize:
    """The grain that suits a search of `space` on so many training symbols.

    A round of the usual network takes `USUAL_S` or as much longer as it needs so that scoring is no
    more than `OVERHEAD` of it, and so that the cheapest network takes `CHEAPEST_S`. It is an epoch
    at most, and has a step of the optimizer at least. `rounds_per_epoch` and `targets` are taken as
    they are given, but no more are scored than there are `validation_symbols`. All of them are if
    all networks carry their state, as long as that is affordable: streams lead through all anyway.
    """
    usual = usual_network(space, admits)
    costs = _Predicted(usual, symbols, alphabet, validation_symbols)
    rounds = rounds_per_epoch
    if rounds is None:
        small = cheapest_network(space, alphabet, admits)
        cheapest = _Predicted(small, symbols, alphabet, validation_symbols)
        scored = FEWEST_ROUND_TARGETS if targets is None else targets
        if validation_symbols is not None:
            scored = min(scored, validation_symbols)
        beside = costs.score_s(scored) + REPORT_S
        fitting = min(
            costs.epoch_s / USUAL_S,
            cheapest.epoch_s / CHEAPEST_S,
            costs.epoch_s * OVERHEAD / (1 - OVERHEAD) / beside,
            fewest_steps(space, symbols),
        )
        rounds = max(1, int(fitting))
    if targets is None:
        targets = fitting_targets(usual, symbols) if rounds == 1 else costs.targets(rounds)
        if usual.carried and validation_symbols:  # then no network of the space is `reset`
            affordable = costs.score_s(validation_symbols) <= costs.free_s(rounds)
            targets = validation_symbols if affordable else targets
    return RoundSize(rounds, targets)


class _Predicted:
    """Seconds that a network takes by the prior."""

    def __init__(
        self, config: TrialConfig, symbols: int, alphabet: int, validation: int | None
    ) -> None:
        self._config, self._symbols, self._alphabet = config, symbols, alphabet
        self._validation = validation
        #: of an epoch's training
        self.epoch_s = self._seconds(0)

    def score_s(self, targets: int) -> float:
        """Seconds of scoring `targets` validation targets."""
        return self._seconds(targets) - self.epoch_s

    def free_s(self, rounds: int) -> float:
        """Seconds that scoring may take after each of so many rounds of an epoch."""
        return max(0.0, self.epoch_s / rounds * OVERHEAD / (1 - OVERHEAD) - REPORT_S)

    def targets(self, rounds: int) -> int:
        """How many whole blocks of targets take the share of a round that is for scoring."""
        blocks = int(self.free_s(rounds) / self.score_s(SCORING_ROWS))
        return min(max(blocks * SCORING_ROWS, FEWEST_ROUND_TARGETS), MOST_TARGETS)

    def _seconds(self, targets: int) -> float:
        size = DataSize(self._symbols, self._alphabet, targets, validation=self._validation)
        return prior_seconds(self._config, size)


def usual_network(space: Space, admits: Admits) -> TrialConfig:
    """The middle of a space, unidirectional if it may be, in the nearest size that is admitted.

    Its state is carried only if that of all networks is.
    """
    usual = as_lstm_config(space.middle())
    if "reset" in space["state"] or "bi" in space["direction"]:
        usual = usual.evolve(state="reset")
    if "uni" in space["direction"]:  # an epoch of bi takes longer
        usual = usual.evolve(direction="uni")
    sizes = [int(size) for size in space["layer_size"].values() or []]
    by_distance = sorted(sizes, key=lambda size: abs(math.log(size / usual.layer_size)))
    admitted = (usual.evolve(layer_size=size) for size in by_distance)
    return next(filter(admits, admitted), usual)


def cheapest_network(space: Space, alphabet: int, admits: Admits) -> TrialConfig:
    """The smallest network of a space that is admitted, in the largest batches."""
    small = smallest(space, alphabet, admits)
    return small.evolve(batch_size=space.largest("batch_size"), stride=space.largest("stride"))


def fewest_steps(space: Space, symbols: int) -> int:
    """Steps of the optimizer in an epoch of any config of a space, at least."""
    middle = as_lstm_config(space.middle())
    strides = [space.largest("stride")] + [0] * (0 in space["stride"])
    directions = [direction for direction in ("uni", "bi") if direction in space["direction"]]
    configs = [
        middle.evolve(
            direction=direction,
            stride=stride,
            state=state,
            sequence_length=space.largest("sequence_length"),
        )
        for direction, stride, state in itertools.product(
            directions, strides, space["state"].values() or []
        )
    ]
    widest = max(config.window_stride for config in configs)
    # a random offset may leave out a window
    return max(1, math.ceil(symbols // widest / space.largest("batch_size")))
