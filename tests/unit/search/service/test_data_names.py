"""No request names a path of the machine, but below the folders that were given for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.service.answers import ProblemError
from lstm_sweep.search.service.settings import Limits
from lstm_sweep.search.service.site import DataNames
from lstm_sweep.search.service.uploads import Uploads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of data, beside a secret."""
    (tmp_path / "secret.txt").write_text("secret " * 100)
    root = tmp_path / "data"
    (root / "logs").mkdir(parents=True)
    (root / "logs" / "a.txt").write_text("sun moon " * 100)
    (root / "out").symlink_to(tmp_path / "secret.txt")
    (root / "within").symlink_to(root / "logs")
    (root / "mixed").mkdir()
    (root / "mixed" / "a.txt").symlink_to(tmp_path / "secret.txt")
    (root / "template.py").write_text("")
    return root


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "u", Limits())


@pytest.fixture
def names(uploads: Uploads, tmp_path: Path, root: Path) -> DataNames:
    return DataNames(uploads, (tmp_path / "other", root), allow_code=False, store="x")


def test_data_below_a_folder_are_found(names: DataNames, root: Path) -> None:
    assert names.data("python-docs") == "python-docs"
    for given in ("server:logs/a.txt", f"server:{root}/logs/a.txt", "server:within/a.txt"):
        assert names.data(given) == str(root / "logs/a.txt")
    assert names.spec_of({"data": "server:logs"}).data == str(root / "logs")


@pytest.mark.parametrize(
    "given",
    ["/etc/passwd", "logs/a.txt", "~", "", None, 5, ["a"], "file:///etc/passwd", "server:",
     "server", "server:../secret.txt", "server:logs/../../secret.txt", "server:/etc/passwd",
     "server:out", "server:mixed", "server:mixed/a.txt", "server:\0", "server:" + "x/" * 5000,
     "server:~/x",      "server:none", "server:logs\ud800", "corpus", "http://x/"],
)  # fmt: skip
def test_data_elsewhere_are_refused(names: DataNames, given: object) -> None:
    if given == "server:":  # the folder itself has a link that leads out of it
        with pytest.raises(InputError, match="leads out of it"):
            names.data(given)
        return
    with pytest.raises(InputError, match=r"^request: data is") as refused:
        names.data(given)
    assert "secret secret" not in str(refused.value)


def test_nothing_is_learned_of_links_elsewhere(
    names: DataNames, tmp_path: Path, root: Path
) -> None:
    for folder in (tmp_path, root):
        (folder / "ring").symlink_to("ring")
    with pytest.raises(InputError, match="no such file or folder below the folders"):
        names.data("server:../ring")
    with pytest.raises(InputError, match="Too many levels of symbolic links") as refused:
        names.data("server:ring")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("given", ["corpus:", "corpus:../..", "corpus:" + "0" * 32])
def test_a_corpus_that_was_not_uploaded_is_not_found(names: DataNames, given: str) -> None:
    with pytest.raises(ProblemError) as refused:
        names.data(given)
    assert refused.value.status == 404


def test_uploads_are_named_also_if_a_message_cuts_their_paths(
    names: DataNames, uploads: Uploads, root: Path
) -> None:
    receiver = uploads.receive("n" * 150, "ann", is_folder=True)
    receiver.write("words.txt", [b"sun moon " * 100])
    corpus = receiver.finish()
    receiver.close()
    path = str(uploads.path_of(corpus.id))
    elsewhere = f"{root}/logs/a.txt"
    named = f"'corpus:{corpus.id}' or 'server:logs/a.txt'"
    assert names.named(f"'{path}' or '{elsewhere}'") == named
    assert names.data_named(elsewhere) == "server:logs/a.txt"
    assert names.data_named(path) == "n" * 150
    assert names.data_named("/home/ann/tunes") == "tunes"
    assert names.data_named("python-docs") == "python-docs"
    assert names.named(f"data {shown(path)}: is none") == f"data 'corpus:{corpus.id}': is none"
    uploads.delete(corpus.id)
    assert names.named(path) == f"corpus:{corpus.id}/content/{'n' * 150}"


def test_code_is_refused_unless_it_is_allowed(names: DataNames, tmp_path: Path, root: Path) -> None:
    with pytest.raises(ProblemError, match="--allow-code") as refused:
        names.spec_of({"template": "server:template.py"})
    assert refused.value.status == 403
    allowing = DataNames(Uploads(tmp_path / "more", Limits()), (root,), allow_code=True, store="x")
    with pytest.raises(InputError, match="template is '/etc/passwd'"):
        allowing.spec_of({"template": "/etc/passwd"})
    with pytest.raises(InputError, match=r"template\.py"):  # it is found, and is no template
        allowing.spec_of({"template": "server:template.py"})


def test_without_folders_there_are_none(tmp_path: Path) -> None:
    names = DataNames(Uploads(tmp_path / "u", Limits()), (), allow_code=False, store="x")
    with pytest.raises(InputError, match="without --data-root"):
        names.data("server:logs")
