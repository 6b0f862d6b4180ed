"""The end of a session as a symbol, where sessions of event ids are units of their own."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import END, START, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.sessions import read_sessions
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import scoring_windows
from tests.unit.models.data.corpus_files import FOLDERS, ids, load_file, load_files, sessions_of

LINES = "1 2 3\n2 3\n\n3\n1\t1 2\n" * 10


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_file(tmp_path_factory.mktemp("lines"), LINES, ends=True)


def test_each_line_ends_with_its_end(lines: Corpus) -> None:
    assert lines.alphabet == Alphabet((1, 2, 3), ends=True)
    own = [[1, 2, 3], [2, 3], [3], [1, 1, 2]] * 10
    splits = lines.splits().values()
    found = list(itertools.chain(*(sessions_of(lines, split) for split in splits)))
    assert found == [[*session, "<end>"] for session in own]
    assert lines.decided.endswith("a line is a session; its end is a symbol, <end>")


def test_a_session_that_a_split_divides_has_one_end(tmp_path: Path) -> None:
    files = {"a": "1 2\n" * 9, "b": " ".join("12" * 200)}
    corpus = load_files(tmp_path, files, "ids", ends=True)
    ends = [np.flatnonzero(split.codes == END) for split in corpus.splits().values()]
    assert [len(found) for found in ends] == [9, 0, 1]
    assert ends[2].tolist() == [len(corpus.test) - 1]
    whole = load_files(tmp_path, files, "ids", ends=False)
    sizes = [len(split) for split in corpus.splits().values()]
    expected = [len(split) for split in whole.splits().values()]
    assert sizes == [expected[0] + 9, expected[1], expected[2] + 1]


def test_splits_that_are_given_keep_their_sessions(tmp_path: Path) -> None:
    files = {"train/a": "1 2\n3\n", "validation/a": "1 4\n", "test/a": "5\n2 1\n"}
    corpus = load_files(tmp_path, files, "ids", ends=True)
    assert sessions_of(corpus, corpus.train) == [[1, 2, "<end>"], [3, "<end>"]]
    assert sessions_of(corpus, corpus.validation) == [[1, "<unk>", "<end>"]]
    assert sessions_of(corpus, corpus.test) == [["<unk>", "<end>"], [2, 1, "<end>"]]
    assert corpus.validation.codes.tolist() == [3, UNKNOWN, END]


@pytest.mark.parametrize(
    ("files", "symbols"),
    [
        ({"a": "ab" * 50, "b": "ba" * 50, "c": "ab" * 50}, "chars"),
        (FOLDERS, "chars"),
        # one log in a file, or in one that goes on in the next
        ({"a": ids([1, 2, 3] * 40)}, "ids"),
        ({"a": ids([1, 2, 3] * 20), "b": ids([1, 2, 3] * 20)}, "ids"),
        ({f"{name}/a": ids([1, 2] * 9) for name in ("train", "validation", "test")}, "ids"),
    ],
)
def test_texts_and_logs_that_go_on_have_no_ends(
    tmp_path: Path, files: dict[str, str], symbols: str
) -> None:
    with_ends, without = (load_files(tmp_path, files, symbols, ends=on) for on in (True, False))
    assert with_ends.digest == without.digest
    assert not with_ends.alphabet.ends and with_ends.decided == without.decided
    for split, other in zip(with_ends.splits().values(), without.splits().values(), strict=True):
        np.testing.assert_array_equal(split.codes, other.codes)


@pytest.mark.parametrize("state", ["reset", "carried"])
def test_ends_are_targets_once_an_epoch_and_never_what_a_network_reads(
    lines: Corpus, state: str
) -> None:
    config = TrialConfig(sequence_length=2, batch_size=4, state=state)
    for epoch in (1, 2):
        targets = []
        for batch in training_epoch(lines.train, config, 3, epoch).batches():
            targets += batch.targets[batch.weights > 0].tolist()
            read = batch.inputs[0] if config.carried else batch.inputs
            assert END not in read[batch.weights > 0]
        assert targets.count(END) == (lines.train.codes == END).sum()
        assert sorted(targets) == sorted(lines.train.codes.tolist())


def test_an_end_is_scored_after_all_symbols_of_its_session(lines: Corpus) -> None:
    places = np.flatnonzero(lines.train.codes == END)[:4]
    [(windows, true)] = scoring_windows(lines.train, places, 3, 9)
    assert true.tolist() == [END] * 4
    one, two, three = lines.alphabet.encode([1, 2, 3])
    assert windows.tolist() == [
        [one, two, three],
        [START, two, three],
        [START, START, three],
        [one, one, two],
    ]


def test_new_sessions_have_ends_if_they_are_wanted(tmp_path: Path, lines: Corpus) -> None:
    (tmp_path / "a").write_text("1 2\n\n9 3 3\n", encoding="utf-8")
    (tmp_path / "b").write_text("3\n", encoding="utf-8")
    with_ends = read_sessions(str(tmp_path), lines.alphabet, ends=True)
    assert with_ends.split.codes.tolist() == [3, 4, END, UNKNOWN, 5, 5, END, 5, END]
    assert with_ends.split.starts.tolist() == [0, 3, 7]
    assert with_ends.read(0, 9) == [1, 2, "<end>", 9, 3, 3, "<end>", 3, "<end>"]
    names = [with_ends.name(session) for session in range(3)]
    without = read_sessions(str(tmp_path), lines.alphabet)
    assert without.split.codes.tolist() == [3, 4, UNKNOWN, 5, 5, 5]
    assert names == [without.name(session) for session in range(3)]


def test_new_sessions_are_those_of_all_files_also_beside_folders_called_as_splits(
    tmp_path: Path, lines: Corpus
) -> None:
    for name in ("new", "test/b", "train/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1 2\n", encoding="utf-8")
    found = read_sessions(str(tmp_path), lines.alphabet)
    assert (found.files, len(found)) == (("new", "test/b", "train/a"), 3)
