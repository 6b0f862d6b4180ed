"""Hyperopt ask and tell, behind one small class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from models.config import TrialConfig
from models.errors import InputError
from spaces.space import LISTABLE, Space

ALGORITHMS = ("tpe", "random", "anneal")
#: trials drawn at random before TPE begins to learn
STARTUP = 10
#: suggestions asked for one trial before a point is drawn at random
SUGGESTIONS = 20
#: random points drawn for one trial before the space counts as used up
DRAWS = 2_000


@dataclass(frozen=True)
class Proposal:
    """A config to try, and the point behind it."""

    config: TrialConfig
    point: dict[str, float]


class Proposer:
    """Suggests configs and learns from their losses.

    A point that is asked for and not yet told counts as a bad one for TPE, which keeps suggestions
    away from those in flight (tpe.py of Hyperopt; a pessimistic constant liar). No config is
    proposed twice, and none that `admits` turns down; those are drawn again and never told.

    Suggestions are a pure function of the seed, the numbers asked, and what was told before.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        algorithm: str = "tpe",
        admits: Callable[[TrialConfig], bool] = lambda config: True,
    ) -> None:
        import hyperopt

        self._space = space
        self._seed = seed
        self._admits = admits
        self._suggest = _algorithm(algorithm)
        expression = space.expression() or {"fixed": 0}  # Hyperopt has no empty space
        self._domain = hyperopt.base.Domain(lambda point: 0.0, expression)
        self._trials = hyperopt.Trials()
        self._documents: dict[int, Any] = {}
        self._used: set[TrialConfig] = set()

    def ask(self, number: int) -> Proposal | None:
        """Propose a config for trial `number`; None if the space has no other left."""
        document = next(self._acceptable(number), None)
        if document is None:
            return None
        proposal = self._proposal(document)
        self._used.add(proposal.config)
        self._trials.insert_trial_docs([document])
        self._trials.refresh()
        # with pymongo installed, Hyperopt keeps a copy of what was inserted
        self._documents[number] = next(
            kept for kept in self._trials.trials if kept["tid"] == number
        )
        return proposal

    def _acceptable(self, number: int) -> Any:
        """Documents of points that may be proposed, the best first."""
        for suggest, seed in self._attempts(number):
            [document] = suggest([number], self._domain, self._trials, seed)
            if self._is_new(self._proposal(document).config):
                yield document
        yield from self._leftovers(number)

    def _attempts(self, number: int) -> Any:
        import hyperopt

        if not self._space.varying:
            return
        for attempt in range(SUGGESTIONS):
            yield self._suggest, _seed(self._seed, number, attempt)
        listable = (self._space.size() or math.inf) <= LISTABLE
        for attempt in range(SUGGESTIONS, SUGGESTIONS if listable else DRAWS):
            yield hyperopt.rand.suggest, _seed(self._seed, number, attempt)

    def _leftovers(self, number: int) -> Any:
        """A point of a space that can be listed, drawn from those that are left."""
        if (self._space.size() or math.inf) > LISTABLE:
            return
        left = [config for config in self._space.points() if self._is_new(config)]
        if left:
            rng = np.random.default_rng(_seed(self._seed, number, DRAWS))
            yield self._document(number, self._space.encode(left[rng.integers(len(left))]))

    def _is_new(self, config: TrialConfig) -> bool:
        return config not in self._used and self._admits(config)

    def _document(self, number: int, point: dict[str, float]) -> Any:
        misc = {
            "tid": number,
            "cmd": self._domain.cmd,
            "workdir": self._domain.workdir,
            "idxs": {name: [number] for name in point},
            "vals": {name: [self._space[name].raw(value)] for name, value in point.items()},
        }
        result = self._domain.new_result()
        [document] = self._trials.new_trial_docs([number], [None], [result], [misc])
        return document

    def _proposal(self, document: Any) -> Proposal:
        drawn = document["misc"]["vals"]
        point = {name: float(raws[0]) for name, raws in drawn.items()}
        return Proposal(self._space.decode(point), point)

    def tell(self, number: int, loss: float | None) -> None:
        """Report the loss of trial `number`; None if it failed, so that TPE learns to stay away.

        A failure is told without a loss: Hyperopt would use one even though the trial failed, and
        from a loss that is not a number it would learn nothing.
        """
        import hyperopt

        failed = loss is None or not math.isfinite(loss)
        document = self._documents[number]
        document["state"] = hyperopt.JOB_STATE_DONE
        document["result"] = (
            {"status": hyperopt.STATUS_FAIL}
            if failed
            else {"status": hyperopt.STATUS_OK, "loss": loss}
        )
        self._trials.refresh()


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0]) >> 1


def _algorithm(name: str) -> Any:
    import hyperopt

    if name not in ALGORITHMS:
        raise InputError(f"algo is '{name}': expected one of {', '.join(ALGORITHMS)}")
    if name == "tpe":
        return partial(hyperopt.tpe.suggest, n_startup_jobs=STARTUP)
    return {"random": hyperopt.rand.suggest, "anneal": hyperopt.anneal.suggest}[name]
