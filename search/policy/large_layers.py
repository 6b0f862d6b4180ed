"""Whether a sweep has room for layers that are larger than usual (docs/search.md, "Rounds")."""

from __future__ import annotations

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.size import parameters
from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.cost import DataSize, prior_seconds
from lstm_sweep.search.policy.large_opening import MOST_OF_TIME
from lstm_sweep.search.policy.lstm_problem import SYMBOLS_EACH
from lstm_sweep.search.policy.problem import Admits
from lstm_sweep.search.policy.round_size import usual_network
from lstm_sweep.spaces.space import Space

#: rounds for which there must be time, at least: by then a network has been judged twice, and goes
#: on
FEWEST_ROUNDS = halving.FACTOR**2


def has_room(
    units: int, space: Space, data_size: DataSize, seconds: float | None, admits: Admits
) -> bool:
    """Whether networks with layers of so many units are admitted, and fit into so many seconds.

    They do if the usual network with the fewest layers, of that size, takes at most `MOST_OF_TIME`
    of the time to read `SYMBOLS_EACH` symbols for each of its parameters, as a large network has
    when it is compared, and has as many epochs. Without a limit of time there is nothing to say so.
    """
    fewest = (space["layers"].values() or [1])[0]
    large = usual_network(space, admits).evolve(layers=fewest, layer_size=units)
    if seconds is None or not admits(large):
        return False
    rounds = rounds_to_read(large, data_size)
    has_time = rounds * prior_seconds(large, data_size) <= MOST_OF_TIME * seconds
    return has_time and rounds <= space.epochs * data_size.rounds_per_epoch


def rounds_to_read(config: TrialConfig, data_size: DataSize) -> float:
    """Rounds in which a network reads what it needs to show its worth."""
    needed = SYMBOLS_EACH * parameters(config, data_size.alphabet)
    return max(FEWEST_ROUNDS, needed / (data_size.symbols / data_size.rounds_per_epoch))
