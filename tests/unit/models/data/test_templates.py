"""Templates are mined as `drain3` mines them, and matched without a miss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from drain3.drain import Drain
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.service_log import service_log
from lstm_sweep.models.data.templates import (
    MASKS,
    WILDCARD,
    Matcher,
    Miner,
    TemplateSettings,
    read_settings,
)
from lstm_sweep.models.errors import InputError

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d1", "e"]), min_size=1, max_size=5)


def groups(numbers: list[int | None]) -> list[int]:
    """Which of the first lines each has the group of."""
    return [numbers.index(one) for one in numbers]


def theirs(lines: list[list[str]], settings: TemplateSettings) -> tuple[list[int], set[str]]:
    """Groups of lines as `drain3` finds them, and its templates."""
    drain = Drain(settings.depth, settings.sim_th, settings.max_children)
    found = [drain.add_log_message(" ".join(line))[0].cluster_id for line in lines]
    return groups([*found]), {one.get_template() for one in drain.clusters}


@pytest.mark.parametrize(
    ("sim_th", "depth", "masks"),
    [(0.4, 4, MASKS), (0.4, 6, MASKS[-1:]), (0.7, 5, ()), (0.2, 3, MASKS)],
)
def test_lines_of_services_are_grouped_as_drain3_groups_them(
    sim_th: float, depth: int, masks: tuple[tuple[str, str], ...]
) -> None:
    settings = TemplateSettings(sim_th=sim_th, depth=depth, masking=masks, max_children=8)
    mask = settings.mask()
    lines = [settings.tokens(mask(line)) for line in service_log(150)]
    miner = Miner(settings)
    ours = groups([miner.add(line) for line in lines])
    assert (ours, {*miner.templates()}) == theirs(lines, settings)


@given(lines=st.lists(WORDS, max_size=40), depth=st.integers(3, 6), most=st.integers(2, 5))
def test_any_lines_are_grouped_as_drain3_groups_them(
    lines: list[list[str]], depth: int, most: int
) -> None:
    settings = TemplateSettings(depth=depth, max_children=most)
    miner = Miner(settings)
    ours = groups([miner.add(line) for line in lines])
    assert (ours, {*miner.templates()}) == theirs(lines, settings)


@given(lines=st.lists(WORDS, min_size=1, max_size=40))
def test_each_line_that_was_mined_has_a_template(lines: list[list[str]]) -> None:
    miner = Miner(TemplateSettings(sim_th=0.3))
    for line in lines:
        miner.add(line)
    templates = miner.templates()
    matcher = Matcher(templates)
    for line in lines:
        number = matcher.number(line)
        assert number is not None
        parts = templates[number].split()
        assert all(part in (word, WILDCARD) for part, word in zip(parts, line, strict=True))


@pytest.mark.parametrize(
    ("line", "template"),
    [
        ("a b c", 0),
        ("a x c", 1),
        ("z x c", 2),
        ("z x d", None),
        ("a b", None),
        ("k=1:2 m", 3),
        ("k=1 m", None),
        ("k=aa: m", 3),
        ("k=: m", 3),
    ],
)
def test_the_template_that_fixes_most_is_found(line: str, template: int | None) -> None:
    matcher = Matcher(["a b c", "a <*> c", "<*> <*> c", "k=<*>:<*> m"])
    assert matcher.number(line.split()) == template


def test_masks_are_taken_in_their_order() -> None:
    mask = TemplateSettings().mask()
    text = "blk_-1608 f81d4fae-7dec-11d0-a765-00a0c91e6bf6 10.0.0.1:80 0xff deadbeef01 35ms -1.5 x2"
    assert mask(text) == "<BLK> <UUID> <IP> <HEX> <HEX> <NUM>ms -<NUM> x2"
    groups_inside = (("(a)(b)?", "AB"), ("(?P<c>c)", "C"))
    assert TemplateSettings(masking=groups_inside).mask()("a ab c d") == "<AB> <AB> <C> d"


def test_separators_and_length_are_those_of_the_settings() -> None:
    settings = TemplateSettings(extra_delimiters=("=", ","))
    assert settings.tokens("a=1,b=2") == ["a", "1", "b", "2"]
    assert settings.tokens("") == ["<empty>"]
    assert len(settings.tokens("x " * 1000)) == 128


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sim: 1", "'sim' is no field: did you mean 'sim_th'?"),
        ("sim_th: 2", "sim_th is 2: expected"),
        ("depth: 2", "depth is 2: expected"),
        ("[1]", "found [1], expected fields such as `sim_th: 0.4`"),
        ("masking: 5", "masking is 5: expected a list"),
        ("masking: [5]", "masking has 5: expected regex_pattern and mask_with"),
        ("masking: [{regex_pattern: '(', mask_with: A}]", "regex_pattern is '(': expected a regul"),
        (
            "masking: [{regex_pattern: 'a', mask_with: 'A B'}]",
            "mask_with is 'A B': expected a word",
        ),
        ("extra_delimiters: ['']", "extra_delimiters has '': expected texts"),
    ],
)
def test_bad_settings_are_refused_in_one_line(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{file}: {why}")):
        read_settings(str(file))


def test_settings_of_drain3_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "sim_th: 0.5\ndepth: 5\nmax_children: 50\nextra_delimiters: [_]\n"
        r"masking: [{regex_pattern: '((?<=[^A-Za-z0-9])|^)(\d+)', mask_with: N}]"
    )
    settings = read_settings(str(file))
    assert (settings.sim_th, settings.depth, settings.extra_delimiters) == (0.5, 5, ("_",))
    assert settings.mask()("a 12 b3") == "a <N> b3"
    assert TemplateSettings.from_dict(settings.to_dict()) == settings


def test_a_mask_of_nothing_is_refused_when_it_is_used() -> None:
    slow = "(?:|()|(?:))" * 40 + "(?!)"  # for ever, of an empty text
    settings = TemplateSettings(masking=((r"\d+", "NUM"), ("a*", "A"), (slow, "B")))
    with pytest.raises(InputError, match=r"regex_pattern 'a\*' matches an empty text, expected"):
        settings.mask()
