from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.experience import (
    MOST_OPENINGS,
    NO_EXPERIENCE,
    Experience,
    Opening,
)
from lstm_sweep.search.store.experience_tags import experience_tags, read_experience
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import TAG_LENGTH

FOUND = Experience(
    (Opening(TrialConfig(layers=3, dropout=0.25), 1.5),),
    (Opening(TrialConfig(layers=1)), Opening(TrialConfig(direction="bi"), 0.3)),
    0.4,
)


def tags_of(**given: str) -> Tags:
    run = SimpleNamespace(info=SimpleNamespace(run_id="r1"), data=SimpleNamespace(tags=given))
    return Tags(run)


def read(written: Any) -> Experience:
    text = written if isinstance(written, str) else json.dumps(written)
    return read_experience(tags_of(**{Tag.EXPERIENCE: text}))


def test_what_is_written_is_read_back() -> None:
    assert read_experience(tags_of(**experience_tags(FOUND))) == FOUND


def test_a_sweep_that_began_with_nothing_has_no_tag() -> None:
    assert experience_tags(NO_EXPERIENCE) == {}
    assert read_experience(tags_of()) == NO_EXPERIENCE


def test_as_many_openings_as_there_may_be_fit_into_a_tag() -> None:
    config = TrialConfig(learning_rate=0.0123456789, dropout=0.123456789, precision="bfloat16")
    openings = tuple(Opening(config, 1.23456789012345) for _ in range(MOST_OPENINGS))
    full = Experience(openings, openings, 0.123456789)
    assert len(experience_tags(full)[Tag.EXPERIENCE]) < TAG_LENGTH
    assert read_experience(tags_of(**experience_tags(full))) == full


GOOD = json.loads(experience_tags(FOUND)[Tag.EXPERIENCE])


NO_RATES: list[Any] = [None, 0, 1e300, "1", True]
NO_OPENINGS: list[Any] = [None, {}, "x", [1], [[1]], [[1, []]]]


@pytest.mark.parametrize(
    "written",
    [
        *("", "no JSON", "[]", "{}", "null", "[" * 50_000),
        *(GOOD | {"pace": pace} for pace in NO_RATES),
        *(GOOD | {"first": wrong} for wrong in NO_OPENINGS),
        *(GOOD | {"later": [[rate, {}]]} for rate in NO_RATES),
        GOOD | {"later": [[1.0, {}]] * 99},
    ],
    ids=lambda written: repr(written)[:40],
)
def test_what_no_sweep_has_written_is_refused_in_a_line(written: Any) -> None:
    with pytest.raises(
        BadRunError, match=r"^run r1: tag sweep\.experience is .*: expected"
    ) as told:
        read(written)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


@pytest.mark.parametrize("values", [{"layers": 99}, {"size": 1}, {"dropout": "much"}])
def test_an_opening_that_is_no_config_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(BadRunError, match=r"^run r1: tag sweep\.experience: .*(expected|possible)"):
        read(GOOD | {"first": [[1.0, values]]})
