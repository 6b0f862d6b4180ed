"""Polynomial decay averaging of weights over the steps of a training.

After Shamir and Zhang, Stochastic Gradient Descent for Non-smooth Optimization (ICML 2013, arXiv
1212.1824, section 4): with `w` the weights after step `t`,

    average = average + share * (w - average),  share = (eta + 1) / (t + eta).

The weights of step `s` then count about `(s / t) ** eta`, so the average is mostly over the last
`1 / (1 + eta)` of all steps so far. It needs no end of the training that is known beforehand.

Weights of neighbouring steps are nearly equal. So after the first steps only those of every
`INTERVAL`th step enter, and of these the same average is taken.
"""

from __future__ import annotations

from typing import Any

#: the weights of each step enter the average up to this step, later those of every `INTERVAL`th
EACH_UNTIL, INTERVAL = 128, 8
#: `eta`: the average is mostly over the last 3 % of all steps
ETA = 32.0


def is_due(step: int) -> bool:
    """Whether the weights after step `step`, counted from 1, enter the average."""
    return step <= EACH_UNTIL or step % INTERVAL == 0


def share(step: int, eta: float = ETA) -> float:
    """Share of the weights after step `step` in the average, if they enter it."""
    return float(share_of_each(step if step <= EACH_UNTIL else step / INTERVAL, eta))


def share_of_each(place: Any, eta: float = ETA) -> Any:
    """The same by the place of the weights among those that enter the average, from 1."""
    return (eta + 1.0) / (place + eta)
