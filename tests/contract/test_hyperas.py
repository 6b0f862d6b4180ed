"""What hyperas's distributions draw, beside what this program draws.

hyperas 0.4.1 cannot be run on Keras 3: `import hyperas.optim` fails. Its distributions can be.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hyperas import distributions as theirs
from hyperopt.pyll import stochastic
from scipy.stats import chi2_contingency, ks_2samp

from lstm_sweep.spaces.template.distributions import SIGNATURES, read

#: draws of each, and the chance of a difference so large below which they differ
DRAWS, CHANCE = 800, 1e-3
#: arguments of their functions in Hyperopt that are no parameters
INNER = {"rng", "size"}


def names_of_theirs() -> set[str]:
    """The distributions that `from hyperas.distributions import ...` can name."""
    return {name for name, value in vars(theirs).items() if inspect.isfunction(value)}


def test_each_of_its_distributions_has_its_name_here() -> None:
    assert names_of_theirs() == set(SIGNATURES) - {"uniformint"}  # which hyperas has forgotten


@pytest.mark.parametrize("name", sorted(names_of_theirs() - {"choice", "pchoice"}))
def test_the_parameters_have_their_names_and_order(name: str) -> None:
    parameters = inspect.signature(getattr(stochastic, name)).parameters
    assert tuple(one for one in parameters if one not in INNER) == SIGNATURES[name]


def drawn_by_hyperas(text: str) -> list[Any]:
    """Values that Hyperopt draws from the distribution that hyperas makes of a call."""
    name, _, arguments = text.partition("(")
    made = eval(f"made('x', {arguments}", {"made": getattr(theirs, name)})
    rng = np.random.default_rng(5)
    return [stochastic.sample(made, rng) for _ in range(DRAWS)]


def drawn_here(text: str) -> list[Any]:
    """Values that a sweep draws; options that are no numbers are written as in the file."""
    found = read("x:1", ast.parse(text, mode="eval").body, {})
    rng = np.random.default_rng(6)
    return [found.dimension.decode(found.dimension.draw(rng)) for _ in range(DRAWS)]


CONTINUOUS = [
    "uniform(-1, 2)", "loguniform(-7, 0)", "normal(3, 2)", "lognormal(0, 0.5)",
    "qnormal(0, 20, 2)", "qlognormal(3, 1, 2)", "qloguniform(0, 5, 1)",
]  # fmt: skip


@pytest.mark.parametrize("text", CONTINUOUS)
def test_draws_of_ranges_have_the_same_distribution(text: str) -> None:
    ours, its = drawn_here(text), [float(value) for value in drawn_by_hyperas(text)]
    assert ks_2samp(ours, its).pvalue > CHANCE
    assert len(set(ours)) > 5


LISTED = [
    "choice([16, 32, 64])", "randint(4)", "randint(5, 8)", "choice([0.5, 1, 2])",
    "pchoice([(0.7, 16), (0.1, 32), (0.2, 64)])",
]  # fmt: skip


@pytest.mark.parametrize("text", LISTED)
def test_options_are_the_same_and_as_likely(text: str) -> None:
    ours = Counter(float(value) for value in drawn_here(text))
    its = Counter(float(value) for value in drawn_by_hyperas(text))
    assert set(ours) == set(its)
    table = [[counts[value] for value in sorted(ours)] for counts in (ours, its)]
    assert chi2_contingency(table).pvalue > CHANCE


@pytest.mark.parametrize(
    "text, beyond", [("quniform(0, 12, 4)", set()), ("quniform(2, 11, 4)", {12})]
)
def test_steps_are_the_same_but_for_those_beyond_the_range(text: str, beyond: set[int]) -> None:
    """Its first and last step are half as likely, and may lie beyond the range."""
    low, high = (int(word) for word in text.removeprefix("quniform(").split(", ")[:2])
    its = set(map(int, drawn_by_hyperas(text)))
    assert set(drawn_here(text)) == {value for value in its if low <= value <= high}
    assert its - set(drawn_here(text)) - beyond == set()
