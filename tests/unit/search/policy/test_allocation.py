from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy.pausing import Contender, Standings

RUNGS = (1, 3, 9)


@dataclass
class Plain:
    """All trials that have a loss, compared anew each time."""

    contenders: dict[int, Contender]
    forecasts: list[float]

    def leaders(self, places: int) -> list[int]:
        ended = (c.best_so_far[-1] for c in self.contenders.values() if c.ended)
        best = min(ended, default=math.inf)
        going = [n for n, c in self.contenders.items() if not c.ended and self.forecasts[n] < best]
        return sorted(going, key=self._by_forecast)[:places]

    def best(self) -> int | None:
        return min(self.contenders, key=self._by_forecast, default=None)

    def best_paused(self, among: set[int] | None) -> int | None:
        paused = [n for n, c in self.contenders.items() if c.paused]
        chosen = [n for n in paused if among is None or n in among]
        return min(chosen, key=self._by_forecast, default=None)

    def rank(self, number: int) -> tuple[int, int]:
        own = self.contenders[number]
        rung = self._rung(number)
        if rung == 0:
            return 1, 1
        there = [loss_at(rung, c) for c in self.contenders.values() if rounds_of(c) >= rung]
        return 1 + sum(loss < loss_at(rung, own) for loss in there), len(there)

    def to_promote(self, leaders: list[int]) -> int | None:
        paused = [n for n, c in self.contenders.items() if c.paused and n not in leaders]
        promoted = [n for n in paused if self.is_promoted(n)]
        return min(promoted, key=self._by_rung, default=None)

    def is_promoted(self, number: int) -> bool:
        place, reached = self.rank(number)
        rung, own = self._rung(number), self._at_rung(number)
        earlier = (
            loss_at(before, one) < own
            for one in self.contenders.values()
            for before in RUNGS
            if before < rung and before <= rounds_of(one)
        )
        return place <= reached // 3 and not any(earlier)

    def _rung(self, number: int) -> int:
        rounds = rounds_of(self.contenders[number])
        return max((rung for rung in RUNGS if rung <= rounds), default=0)

    def _by_forecast(self, number: int) -> tuple[float, int]:
        return self.forecasts[number], number

    def _by_rung(self, number: int) -> tuple[int, float, int]:
        return -self._rung(number), self._at_rung(number), number

    def _at_rung(self, number: int) -> float:
        one, rung = self.contenders[number], self._rung(number)
        return loss_at(rung, one) if rung else one.best_so_far[0]


def rounds_of(one: Contender) -> int:
    return len(one.best_so_far)


def loss_at(rung: int, one: Contender) -> float:
    """At a rung before which it was not compared, but after which it was before the next one."""
    following = min((later for later in RUNGS if later > rung), default=math.inf)
    late = rung < one.judged_from < following
    return one.best_so_far[(one.judged_from if late else rung) - 1]


LOSSES = st.sampled_from([3.0, 2.5, 2.0, 1.5])
TRIALS = st.tuples(
    st.integers(0, 80), st.lists(LOSSES, max_size=10), st.sampled_from(["runs", "waits", "ended"])
)


@given(st.lists(TRIALS, max_size=40), st.lists(LOSSES, min_size=81, max_size=81), st.data())
def test_what_is_kept_up_to_date_is_what_is_compared_anew(
    puts: list[tuple[int, list[float], str]], forecasts: list[float], data: st.DataObject
) -> None:
    """Of many trials, some of which are alike; one without a round has failed."""
    kept, plain = Standings(RUNGS, lambda: np.array(forecasts)), Plain({}, forecasts)
    for number, losses, state in puts:
        if losses:
            best = list(itertools.accumulate(losses, min))
            since = data.draw(st.integers(1, len(best)))
            one = Contender(number, best, state == "ended", state == "waits", since)
            kept.put(one)
            plain.contenders[number] = one
        else:
            kept.drop(number)
            plain.contenders.pop(number, None)
        assert (number in kept) == bool(losses)
    places = data.draw(st.integers(1, 5))
    leaders = plain.leaders(places)
    assert kept.leaders(places) == leaders
    assert kept.best() == plain.best()
    assert kept.to_promote(leaders) == plain.to_promote(leaders)
    for among in (None, set(leaders), set(range(40))):
        assert kept.best_paused(among) == plain.best_paused(among)
    for number in plain.contenders:
        assert kept.rank(number) == plain.rank(number)
        assert kept.is_promoted(number) == plain.is_promoted(number)
        assert kept.is_leader(number, places) == (number in leaders)
