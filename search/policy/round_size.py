"""How much a trial trains between two reports: the rounds of an epoch, and the targets of a score.

Both follow from what networks of the space cost by `cost.PRIOR`, so they are the same on every
machine, and known before anything is trained.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from dataclasses import dataclass, replace

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.cost import SCORING_ROWS, DataSize, prior_seconds
from lstm_sweep.search.policy.lstm_problem import smallest
from lstm_sweep.search.policy.problem import Admits, admits_all
from lstm_sweep.spaces.space import Space

#: seconds that a round of the usual network and of the cheapest one of a space should take
USUAL_S, CHEAPEST_S = 15.0, 2.0
#: seconds of a report and a checkpoint
REPORT_S = 0.1
#: share of a round of the usual network that scoring, report and checkpoint take at most, unless
#: an epoch is too short for that: with targets side by side, and each after a window of its own,
#: as those of event ids in short sessions
OVERHEAD, OVERHEAD_APART = 0.04, 0.1
#: share that scoring all symbols may take by the prior, in streams that lead through them anyway
OVERHEAD_OF_ALL = 0.06
#: validation targets of a sweep that asks for no number of its own: with fewer, which ones were
#: chosen would decide more between two configs than their seeds do; more would tell little more,
#: and are scored only where all networks carry their state, at three steps each or fewer
FEWEST_TARGETS, MOST_TARGETS = 4_000, 10_000
#: such targets, each after a window of its own, where an epoch has several rounds, at least: as
#: many as above would exceed `OVERHEAD_APART` or make rounds longer
FEWEST_APART = 2_000


def most_overhead(adjacent: int) -> float:
    """The share of a round that scoring may take with so many targets side by side."""
    return OVERHEAD if adjacent > 1 else OVERHEAD_APART


def fewest_targets(adjacent: int, *, several_rounds: bool) -> int:
    """How many targets a sweep has at the least, so many of them side by side."""
    return FEWEST_APART if several_rounds and adjacent == 1 else FEWEST_TARGETS


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
    adjacent: int = 1,
    admits: Admits = admits_all,
) -> RoundSize:
    """The grain that suits a search of `space` on so many training symbols.

    A round of the usual network takes `USUAL_S` or as much longer as it needs so that scoring is no
    more than `most_overhead` of it, and so that the cheapest network takes `CHEAPEST_S`. It is an
    epoch at most, and has a step of the optimizer at least. `rounds_per_epoch` and `targets` are
    taken as they are given, but no more are scored than there are `validation_symbols`; `adjacent`
    of them are side by side. If all networks carry their state, all are scored where that is
    affordable, and otherwise as many as take the share that is for scoring.
    """
    usual = usual_network(space, admits)
    size = DataSize(symbols, alphabet, 0, validation=validation_symbols, adjacent=adjacent)
    costs = _Predicted(usual, size)
    rounds = rounds_per_epoch
    if rounds is None:
        small = cheapest_network(space, alphabet, admits)
        cheapest = _Predicted(small, size)
        fewest = fewest_targets(adjacent, several_rounds=True)
        scored = fewest if targets is None else targets
        if validation_symbols is not None:
            scored = min(scored, validation_symbols)
        beside = costs.score_s(scored) + REPORT_S
        fitting = min(
            costs.epoch_s / USUAL_S,
            cheapest.epoch_s / CHEAPEST_S,
            costs.epoch_s * costs.overhead / beside,
            fewest_steps(space, symbols),
        )
        rounds = max(1, int(fitting))
    if targets is not None:
        return RoundSize(rounds, targets)
    if usual.carried and validation_symbols:  # no network is `reset`
        if costs.share_of_score(validation_symbols, rounds) <= OVERHEAD_OF_ALL:
            return RoundSize(rounds, validation_symbols)
        return RoundSize(rounds, costs.targets(rounds, most=validation_symbols))
    return RoundSize(rounds, costs.targets(rounds))


class _Predicted:
    """Seconds that a network takes by the prior."""

    def __init__(self, config: TrialConfig, size: DataSize) -> None:
        self._config, self._size = config, size
        #: of an epoch's training
        self.epoch_s = self._seconds(0)
        most = most_overhead(size.adjacent)
        #: what may come with training at most, as a share of it
        self.overhead = most / (1 - most)

    def score_s(self, targets: int) -> float:
        """Seconds of scoring `targets` validation targets."""
        return self._seconds(targets) - self.epoch_s

    def share_of_score(self, targets: int, rounds: int) -> float:
        """Share of each of so many rounds of an epoch that scoring takes."""
        score_s = self.score_s(targets)
        return score_s / (self.epoch_s / rounds + score_s)

    def targets(self, rounds: int, most: int = MOST_TARGETS) -> int:
        """How many targets, in whole blocks, take the share of a round that is for scoring."""
        free_s = self.epoch_s / rounds * self.overhead - REPORT_S
        blocks = range(SCORING_ROWS, most + SCORING_ROWS, SCORING_ROWS)
        fitting = bisect_right(blocks, free_s, key=self.score_s) * SCORING_ROWS
        fewest = fewest_targets(self._size.adjacent, several_rounds=rounds > 1)
        return min(max(fitting, fewest), most)

    def _seconds(self, targets: int) -> float:
        return prior_seconds(self._config, replace(self._size, targets=targets))


def all_carried(space: Space) -> bool:
    """Whether each network of a space carries its state."""
    return not ("reset" in space["state"] or "bi" in space["direction"])


def usual_network(space: Space, admits: Admits) -> TrialConfig:
    """The middle of a space, unidirectional if it may be, in the nearest size that is admitted.

    Its state is carried only if that of all networks is.
    """
    usual = as_lstm_config(space.middle())
    if not all_carried(space):
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
