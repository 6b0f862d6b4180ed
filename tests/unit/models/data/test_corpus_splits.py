"""How data are split: folders of their own, or one split in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.data.alphabet import UNKNOWN
from lstm_sweep.models.data.corpus import load
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.errors import InputError
from tests.unit.models.data.corpus_files import (
    FOLDERS,
    TEXT,
    load_file,
    load_files,
    sessions_of,
    sizes_of,
    symbols_of,
    write,
)

# Folders of three splits


def test_the_alphabet_comes_from_training_data_alone(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS, "chars")
    assert corpus.alphabet.symbols == ("a", "b", "c")
    a, b = 2, 3
    assert corpus.validation.codes.tolist() == [a, b, UNKNOWN, a, b]
    assert corpus.test.codes.tolist() == [UNKNOWN, a, b, UNKNOWN, a]


def test_the_share_of_unknown_symbols_is_that_of_each_split(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS, "chars")
    shares = [corpus.unknown_share(split) for split in corpus.splits().values()]
    assert shares == [0, 1 / 5, 2 / 5]


def test_three_folders_are_the_splits_whatever_their_sizes(tmp_path: Path) -> None:
    assert sizes_of(load_files(tmp_path, FOLDERS, "chars")) == [9, 5, 5]


def test_each_file_of_a_split_is_a_session(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, FOLDERS | {"train/b": "cc", "test/b": "ab"}, "chars")
    assert sessions_of(corpus, corpus.train) == [list("abcabcabc"), list("cc")]
    assert corpus.test.starts.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (["train", "validation"], "found train/ but not test/"),
        (["train", "test"], "found train/ but not validation/"),
        (["validation", "test"], "found validation/ but not train/"),
        (["train"], "found train/ but not validation/, test/"),
    ],
)
def test_a_folder_with_some_of_the_three_splits_is_refused(
    tmp_path: Path, given: list[str], missing: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load_files(tmp_path, {f"{name}/a": TEXT for name in given}, "chars")
    assert str(refusal.value) == f"{tmp_path}: {missing}, expected all three or none"


# One split in time


def test_one_file_is_split_by_80_10_10(tmp_path: Path) -> None:
    assert sizes_of(load_file(tmp_path, TEXT)) == [80, 10, 10]


def test_the_shares_of_the_splits_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, {"data": TEXT})
    corpus = load(Source(data=str(tmp_path / "data"), split=(0.5, 0.2, 0.3)))
    assert sizes_of(corpus) == [50, 20, 30]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        # 80 of 100 symbols; a session that ends at most 2 off moves the cut
        (77, 80),
        (78, 78),
        (79, 79),
        (81, 81),
        (82, 82),
        (83, 80),
    ],
)
def test_a_cut_snaps_to_a_session_end_nearby(tmp_path: Path, first: int, expected: int) -> None:
    whole = "ab" * 50
    files = {"a": whole[:first], "b": whole[first:]}
    corpus = load_files(tmp_path, files, "chars")
    assert sizes_of(corpus)[0] == expected
    assert symbols_of(corpus) == list(whole)


def test_a_cut_snaps_to_the_nearest_session_end(tmp_path: Path) -> None:
    files = {"a": "ab" * 39, "b": "b", "c": "ba" * 10 + "b"}
    assert sizes_of(load_files(tmp_path, files, "chars"))[0] == 79


def test_both_cuts_snap(tmp_path: Path) -> None:
    files = {"a": "ab" * 39, "b": "ab" * 7, "c": "ba" * 4}
    assert sizes_of(load_files(tmp_path, files, "chars")) == [78, 14, 8]


def test_a_session_that_is_cut_is_one_in_each_part(tmp_path: Path) -> None:
    corpus = load_files(tmp_path, {"a": "ab" * 20, "b": "ab" * 30}, "chars")
    starts = [split.starts.tolist() for split in corpus.splits().values()]
    assert starts == [[0, 40], [0], [0]]


@pytest.mark.parametrize(
    "shares",
    [
        (0.8, 0.2, 0.0),
        (0.9, 0.2, -0.1),
        (0.8, 0.1, 0.2),
        (0.5, 0.1, 0.1),
    ],
)
def test_shares_that_are_no_split_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError) as refusal:
        Source(data="x", split=shares)
    assert str(refusal.value) == (
        f"split is {list(shares)}: expected three shares above 0, 1 in all"
    )


def test_an_unknown_kind_of_symbols_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="symbols is 'char': did you mean 'chars'"):
        Source(data="x", symbols="char")


def test_a_relative_path_is_resolved_to_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source(data="a.txt", symbols="ids", split=(0.6, 0.2, 0.2))
    expected = Source(data=str(tmp_path / "a.txt"), symbols="ids", split=(0.6, 0.2, 0.2))
    assert source.resolve() == expected


def test_the_name_of_a_sample_is_no_path() -> None:
    assert Source(data="python-docs").resolve().data == "python-docs"
