from __future__ import annotations

import math

from lstm_sweep.search.policy.experience import distilled
from lstm_sweep.search.policy.problem import admits_all
from lstm_sweep.search.sweep.shipped_past import FILE, shipped
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed


def test_sweeps_of_several_corpora_ship_with_the_program() -> None:
    found = shipped()
    assert len(found) >= 3 and FILE.stat().st_size < 50_000
    for sweep in found:
        behind = [one.behind for one in sweep.trials]
        assert behind == sorted(behind) and behind[0] == 0 and behind[-1] <= 1
        assert len(behind) > 20 and not sweep.same_corpus
        multiples = [one.multiple for one in sweep.trials]
        assert all(rate is not None and 0 < rate < math.inf for rate in multiples)


def test_none_of_them_is_of_a_corpus_that_is_held_out() -> None:
    assert "large" not in FILE.read_text(encoding="utf-8")


def test_the_default_space_gets_openings_from_them() -> None:
    found = distilled(presets.DEFAULT, admits_all, shipped())
    assert found.first == () and found.later
    assert all(presets.DEFAULT.admits(one.config) for one in found.later)


def test_what_rmsprop_found_is_proposed_to_adam_but_not_to_sgd() -> None:
    found = shipped()
    assert {one.config.optimizer for sweep in found for one in sweep.trials} == {"rmsprop"}
    adam, rmsprop, sgd = (
        distilled(
            presets.DEFAULT.replace(optimizer=Listed("optimizer", (name,))), admits_all, found
        ).later
        for name in ("adam", "rmsprop", "sgd")
    )
    assert {one.config.optimizer for one in adam} == {"adam"}
    assert [one.config.evolve(optimizer="rmsprop") for one in adam] == [
        one.config for one in rmsprop
    ]
    assert [one.multiple for one in adam] == [one.multiple for one in rmsprop]
    # its rates are others, so less is known of it
    assert [one.config.evolve(optimizer="rmsprop") for one in sgd] != [
        one.config for one in rmsprop
    ]
