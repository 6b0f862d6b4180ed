from __future__ import annotations

import ast

import numpy as np
import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.spaces.dimension import Dimension
from lstm_sweep.spaces.template.distributions import read


def dimension(text: str, names: str = "") -> Dimension:
    """The dimension of a distribution, with what is assigned above it."""
    known = {
        statement.targets[0].id: statement.value
        for statement in ast.parse(names).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    return read("a:1", ast.parse(text, mode="eval").body, known).dimension


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("choice([32, 16])", [16, 32]),
        ("choice((0.5, 1, 10 ** -1))", [0.1, 0.5, 1]),
        ("choice([1, None])", ["1", "None"]),
        ("choice([True, False])", ["True", "False"]),
        ("choice(['a', 'b'])", ["'a'", "'b'"]),
        ("choice(options=[Dropout(.5), Activation('linear')])",
         ["Dropout(0.5)", "Activation('linear')"]),
        ("choice(SIZES)", [4, 8]),
        ("hp.choice([-1, +1])", [-1, 1]),
        ("choice(range(10, 150, 50))", [10, 60, 110]),
        ("choice(list(range(3)))", [0, 1, 2]),
        ("choice(np.arange(8, 12))", [8, 9, 10, 11]),
        ("choice(np.arange(0.5, 2, step=0.5).tolist())", [0.5, 1.0, 1.5]),
        ("choice(np.linspace(0, 1, 3))", [0.0, 0.5, 1.0]),
        ("choice(np.linspace(8, 16, num=2))", [8.0, 16.0]),
        ("choice([2 ** i for i in (3, 4)] + [100])", [8, 16, 100]),
        ("choice([10 * i for i in SIZES])", [40, 80]),
        ("choice([*SIZES, 16])", [4, 8, 16]),
        ("choice(list(LAYERS.keys()))", ["'dense'", "'lstm'"]),
        ("choice(list(LAYERS))", ["'dense'", "'lstm'"]),
        ("pchoice([(0.5, a), (0.25, b), (0.25, a)])", ["a", "b"]),
        ("pchoice([(0.25, 16), (0.75, LSTM)])", ["16", "LSTM"]),
        ("randint(3)", [0, 1, 2]),
        ("randint(5, 8)", [5, 6, 7]),
        ("randint(low=5, high=8)", [5, 6, 7]),  # breaks Hyperopt's TPE
        ("uniformint(2, 4)", [2, 3, 4]),
        ("quniform(2, 11, 4)", [4, 8]),  # Hyperopt draws 12, and 4 less often
        ("quniform(10, 100, 20)", [20, 40, 60, 80, 100]),
        ("quniform(0, 0.3, 0.1)", [0.0, 0.1, 0.2, 0.3]),
        ("quniform(16.0, 48, q=16)", [16, 32, 48]),
        ("quniform(-4, 4, 4)", [-4, 0, 4]),
        ("quniform(3, 5, 4)", [4]),
        ("qloguniform(0, log(20), 5)", [5, 10, 15, 20]),
        ("qloguniform(-25, log(3), 1)", [1, 2, 3]),
        ("randint(1600000000000, 1600000000003)", [1600000000000 + i for i in range(3)]),
        ("quniform(10**12, 10**12 + 2, 1)", [10**12, 10**12 + 1, 10**12 + 2]),
    ],
)  # fmt: skip
def test_a_distribution_has_these_values(text: str, values: list[object]) -> None:
    names = "SIZES = [4, 8]\nLAYERS = {'dense': Dense, 'lstm': LSTM}"
    found = dimension(text, names).values()
    assert found == values
    assert list(map(type, found or [])) == list(map(type, values))


@pytest.mark.parametrize(
    "text",
    ["uniform(0, 1)", "quniform(1, 9, 2)", "loguniform(-7, 0)", "normal(0, 1)", "lognormal(0, 1)",
     "qlognormal(1, 1, 1)", "choice([1, 2])", "choice([a, b])", "pchoice([(0.5, a), (0.5, b)])"],
)  # fmt: skip
def test_hyperopt_draws_what_can_be_decoded(text: str) -> None:
    import hyperopt

    found = dimension(text)
    for seed in range(20):
        raw = hyperopt.pyll.stochastic.sample(found.expression(), rng=np.random.default_rng(seed))
        value = found.decode(float(raw))
        assert value in found
        assert found.decode(found.encode(value)) == value


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3", ["found {{3}}", "choice([16, 32])"]),
        ("{1, 2}", ["found {{{1, 2}}}", "expected a distribution"]),
        ("unifrom(0, 1)", ["'unifrom'", "did you mean 'uniform'?", "possible: choice, pchoice"]),
        ("uniform(0)", ["found uniform(0)", "expected uniform(low, high)"]),
        ("uniform(0, hihg=1)", ["expected uniform(low, high)"]),
        ("uniform(*ends)", ["expected uniform(low, high)"]),
        ("uniform(1, 1)", ["from 1 to 1", "the low end below the high"]),
        ("uniform('a', 1)", ["low of uniform is \"'a'\"", "expected a number"]),
        ("uniform(0, x)", ["high of uniform is 'x'", "expected a number"]),
        ("uniform(0, True)", ["high of uniform is 'True'", "expected a number"]),
        ("uniform(0, 9 ** 9 ** 9 ** 9)", ["high of uniform", "expected a number"]),
        ("uniform(0, log(-1))", ["high of uniform", "expected a number"]),
        ("uniform(0, A)", ["high of uniform is 'A'", "expected a number"]),
        ("quniform(0, 10, 0)", ["q of quniform is 0", "above 0"]),
        ("quniform(1, 3, 4)", ["no multiple of 4", "expected one at least"]),
        ("quniform(0, 1, 1e-7)", ["10,000,000 steps", "at most 100,000"]),
        ("randint(0)", ["no multiple of 1"]),
        ("randint(0.5, 3)", ["from 0.5 to 3", "whole numbers"]),
        ("uniformint(1, 2.5)", ["from 1 to 2.5", "whole numbers"]),
        ("loguniform(1, 1000)", ["takes logarithms", "loguniform(log(0.0001), log(0.1))"]),
        ("normal(0, 0)", ["sigma of normal is 0", "above 0"]),
        ("lognormal(0, 1000)", ["takes logarithms", "lognormal(-7, 2)"]),
        ("quniform(0, 1e300, 1e-300)", ["is too wide: expected numbers nearer"]),
        ("choice([])", ["options of choice are '[]'", "a list such as [16, 32]"]),
        ("choice([*a, 16])", ["options of choice are '[*a, 16]'"]),
        ("choice(16, 32)", ["expected choice(options)"]),
        ("choice(sizes())", ["options of choice are 'sizes()'", "a list such as [16, 32]"]),
        ("choice(range(10 ** 9))", ["options of choice are 'range(10 ** 9)'"]),
        ("choice(np.arange(1, 9, 1e-9))", ["options of choice are 'np.arange("]),
        ("choice(np.linspace(0, 1, 10 ** 9))", ["options of choice are 'np.linspace("]),
        ("choice([0] * 10 ** 9)", ["options of choice are '[0] * 10 ** 9'"]),
        ("pchoice([1, 2])", ["pchoice have '1'", "pairs such as (0.3, 16)"]),
        ("pchoice([(0.3, 1), (0.3, 2)])", ["shares of pchoice are 0.3, 0.3", "1 in all"]),
        ("pchoice([(0, 1), (1, 2)])", ["shares of pchoice are 0, 1", "above 0"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_distribution_is_said(text: str, named: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        dimension(text, "A = B\nB = A")
    for part in named:
        assert part in str(caught.value)
