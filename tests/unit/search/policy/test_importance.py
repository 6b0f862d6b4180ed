from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.importance import FEWEST_TRIALS, shares
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space, from_mapping

ROOT = Path(__file__).resolve().parents[4]
SPACE = from_mapping(
    {
        "direction": ["uni", "bi"],
        "learning_rate": [0.001, 0.01, 0.1, 1.0],
        "dropout": {"low": 0.0, "high": 0.8},
        "layer_size": {"low": 32, "high": 512, "step": 16, "scale": "log"},
    },
    "test",
)


def drawn(space: Space, count: int) -> list[TrialConfig]:
    rng = np.random.default_rng(1)
    return [as_lstm_config(space.sample(rng)) for _ in range(count)]


def test_to_import_scikit_learn_leaves_the_environment_as_it_was() -> None:
    program = (
        "import os; before = dict(os.environ)\n"
        "from lstm_sweep.search.policy.importance import shares\n"
        "from tests.unit.search.policy.test_importance import SPACE, drawn\n"
        "assert shares(SPACE, {config: config.dropout for config in drawn(SPACE, 30)})\n"
        "print({**before} == {**os.environ})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_shares_of_an_additive_loss_are_those_of_its_terms() -> None:
    # variance of a uniform term of width w is w^2 / 12; of a fair coin of height h it is h^2 / 4
    def loss(config: TrialConfig) -> float:
        return 3 * config.dropout / 0.8 + (math.sqrt(3) if config.direction == "bi" else 0.0)

    found = shares(SPACE, {config: loss(config) for config in drawn(SPACE, 300)})
    assert found is not None
    assert found["dropout"] == pytest.approx(0.5, abs=0.08)
    assert found["direction"] == pytest.approx(0.5, abs=0.08)
    assert sum(found.values()) == pytest.approx(1.0, abs=0.1)


def test_every_varying_field_has_a_share_and_no_other() -> None:
    losses = {config: config.dropout for config in drawn(presets.DEFAULT, 40)}
    found = shares(presets.DEFAULT, losses)
    assert found is not None and set(found) == set(presets.DEFAULT.varying)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_few_trials_say_nothing() -> None:
    configs = drawn(SPACE, FEWEST_TRIALS)
    assert shares(SPACE, dict.fromkeys(configs[:-1], 1.0)) is None
    assert shares(SPACE, dict.fromkeys(configs, 1.0)) is not None
