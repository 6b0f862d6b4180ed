"""Whatever is given, it is taken or refused in one short line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import FIELDS
from lstm_sweep.models.data.corpus import Corpus, load
from lstm_sweep.models.data.source import SAMPLES, SYMBOLS, Source
from lstm_sweep.models.documents import read_yaml
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.values.spec import SweepSpec, read_spec
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.space import Space, from_file, from_mapping, with_settings

always = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def taken_or_refused(make: Callable[[], object], kind: type) -> None:
    """Check that `make` returns a `kind`, or refuses in one short line."""
    try:
        made = make()
    except InputError as refusal:
        message = str(refusal)
        assert message and message.isprintable()
        assert len(message) < 1_100
    else:
        assert isinstance(made, kind)
        if isinstance(made, SweepSpec):
            assert SweepSpec.from_mapping(made.to_dict(), "again").digest() == made.digest()
            made = made.space
        if isinstance(made, Space):
            assert made.admits(made.sample(np.random.default_rng(0)))


# corpora -------------------------------------------------------------------------------------

#: pieces of files of text and of ids, good ones and bad ones
pieces = st.sampled_from(
    [
        *(b"1", b"23", b" ", b"\n", b"\r\n", b"\t", b"0", b"9" * 18, b"9" * 19, b"-3", b"3.5"),
        *(b"the sun", b"\0", b"\xff", b"\xc3\xa9", b"\xe2\x82", b"\xef\xbb\xbf", b"x" * 500),
        *("\u2028".encode(), "\u0664".encode(), b"\xed\xa0\x80", b"\x1b[2J"),
    ]
)
contents = st.binary(max_size=300) | st.lists(pieces, max_size=40).map(b"".join)


@pytest.mark.parametrize("symbols", SYMBOLS)
@given(first=contents, second=st.none() | contents)
@always
def test_any_file_is_a_corpus_or_is_refused(
    tmp_path: Path, symbols: str, first: bytes, second: bytes | None
) -> None:
    (tmp_path / "a").write_bytes(first)
    (tmp_path / "b").unlink(missing_ok=True)
    if second is not None:
        (tmp_path / "b").write_bytes(second)
    data = str(tmp_path if second is not None else tmp_path / "a")
    try:
        corpus = load(Source(data=data, symbols=symbols))
    except InputError as refusal:
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 500
    else:
        assert isinstance(corpus, Corpus)
        assert all(len(split) for split in corpus.splits().values())


@given(data=st.text(max_size=300) | st.text("ab/.~\0\n", max_size=2_000))
@always
def test_any_path_is_refused_or_means_something(data: str) -> None:
    try:
        source = Source(data=data).resolve()
    except InputError as refusal:
        assert str(refusal).isprintable()
        assert len(str(refusal)) < 500
    else:
        assert source.data in SAMPLES or Path(source.data).is_absolute()


# files of sweeps and spaces ----------------------------------------------------------------------

FIELDS_OF_SWEEPS = list(SweepSpec.__dataclass_fields__)
RANGE = ["low", "high", "step", "scale"]

numbers = st.one_of(
    st.integers(-5, 200),
    st.integers(),
    st.sampled_from([10**400, -(10**300), 2**64, 2**64 + 1]),
    st.integers(4_300, 5_000).map(lambda digits: 10**digits),  # which `repr` refuses
    st.floats(),
)
words = st.sampled_from(
    [*FIELDS, *FIELDS_OF_SWEEPS, "uni", "bi", "log", "adam", "tpe", "default", "quick", "0..1"]
)
scalars = st.one_of(
    st.none(), st.booleans(), numbers, words, st.text(max_size=30), st.binary(max_size=5),
    st.dates(), st.just("x" * 10_000),
)  # fmt: skip
keys = st.one_of(words, st.sampled_from(RANGE), st.text(max_size=20), st.integers(), st.none())
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
ranges = st.fixed_dictionaries(
    {"low": numbers, "high": numbers},
    optional={"step": numbers, "scale": st.sampled_from(["log", "linear", 3, "x"])},
)
values = nested | ranges | st.lists(numbers, max_size=3)
spaces = st.dictionaries(st.sampled_from(FIELDS), values, min_size=1, max_size=3)
sweeps = st.dictionaries(st.sampled_from(FIELDS_OF_SWEEPS), values | spaces, max_size=3)


@given(content=nested | sweeps)
@always
def test_any_content_of_a_sweep_is_a_spec_or_is_refused(content: Any) -> None:
    if isinstance(content, dict):
        taken_or_refused(lambda: SweepSpec.from_mapping(content, "sweep.yaml"), SweepSpec)


@given(content=nested | spaces)
@always
def test_any_content_of_a_space_is_a_space_or_is_refused(content: Any) -> None:
    taken_or_refused(lambda: from_mapping(content, "space.yaml"), Space)


yaml_pieces = st.sampled_from(
    [
        *("trials", "space", "layers", "dropout", "low", "name", "data", "python-docs", "split"),
        *(": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "? ", "'", '"', "#", "|", ">", "\t"),
        *("&a ", "*a", "<<", "!!int ", "!!binary ", "!!set ", "!!timestamp ", "!x ", "%YAML 1.1"),
        *("---\n", "...", "1", "0.5", "1e3", "0x1f", "010", "1:30", ".nan", ".inf", "2024-02-30"),
        *("~", "true", "off", "\0", "\x85", "\u2028", "\ufeff", "\\ud800", "9" * 5_000),
    ]
)
yaml_texts = st.lists(yaml_pieces, max_size=30).map("".join)
yaml_bytes = st.binary(max_size=200) | yaml_texts.map(str.encode)


@given(content=yaml_bytes)
@always
def test_any_bytes_are_yaml_or_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    taken_or_refused(lambda: read_yaml(file), object)
    taken_or_refused(lambda: read_spec(file, {}, []), SweepSpec)
    taken_or_refused(lambda: from_file(file), Space)


# options -------------------------------------------------------------------------------------

setting_pieces = st.sampled_from(
    [*FIELDS, "=", "=", "..", ",", " ", "1", "0.5", "1e-3", "1e999", "nan", "uni", "\0", "\n", "_"]
)
setting_texts = st.one_of(
    st.text(max_size=50),
    st.lists(setting_pieces, max_size=10).map("".join),
    st.builds("{}={}".format, st.sampled_from(FIELDS), st.text("0123456789.,-e +", max_size=40)),
    st.builds("{}={!r}..{!r}".format, st.sampled_from(FIELDS), st.floats(), st.floats()),
)


@given(texts=st.lists(setting_texts, max_size=3))
@always
def test_any_setting_makes_a_space_or_is_refused(texts: list[str]) -> None:
    taken_or_refused(lambda: with_settings(presets.DEFAULT, texts), Space)
