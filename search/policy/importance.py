"""How much of the variance of the loss each hyperparameter explains.

Functional ANOVA (Hutter, Hoos, Leyton-Brown: An Efficient Approach for Assessing Hyperparameter
Importance, ICML 2014): a random forest is fitted to the trials of a sweep; a hyperparameter's share
is the variance of the forest's prediction as a function of it alone, all others averaged out,
divided by the whole variance over the space. What the single shares leave is interaction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from lstm_sweep.models.config import LIMITS, Config
from lstm_sweep.search.policy.trials import Array
from lstm_sweep.search.process.scoped import restored
from lstm_sweep.spaces.dimension import Value
from lstm_sweep.spaces.space import Space

AConfig = TypeVar("AConfig", bound=Config)

#: trials without which a forest would only show chance: of a dozen, a third are the ladder's, which
#: differ from the others in more than their rate
FEWEST_TRIALS = 20
TREES = 100
#: configs over which the other hyperparameters are averaged
SAMPLE = 400
#: values at which a hyperparameter is looked at
VALUES = 12


def shares(space: Space, losses: Mapping[AConfig, float], seed: int = 0) -> dict[str, float] | None:
    """Share of each varying field, largest first; None if the trials are too few.

    `losses` holds the loss of each config in nats; how it was drawn does not matter. Shares are 0
    or more and sum up to about 1 at most.
    """
    fields = list(space.varying)
    if len(losses) < FEWEST_TRIALS or not fields:
        return None
    with restored("KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"):  # the import sets them
        from sklearn.ensemble import RandomForestRegressor

    bits = seed % 2**32  # it takes no more
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=bits, n_jobs=1)
    forest.fit(_features(list(losses), space, fields), np.array(list(losses.values())))
    rng = np.random.default_rng(seed)
    sample = _features([space.sample(rng) for _ in range(SAMPLE)], space, fields)
    whole = float(np.var(forest.predict(sample)))
    if whole == 0:
        return dict.fromkeys(fields, 0.0)
    found = {}
    for column, name in enumerate(fields):
        dimension = space[name]
        values = [dimension.value_at((i + 0.5) / VALUES) for i in range(VALUES)]
        means = []
        for value in values:
            changed = sample.copy()
            changed[:, column] = _number(name, value, space)
            means.append(float(forest.predict(changed).mean()))
        found[name] = float(np.var(means)) / whole
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _features(configs: Sequence[Config], space: Space, fields: list[str]) -> Array:
    """Configs as numbers, `<float64>[configs, fields]`."""
    rows = [config.to_dict() for config in configs]
    return np.array([[_number(name, row[name], space) for name in fields] for row in rows])


def _number(name: str, value: Value, space: Space) -> float:
    if isinstance(value, str):
        return float((space[name].values() or []).index(value))
    ratio = name in LIMITS and LIMITS[name].ratio
    return math.log(value) if ratio else float(value)
