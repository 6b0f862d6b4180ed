from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy import arrays
from lstm_sweep.search.policy.forecast import Curve, Forecast, Forecasts, forecasts

#: of trials of 27 rounds
RUNGS = (1, 3, 9, 27)


def curve(losses: Sequence[float], *features: float, over: bool = False) -> Curve:
    found = Curve.of(list(accumulate(losses, min)), RUNGS, features, over=over)
    assert found
    return found


def power(rounds: int, slope: float, scale: float = 3.0) -> list[float]:
    """Losses that fall as a power of the rounds."""
    return [scale * number**-slope for number in range(1, rounds + 1)]


loss = st.floats(1e-6, 1e6) | st.just(math.inf)
curves_of_many = st.dictionaries(
    st.integers(0, 1_000),
    st.builds(
        lambda losses, features, over: Curve.of(
            list(accumulate(losses, min)), RUNGS, features, over=over
        ),
        st.lists(loss, min_size=1, max_size=27),
        st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
        st.booleans(),
    ).filter(bool),
    max_size=12,
)


def test_the_lowest_losses_at_rungs_are_kept() -> None:
    assert Curve.of([3.0, 2.5, 2.5, 2.0], RUNGS, (1,)) == Curve(4, 2.0, (3.0, 2.5), (1,))


@pytest.mark.parametrize("best_so_far", [[], [math.inf, math.inf]])
def test_a_trial_without_a_loss_has_no_curve(best_so_far: list[float]) -> None:
    assert Curve.of(best_so_far, RUNGS) is None


def test_without_a_trial_there_is_no_forecast() -> None:
    assert forecasts({}, RUNGS) == {}


def test_a_trial_of_which_nothing_is_known_may_keep_what_it_has() -> None:
    found = forecasts({0: curve([3.0])}, RUNGS)[0]
    assert found.low < found.loss < found.high == 3.0


def test_power_laws_are_taken_on_to_the_end() -> None:
    known = {number: curve(power(27, 0.3, 2 + number)) for number in range(6)}
    known[9] = curve(power(1, 0.3, 5.0))
    assert forecasts(known, RUNGS)[9].loss == pytest.approx(5.0 * 27**-0.3, rel=0.02)


@pytest.mark.parametrize("rounds", [1, 2, 3, 8, 20])
def test_from_wherever_a_trial_has_come_it_is_as_far_to_the_end(rounds: int) -> None:
    known = {number: curve(power(27, 0.3)) for number in range(6)}
    known[9] = curve(power(rounds, 0.3))
    assert forecasts(known, RUNGS)[9].loss == pytest.approx(3 * 27**-0.3, rel=0.03)


def test_a_curve_that_goes_up_and_down_counts_by_its_lowest_losses() -> None:
    known = {number: curve(power(27, 0.3)) for number in range(6)}
    rough = [*power(9, 0.3)[:8], 9.0]
    smooth = [*power(9, 0.3)[:8], power(8, 0.3)[-1]]
    of_rough = forecasts({**known, 9: curve(rough)}, RUNGS)[9]
    assert of_rough == forecasts({**known, 9: curve(smooth)}, RUNGS)[9]


def test_what_a_config_has_done_for_others_it_is_expected_to_do() -> None:
    """Networks with a feature of 1 fall faster; from the same loss at the first rung."""
    slopes = {0: 0.1, 1: 0.4}
    known = {number: curve(power(9, slopes[number % 2]), float(number % 2)) for number in range(12)}
    known |= {20: curve([3.0], 0.0), 21: curve([3.0], 1.0)}
    found = forecasts(known, RUNGS)
    assert found[21].loss < 0.75 * found[20].loss


def test_a_feature_has_the_influence_that_is_expected_until_curves_tell_another() -> None:
    young = {20: curve([3.0], 0.0), 21: curve([3.0], 1.0)}
    none, some = (forecasts(young, RUNGS, weights) for weights in ((), (-0.2,)))
    assert none[20].loss == none[21].loss
    assert some[21].loss < some[20].loss
    steps = [math.log(3.0 / some[number].loss) for number in (20, 21)]
    assert steps[1] - steps[0] == pytest.approx(0.2 * statistics.fmean(steps))
    slopes = {0: 0.4, 1: 0.1}
    known = {
        number: curve(power(27, slopes[number % 2]), float(number % 2)) for number in range(12)
    }
    found = forecasts(known | young, RUNGS, (-0.2,))
    assert found[21].loss > found[20].loss


def test_without_features_trials_keep_their_order_at_a_rung() -> None:
    known = {number: curve(power(27, 0.2 + 0.02 * number)) for number in range(6)}
    known |= {10 + number: curve([3.0 + number]) for number in range(4)}
    found = forecasts(known, RUNGS)
    assert [found[10 + number].loss for number in range(4)] == pytest.approx(
        [found[10].loss * (3.0 + number) / 3.0 for number in range(4)]
    )


def test_the_further_a_trial_has_come_the_surer_is_its_end() -> None:
    chance = random.Random(0)
    known = {
        number: curve(power(27, chance.uniform(0.2, 0.4)), chance.random()) for number in range(9)
    }
    known |= {20 + rounds: curve(power(rounds, 0.3), 0.5) for rounds in (1, 3, 9, 20, 27)}
    found = forecasts(known, RUNGS)
    widths = [found[20 + n].high / found[20 + n].low for n in (1, 3, 9, 20, 27)]
    assert widths == sorted(widths, reverse=True)
    assert found[47].low == found[47].high == pytest.approx(3 * 27**-0.3)


def test_a_trial_that_stands_still_within_a_step_is_expected_to_gain_little() -> None:
    known = {number: curve(power(27, 0.3)) for number in range(6)}
    known[9] = curve(power(20, 0.3))
    known[10] = curve(power(9, 0.3) + [9.0] * 11)
    found = forecasts(known, RUNGS)
    gained, still = (1 - found[number].loss / known[number].lowest for number in (9, 10))
    assert still < gained / 2


def test_steps_that_have_become_small_stay_small() -> None:
    """Curves that fall to a floor by their second rung; nobody has come to the end."""
    known = {number: curve([3.0, 1.5, *[1.0] * (7 if number < 3 else 1)]) for number in range(9)}
    assert forecasts(known, RUNGS)[0].loss > 0.7 * 1.0


def test_a_trial_that_goes_no_further_keeps_what_it_has() -> None:
    known = {number: curve(power(27, 0.3)) for number in range(6)}
    known[9] = curve(power(3, 0.3), over=True)
    lowest = known[9].lowest
    assert forecasts(known, RUNGS)[9] == Forecast(lowest, lowest, lowest)


@pytest.mark.parametrize("lowest", [0.0, -2.0])
def test_losses_without_a_logarithm_are_kept(lowest: float) -> None:
    known = {0: curve(power(27, 0.3)), 1: curve([1.0, 0.5, lowest])}
    assert forecasts(known, RUNGS)[1] == Forecast(lowest, lowest, lowest)


def test_trials_without_a_rung_below_their_end_keep_what_they_have() -> None:
    one = Curve.of([2.0], (1,))
    assert one and forecasts({0: one}, (1,)) == {0: Forecast(2.0, 2.0, 2.0)}


@given(curves_of_many)
def test_no_forecast_is_above_what_a_trial_has(known: Mapping[int, Curve]) -> None:
    found = forecasts(known, RUNGS)
    assert set(found) == set(known)
    for number, one in found.items():
        assert 0 <= one.low <= one.loss <= one.high <= known[number].lowest


@given(curves_of_many, st.randoms())
def test_the_order_of_trials_does_not_matter(
    known: Mapping[int, Curve], chance: random.Random
) -> None:
    shuffled = list(known.items())
    chance.shuffle(shuffled)
    assert forecasts(dict(shuffled), RUNGS) == forecasts(known, RUNGS)


@given(curves_of_many, st.randoms())
def test_the_numbers_of_trials_do_not_matter(
    known: Mapping[int, Curve], chance: random.Random
) -> None:
    numbers = list(known)
    chance.shuffle(numbers)
    named = dict(zip(known, numbers, strict=True))
    again = forecasts({named[number]: one for number, one in known.items()}, RUNGS)
    for number, one in forecasts(known, RUNGS).items():
        assert again[named[number]].loss == pytest.approx(one.loss, rel=1e-6)


def kept_up_to_date(chance: random.Random, trials: int) -> tuple[Forecasts, dict[int, Curve]]:
    """Forecasts of trials that report and fail in any order, asked for after each, and curves."""
    kept, known = Forecasts(RUNGS), dict[int, Curve]()
    for _ in range(4 * trials):
        number, rounds = chance.randrange(trials), chance.randrange(1, 27)
        one = None
        if number not in known or chance.random() > 0.1:
            one = curve(power(rounds, chance.uniform(0.1, 0.5)), chance.gauss(0, 1))
        kept.put(number, one)
        known |= {number: one} if one else {}
        if one is None:
            del known[number]
        kept.losses()
    return kept, known


def test_forecasts_that_are_kept_up_to_date_are_those_made_at_once() -> None:
    kept, known = kept_up_to_date(random.Random(0), 30)
    found = kept.losses()
    expected = {number: one.loss for number, one in forecasts(known, RUNGS).items()}
    assert {number: found[number] for number in known} == expected
    assert set(np.flatnonzero(np.isfinite(found))) == set(known)


def test_of_many_trials_those_that_have_changed_are_told_at_once_and_all_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "FEW", 5)
    kept, known = kept_up_to_date(random.Random(1), 40)
    assert set(np.flatnonzero(np.isfinite(kept.losses()))) == set(known)
    at_once = {number: one.loss for number, one in forecasts(known, RUNGS).items()}
    for number, loss in at_once.items():
        assert kept.losses()[number] == pytest.approx(loss, rel=0.1)
    for change in range(8):  # a fifth of 40, by which all are made anew; one round shows no step
        known[0] = curve([2.0 + change], 0.0)
        kept.put(0, known[0])
        kept.losses()
    found = kept.losses()
    expected = {number: one.loss for number, one in forecasts(known, RUNGS).items()}
    assert {number: found[number] for number in known} == pytest.approx(expected, rel=1e-9)
