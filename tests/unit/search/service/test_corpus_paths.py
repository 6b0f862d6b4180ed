from __future__ import annotations

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service.bodies import CorpusFile, CorpusSubmission
from lstm_sweep.search.service.corpus_paths import check_paths


def check(paths: list[str], name: str = "logs") -> None:
    files = [CorpusFile(path=path, sha256="0" * 64) for path in paths]
    check_paths(CorpusSubmission(name=name, files=files), list(dict.fromkeys(paths)), most=3)


@pytest.mark.parametrize(
    "paths, why",
    [
        (["a", "a/b"], "is a file and a folder"),
        (["a", "a"], "twice"),
        (["a", "b", "c", "d"], "files are 4, expected at most 3"),
        (["a/../b"], "path is 'a/../b': expected names of files"),
    ],
)
def test_paths_that_cannot_be_made_are_refused(paths: list[str], why: str) -> None:
    check(["a/b", "a/c", "d"])
    with pytest.raises(InputError, match=why):
        check(paths)


def test_the_name_of_a_corpus_is_no_path() -> None:
    with pytest.raises(InputError, match="name is 'a/b': expected names of files"):
        check(["a"], name="a/b")
