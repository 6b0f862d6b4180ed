from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.search.policy.proposer import CANDIDATES, Density, suggest
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

NUMBER = Space({"dropout": Range("dropout", 0.0, 0.8)})
WORD = Space({"optimizer": Listed("optimizer", ("adam", "rmsprop", "sgd"))})
BOTH = Space(
    {
        "optimizer": Listed("optimizer", ("adam", "rmsprop", "sgd")),
        "learning_rate": Listed("learning_rate", (0.001, 0.01, 0.1)),
        "dropout": Range("dropout", 0.0, 0.8),
        "layer_size": Range("layer_size", 32, 512, step=16, log=True),
    }
)


def everything(config: Config) -> bool:
    return True


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def points(space: Space, count: int, seed: int = 1) -> list[dict[str, float]]:
    source = rng(seed)
    return [space.encode(space.sample(source)) for _ in range(count)]


@pytest.mark.parametrize("dropouts", [[], [0.0], [0.8], [0.1, 0.1, 0.7], [0.4] * 30])
def test_the_density_of_a_number_has_area_one(dropouts: list[float]) -> None:
    density = Density(NUMBER, [{"dropout": dropout} for dropout in dropouts])
    grid = (np.arange(20_000) + 0.5) / 20_000
    assert np.exp(density.log(grid[:, None])).mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("places", [[], [0], [2, 2, 1], [0] * 50])
def test_the_density_of_words_sums_up_to_one(places: list[int]) -> None:
    density = Density(WORD, [{"optimizer": place} for place in places])
    assert np.exp(density.log(np.arange(3.0)[:, None])).sum() == pytest.approx(1)


@settings(max_examples=30)
@given(good=st.integers(0, 6), others=st.integers(0, 30), seed=st.integers(0, 1000))
def test_suggestions_are_in_the_space_and_no_two_alike(good: int, others: int, seed: int) -> None:
    known = points(presets.DEFAULT, good + others + 1, seed)
    found = suggest(presets.DEFAULT, known[: good + 1], known[good + 1 :], everything, rng(seed))
    assert len(found) == CANDIDATES == len({config for config, _, _ in found})
    for config, point, _ in found:
        assert presets.DEFAULT.admits(config) and presets.DEFAULT.decode(point) == config


def test_promise_is_the_expected_improvement() -> None:
    good, others = points(BOTH, 3), points(BOTH, 9, seed=2)
    found = suggest(BOTH, good, others, everything, rng())
    units = np.array(
        [
            [
                (point[name] - d.ends[0]) / (d.ends[1] - d.ends[0]) if d.ends else point[name]
                for name, d in BOTH.varying.items()
            ]
            for _, point, _ in found
        ]
    )
    likely, less = (np.exp(Density(BOTH, part).log(units)) for part in (good, others))
    # Bergstra et al., equation 3: EI is proportional to 1 / (share + (1 - share) * g / l)
    expected = 1 / (0.25 + 0.75 * less / likely)
    assert np.exp([acquisition for _, _, acquisition in found]) == pytest.approx(expected)


def test_what_is_learned_of_a_rate_holds_for_sizes_that_were_never_tried() -> None:
    """A rate is good and another bad on small networks: on large ones the good one comes first."""
    small = [float(BOTH["layer_size"].encode(size)) for size in (32, 48, 64, 80)]

    def at(rate: int, size: float) -> dict[str, float]:
        return {"optimizer": 0.0, "learning_rate": rate, "dropout": 0.4, "layer_size": size}

    good = [at(1, size) for size in small]
    others = [at(rate, size) for rate, size in itertools.product((0, 2), small)]
    share = 0
    for seed in range(20):
        found = suggest(BOTH, good, others, lambda c: as_lstm_config(c).layer_size > 256, rng(seed))
        share += as_lstm_config(found[0][0]).learning_rate == 0.01
    assert share >= 19
